"""Endless upstream responses in which no body ever arrives: what they begin with, and what they repeat."""

from collections.abc import Mapping

from support.upstreams import Exchange

BODY_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
ERROR_HEAD = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n"

FLOODS: Mapping[str, tuple[bytes, bytes]] = {
    "status line": (b"HTTP/1.1 200 ", b"O"),
    "field of a head": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "name of a field": (b"HTTP/1.1 200 OK\r\n", b"x"),
    "fields of a head": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "field of an interim answer": (b"HTTP/1.1 103 Early Hints\r\nX: ", b"x"),
    "size of a chunk": (BODY_HEAD, b"0"),
    "extension of a chunk": (BODY_HEAD + b"1;x=", b"x"),
    "field of a trailer": (BODY_HEAD + b"0\r\nX: ", b"x"),
    "fields of a trailer": (BODY_HEAD + b"0\r\n", b"X: y\r\n"),
    "trailer of an error": (ERROR_HEAD + b"0\r\nX: ", b"x"),
    "body of an error": (ERROR_HEAD, b"a\r\n0123456789\r\n"),
}
"""By the endless part: how the response begins, and what it repeats."""


class Flood:
    """A step that sends a beginning, and repeats a piece until the peer leaves, up to a bound.

    Attributes:
        sent_bytes: how many bytes of repeated pieces it has sent.
    """

    def __init__(self, begin: bytes, piece: bytes, *, most_bytes: int, write_bytes: int) -> None:
        self.sent_bytes = 0
        self._begin = begin
        self._piece = piece * (write_bytes // len(piece))
        self._most_bytes = most_bytes

    async def __call__(self, to: Exchange) -> None:
        await to.write(self._begin)
        while self.sent_bytes < self._most_bytes:
            await to.write(self._piece)
            self.sent_bytes += len(self._piece)
