"""Several workers on one machine: a supervisor process starts, watches, restarts and stops them."""
