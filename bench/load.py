"""The load generator: streams over raw sockets, with as little work for each token as possible.

Tokens are counted as bytes (`bench.stamps`); only a stream whose times are wanted looks at stamps.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from typing_extensions import override

from bench.stamps import MARK, StampReader, now_us

_PING = b": ka"
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass
class Tally:
    """The counts of all streams together."""

    tokens: int = 0
    reads: int = 0
    first_us: int | None = None
    last_us: int = 0


class Stream(asyncio.Protocol):
    """One stream, from its request to the end of its connection.

    Args:
        tally: counts for all.
        is_timed: whether the times of its tokens are kept.
    """

    def __init__(self, tally: Tally, *, is_timed: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.tokens = 0
        self.pings = 0
        self.head = b""
        self.request_us = 0
        self.times_us: list[tuple[int, int, int]] = []
        """Of each token: received here, sent by the upstream, its request read by the upstream."""
        self.answered: asyncio.Future[None] = loop.create_future()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._tally = tally
        self._stamps = StampReader() if is_timed else None
        self._transport: asyncio.Transport | None = None

    @property
    def status(self) -> str:
        """The status of the answer, or "" before its head has arrived."""
        return self.head[9:12].decode()

    def header(self, name: str) -> str:
        """Return a header of the answer, or "" if it is missing."""
        for line in self.head.decode("latin-1").split("\r\n"):
            field, _, value = line.partition(":")
            if field.lower() == name:
                return value.strip()
        return ""

    def send(self, request: bytes) -> None:
        """Send the request."""
        assert self._transport is not None  # noqa: S101
        self.request_us = now_us()
        self._transport.write(request)

    def abort(self) -> int:
        """Close the connection, as a closed tab does; return when, in µs."""
        at = now_us()
        if self._transport is not None:
            self._transport.abort()
        return at

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        tally = self._tally
        tally.reads += 1
        if tokens := data.count(MARK):
            self.tokens += tokens
            tally.tokens += tokens
            tally.last_us = now = now_us()
            if self._stamps is not None:
                self.times_us.extend((now, *stamp) for stamp in self._stamps.feed(data))
            if not self.begun.done():
                self.begun.set_result(None)
                tally.first_us = tally.first_us or now
        elif _PING in data:
            self.pings += data.count(_PING)
        if not self.answered.done():
            self.head += data
            if b"\r\n\r\n" in self.head:
                self.head = self.head.partition(b"\r\n\r\n")[0]
                self.answered.set_result(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for future in (self.answered, self.begun, self.closed):
            if not future.done():
                future.set_result(None)


class Asker(asyncio.Protocol):
    """A kept connection: sends a request again and again, each time when the answer before it is complete.

    Args:
        tally: counts for all.
        request: its answer comes in chunks, and keeps the connection.
    """

    def __init__(self, tally: Tally, request: bytes) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tally = tally
        self._request = request
        self._left = 0
        self._end = b""
        self._transport: asyncio.Transport | None = None

    def ask(self, times: int) -> None:
        """Begin to ask; `answered` is done after the last answer."""
        self._left = times
        self._ask()

    def abort(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _ask(self) -> None:
        if self._left and self._transport is not None:
            self._left -= 1
            self._transport.write(self._request)
        elif not self.answered.done():
            self.answered.set_result(None)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._tally.reads += 1
        self._tally.tokens += data.count(MARK)
        self._end = (self._end + data)[-len(_LAST_CHUNK) :]
        if self._end == _LAST_CHUNK:
            self._ask()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ask()


_P = TypeVar("_P", bound=asyncio.Protocol)


async def connect(port: int, protocol: Callable[[], _P]) -> _P:
    """Open a connection; nothing is sent."""
    _, made = await asyncio.get_running_loop().create_connection(protocol, "127.0.0.1", port)
    return made


async def open_stream(port: int, request: bytes, tally: Tally, *, is_timed: bool = False) -> Stream:
    """Connect, then send the request: the time to connect is not measured."""
    stream = await connect(port, lambda: Stream(tally, is_timed=is_timed))
    stream.send(request)
    return stream
