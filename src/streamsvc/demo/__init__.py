"""`streamsvc demo`: two workers, a Valkey server of its own, and a page that may kill the worker that answers."""
