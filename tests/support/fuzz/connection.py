"""A raw HTTP/1.1 connection: bytes out, responses in, read strictly."""

import re
from contextlib import suppress
from typing import NamedTuple

import anyio
import anyio.abc

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d) [^\r\n]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([^\r\n\0]*)")

MAX_BODY_BYTES = 4_000_000


class Malformed(Exception):
    """What came is not a response of HTTP/1.1 (RFC 9112)."""


class Cut(Malformed):
    """It ends before its end.

    Attributes:
        media_type: of its body.
    """

    def __init__(self, media_type: str) -> None:
        super().__init__("it is cut")
        self.media_type = media_type


class Response(NamedTuple):
    """A response.

    Attributes:
        status: its status.
        fields: its header fields, names in lower case.
        body: its content.
    """

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The type of its body, without parameters."""
        return _media_type(self.fields)

    @property
    def ends_connection(self) -> bool:
        """Whether the service closes the connection after it."""
        return self.fields.get("connection", "").lower() == "close"


class Connection:
    """A connection to the service.

    Args:
        stream: its bytes.
    """

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def send(self, raw: bytes) -> None:
        """Send bytes; a service that closes in the middle is fine."""
        await self._stream.send(raw)

    async def response(self, *, is_head: bool = False) -> Response:
        """Return the next response, without interim ones.

        Raises:
            EndOfStream: the service has closed the connection before a response began.
            Malformed: it is not a response.
        Cut: its body ends early.
        """
        while True:
            head = await self._head()
            status, fields = _parsed(head)
            if status >= 200:
                break
        if is_head or status in {204, 304}:
            return Response(status, fields, b"")
        try:
            return Response(status, fields, await self._body(fields))
        except (anyio.EndOfStream, anyio.BrokenResourceError) as exc:
            raise Cut(_media_type(fields)) from exc

    async def wait(self) -> None:
        """Wait until the service closes the connection."""
        with suppress(anyio.EndOfStream):
            while True:
                await self._more()

    @property
    def unread(self) -> bytes:
        """What has come and was not read."""
        return bytes(self._buffer)

    async def _head(self) -> bytes:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            try:
                await self._more()
            except anyio.EndOfStream as exc:
                if self._buffer:
                    raise Malformed("its head is cut") from exc
                raise
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        return head

    async def _body(self, fields: dict[str, str]) -> bytes:
        if fields.get("transfer-encoding") == "chunked":
            return await self._chunks()
        if (length := fields.get("content-length")) is not None:
            return await self._take(int(length))
        body = bytearray()
        try:
            while True:
                body += self._buffer
                self._buffer.clear()
                await self._more()
        except anyio.EndOfStream:
            fields["connection"] = "close"
            return bytes(body)

    async def _chunks(self) -> bytes:
        body = bytearray()
        while size := int(await self._line(), 16):
            body += await self._take(size)
            if await self._take(2) != b"\r\n":
                raise Malformed("a chunk does not end")
            if len(body) > MAX_BODY_BYTES:
                raise Malformed("it does not end")
        if await self._line():
            raise Malformed("it has a trailer")
        return bytes(body)

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            await self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _more(self) -> None:
        self._buffer += await self._stream.receive(1 << 18)


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.split(b"\r\n")
    if (status := _STATUS.fullmatch(first)) is None:
        raise Malformed(f"its first line is {first[:80]!r}")
    fields = {}
    for line in lines:
        if (field := _FIELD.fullmatch(line)) is None:
            raise Malformed(f"it has the line {line[:80]!r}")
        fields[field[1].decode().lower()] = field[2].decode("latin-1")
    return int(status[1]), fields


def _media_type(fields: dict[str, str]) -> str:
    return fields.get("content-type", "").partition(";")[0]
