"""What operators see of the service: listeners of the hooks that write log lines, metrics and traces."""
