"""What the service is about: generations, their viewers and their end. Knows no HTTP server."""
