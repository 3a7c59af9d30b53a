"""Event streams parsed as a browser parses them, over connections that hide no byte from a test.

`EventStreamParser` is as strict as section 9.2.6 of the HTML Living Standard. `Wire` is HTTP/1.1 on a bare socket: it
reads only on request, so a test decides how slow a viewer is, and it can be cut at any byte.
"""

import asyncio
import codecs
import re
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec

_LINE_END = re.compile(r"\r\n|\n|\r")
_LINGER_NOT = b"\1\0\0\0\0\0\0\0"
"""`struct linger`: on, with zero seconds, so that closing sends a reset."""


@dataclass(frozen=True)
class BrowserEvent:
    """An event as a listener of a page gets it.

    Attributes:
        type: `message` if the stream names none.
        data: the lines of data, joined.
        last_event_id: the cursor that a reconnect would send after this event.
        at: the time of its last byte, on the event loop's clock.
    """

    type: str
    data: str
    last_event_id: str
    at: float = field(default=0.0, compare=False)

    @property
    def json(self) -> Any:
        """The data, which must be one line of JSON."""
        assert "\n" not in self.data
        return msgspec.json.decode(self.data)

    @property
    def seq(self) -> int:
        """The number in its id."""
        return int(self.last_event_id.rpartition(".")[2])


class EventStreamParser:
    """Turns bytes in any pieces into events; a block without its blank line is never dispatched.

    Attributes:
        last_event_id: the event source's last event ID string, which the next request would send.
        retry_ms: the reconnection time, if the stream sets it.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        # "UTF-8 decode": one leading byte order mark is dropped, errors become U+FFFD.
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._rest = ""
        self._ended_in_cr = False
        self._data: list[str] = []
        self._type = ""
        self._id = ""

    def feed(self, chunk: bytes, *, at: float = 0.0) -> list[BrowserEvent]:
        """Parse further bytes; return the events that they complete."""
        text = self._decode(chunk)
        if self._ended_in_cr and text:
            text = text.removeprefix("\n")
            self._ended_in_cr = False
        *lines, self._rest = _LINE_END.split(self._rest + text)
        self._ended_in_cr = self._ended_in_cr or text.endswith("\r")
        return [event for line in lines if (event := self._take(line, at))]

    def _take(self, line: str, at: float) -> BrowserEvent | None:
        if not line:
            return self._dispatch(at)
        name, colon, value = line.partition(":")
        if colon and not name:
            return None  # a comment
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value)
        return None

    def _dispatch(self, at: float) -> BrowserEvent | None:
        self.last_event_id = self._id
        data, kind = self._data, self._type
        self._data, self._type = [], ""
        if not data:
            return None
        return BrowserEvent(kind or "message", "\n".join(data), self.last_event_id, at)


def parse(body: bytes) -> list[BrowserEvent]:
    """Return the events of a whole body."""
    return EventStreamParser().feed(body)


@dataclass
class Answer:
    """An HTTP response, read only as far as a test asks for.

    Attributes:
        wire: its connection.
        status: its status code.
        header_list: its fields in their order, names in lower case.
        has_body: whether HTTP allows a body after this head.
        raw: the body so far, without chunk framing.
        parser: parses the body as a browser does.
        is_whole: whether the body has ended as HTTP demands.
    """

    wire: "Wire"
    status: int
    header_list: list[tuple[str, str]]
    has_body: bool
    raw: bytearray = field(default_factory=bytearray)
    parser: EventStreamParser = field(default_factory=EventStreamParser)
    is_whole: bool = False
    _events: list[BrowserEvent] = field(default_factory=list)
    _body: AsyncIterator[bytes] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The fields of the head, none of which may come twice."""
        headers = dict(self.header_list)
        assert len(headers) == len(self.header_list)
        return headers

    async def event(self) -> BrowserEvent:
        """Return the next event; raise EOFError if the body ends first."""
        while not self._events:
            if not await self._more():
                raise EOFError
        return self._events.pop(0)

    async def events(self) -> list[BrowserEvent]:
        """Return all further events up to the end of the body, complete or cut."""
        while await self._more():
            pass
        events, self._events = self._events, []
        return events

    async def body(self) -> bytes:
        """Return the whole body."""
        await self.events()
        return bytes(self.raw)

    async def raw_until(self, wanted: bytes) -> bytes:
        """Read until the body contains *wanted*; return the body so far."""
        while wanted not in self.raw:
            if not await self._more():
                raise EOFError
        return bytes(self.raw)

    async def json(self) -> Any:
        """Return the body, which must be JSON."""
        return msgspec.json.decode(await self.body())

    async def _more(self) -> bool:
        if self._body is None:
            self._body = self._read_body()
        chunk = await anext(self._body, None)
        if chunk is None:
            return False
        self.raw += chunk
        self._events += self.parser.feed(chunk, at=anyio.current_time())
        return True

    async def _read_body(self) -> AsyncIterator[bytes]:
        try:
            if not self.has_body:
                pass
            elif self.headers.get("transfer-encoding") == "chunked":
                while size := int(await self.wire.read_line(), 16):
                    async for piece in self.wire.read_pieces(size):
                        yield piece
                    assert await self.wire.read_line() == b""
                assert await self.wire.read_line() == b""
            else:
                async for piece in self.wire.read_pieces(int(self.headers["content-length"])):
                    yield piece
        except (EOFError, ConnectionError):
            return
        self.is_whole = True


