"""Request bodies, read within their limits or refused.

Images make bodies large, and thousands of connections may send one at a time. So all bodies together have a limit,
too. What has arrived counts, not what was announced; at the limit the largest body is dropped. Slow or idle senders
hold little, and a small request gets through while others send large ones.
"""

import anyio
from starlette.requests import ClientDisconnect, Request

from streamsvc.config.settings import LimitSettings
from streamsvc.dialects.json_body import Body
from streamsvc.errors import Overloaded, RequestTooLarge, UnsupportedEncoding
from streamsvc.web.requests import RequestHead


class _Reading:
    """A body while it is read.

    Attributes:
        content: what has arrived.
        scope: cancelled to drop the body.
    """

    def __init__(self) -> None:
        self.content = bytearray()
        self.scope = anyio.CancelScope()


class Bodies:
    """The bodies that are being read, and their size all together."""

    def __init__(self) -> None:
        self.readings: set[_Reading] = set()
        self.total_bytes = 0


class BodyReader:
    """Reads the bodies of requests.

    Args:
        limits: the largest body, and the largest sum of the bodies that are being read.
        bodies: those that are being read, also by other readers.
    """

    def __init__(self, limits: LimitSettings, bodies: Bodies) -> None:
        self._max_bytes = limits.max_body_bytes
        self._max_total_bytes = limits.max_total_body_bytes
        self._bodies = bodies

    async def read(self, request: Request, head: RequestHead) -> Body:
        """Read a body.

        Raises:
            RequestTooLarge: it is larger than `max_body_bytes`.
            UnsupportedEncoding: it is compressed.
            Overloaded: all bodies together are larger than `max_total_body_bytes`, and this one is the largest.
        """
        if (head.content_encoding or "identity").strip().lower() != "identity":
            raise UnsupportedEncoding
        length = head.content_length
        if length.isdecimal() and int(length) > self._max_bytes:
            raise _too_large(self._max_bytes)
        first = await request.receive()
        if first["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = first.get("body", b"")
        if len(chunk) > self._max_bytes:
            raise _too_large(self._max_bytes)
        if not first.get("more_body", False):  # it came with its head, and waits for nothing
            return Body(chunk, head.content_type)
        reading = _Reading()
        self._bodies.readings.add(reading)
        try:
            with reading.scope:
                self._take(reading, chunk)
                async for chunk in request.stream():
                    self._take(reading, chunk)
                return Body(bytes(reading.content), head.content_type)
        finally:
            self._bodies.readings.remove(reading)
            self._bodies.total_bytes -= len(reading.content)
        raise _too_many()

    def _take(self, reading: _Reading, chunk: bytes) -> None:
        reading.content += chunk
        self._bodies.total_bytes += len(chunk)
        if len(reading.content) > self._max_bytes:
            raise _too_large(self._max_bytes)
        while self._bodies.total_bytes > self._max_total_bytes:
            largest = max(self._bodies.readings, key=lambda it: len(it.content))
            if largest is reading:
                raise _too_many()
            self._bodies.total_bytes -= len(largest.content)
            largest.content.clear()
            largest.scope.cancel()


def _too_large(bound: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {bound} bytes (limits.max_body_bytes).")


def _too_many() -> Overloaded:
    return Overloaded("limits.max_total_body_bytes")
