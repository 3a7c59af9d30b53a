"""What watches the service from outside: alert rules and a dashboard, generated from the names of the metrics."""