class Wire:
    """One TCP connection to the service; requests go over it one after another."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray()

    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Answer:
        """Send a request; return its response as soon as the head is there.

        Args:
            method: the HTTP method.
            target: path and query, in ASCII.
            headers: further fields.
            body: bytes go out with a Content-Length, an iterable of bytes goes out in chunks.
        """
        address, port, *_ = self._socket.getpeername()
        fields = {"Host": f"{address}:{port}", **(headers or {})}
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        if isinstance(body, bytes):
            lines.append(f"Content-Length: {len(body)}")
        elif body is not None:
            lines.append("Transfer-Encoding: chunked")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        await self.send(head + body if isinstance(body, bytes) else head)
        if body is not None and not isinstance(body, bytes):
            for chunk in body:
                await self.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await self.send(b"0\r\n\r\n")
        return await self.answer(method)

    async def send(self, raw: bytes) -> None:
        """Send bytes as they are."""
        await asyncio.get_running_loop().sock_sendall(self._socket, raw)

    async def answer(self, method: str) -> Answer:
        """Read the head of a response."""
        status_line = await self.read_line()
        version, status, *_ = status_line.split(b" ")
        assert version == b"HTTP/1.1"
        headers = []
        while line := await self.read_line():
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        has_body = method != "HEAD" and status not in {b"204", b"304"}
        return Answer(self, int(status), headers, has_body)

    async def read_line(self) -> bytes:
        """Read a line; return it without its line end."""
        while (end := self._buffer.find(b"\r\n")) < 0:
            await self._receive()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def read_pieces(self, size: int) -> AsyncIterator[bytes]:
        """Yield *size* bytes in pieces as they arrive, because a connection may end within a chunk."""
        while size:
            if not self._buffer:
                await self._receive()
            piece = bytes(self._buffer[:size])
            del self._buffer[: len(piece)]
            size -= len(piece)
            yield piece

    async def _receive(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        if not data:
            raise EOFError
        self._buffer += data

    def close(self) -> None:
        """Close the connection, as a closed tab does."""
        self._socket.close()

    def reset(self) -> None:
        """Close the connection with a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._socket.close()


@asynccontextmanager
async def wire(
    port: int, *, host: str = "127.0.0.1", receive_buffer: int | None = None
) -> AsyncIterator[Wire]:
    """Connect to a service; leaving closes the connection.

    Args:
        port: the port of the service.
        host: the address of the service.
        receive_buffer: size in bytes of the kernel's buffer for a viewer that does not read.
    """
    with socket.socket() as sock:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        yield Wire(sock)


@asynccontextmanager
async def view(
    port: int,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> AsyncIterator[Answer]:
    """Send one request over a new connection; leaving closes it, as a closed tab does."""
    async with wire(port) as connection:
        yield await connection.ask(method, target, headers, body)
