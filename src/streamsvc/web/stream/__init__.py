"""The last part of a token's way: from the log to a client's connection."""
