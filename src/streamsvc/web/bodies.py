"""Reads request bodies up to their limit, or refuses them."""

from starlette.requests import Request

from streamsvc.config.settings import LimitSettings
from streamsvc.dialects.json_body import Body
from streamsvc.errors import RequestTooLarge, UnsupportedEncoding
from streamsvc.web.requests import RequestHead


class BodyReader:
    """Reads request bodies.

    Args:
        limits: define the size of the largest body.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self._max_bytes = limits.max_body_bytes

    async def read(self, request: Request, head: RequestHead) -> Body:
        """Read a body.

        Raises:
            RequestTooLarge: it is larger than `max_body_bytes`.
            UnsupportedEncoding: it is compressed.
        """
        if (head.content_encoding or "identity").strip().lower() != "identity":
            raise UnsupportedEncoding
        length = head.content_length
        if length.isdecimal() and int(length) > self._max_bytes:
            raise _too_large(self._max_bytes)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_bytes:
                raise _too_large(self._max_bytes)
        return Body(bytes(body), head.content_type)


def _too_large(bound: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {bound} bytes (limits.max_body_bytes).")
