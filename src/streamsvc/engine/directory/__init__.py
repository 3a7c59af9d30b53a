"""The directory: what the service knows about generations besides their records."""
