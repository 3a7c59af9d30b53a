"""`streamsvc key`: makes, lists and revokes the API keys of the service."""
