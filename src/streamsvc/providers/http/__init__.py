"""An HTTP/1.1 client that hands on a response body as it arrives. It knows no provider and nothing else of streamsvc.

`Endpoint.send` sends a body and returns an `Exchange`; failures are `TransportError`s. The adapters map
those errors to provider errors in one place (`providers/error_mapping.py`).
"""
