"""An HTTP/1.1 client that hands a response body on as it arrives. It knows no provider and nothing else of streamsvc.

`Endpoint.post` sends a body and returns an `Exchange`; what fails is a `TransportError`. The adapters map
those errors to provider errors in one place (`providers/error_mapping.py`).
"""
