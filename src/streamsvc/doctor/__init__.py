"""`streamsvc doctor`: checks everything that the service needs before it starts, or while it runs."""
