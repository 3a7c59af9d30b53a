"""The directory: what the service knows of generations besides their records."""
