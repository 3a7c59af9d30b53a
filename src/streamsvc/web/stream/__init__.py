"""The last part of a token's path: from the log to a client's connection."""
