"""Random requests over real sockets: `uv run just fuzz`, and a short run with the other tests.

The service is a process of its own. Requests begin as valid ones of every operation of the OpenAPI document, and are
changed in up to a few places. The same seed makes the same requests, but for the ids that the service invents.
"""
