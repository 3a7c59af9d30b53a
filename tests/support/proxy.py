"""A small TCP proxy that breaks connections, as networks do.

Of a request it reads only the first line; in a response it finds only the end of each block of an event stream.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import repeat

Cut = Callable[[bytes], int | None]
"""Looks at the bytes of a response so far; returns after how many of them to break, or None for not yet."""


def after_events(count: int) -> Cut:
    """Break after the block with the *count*-th event of a connection."""

    def cut(answer: bytes) -> int | None:
        at = answer.find(b"\r\n\r\n")
        for _ in range(count):
            at = answer.find(b"\n\n", at + 1)
            if at < 0:
                return None
        return at + 2

    return cut


def after_bytes(count: int, *, spares_head: bool = False) -> Cut:
    """Break after *count* bytes; with *spares_head* not before some bytes of the body have passed."""

    def cut(answer: bytes) -> int | None:
        head = answer.find(b"\r\n\r\n")
        if spares_head and head < 0:
            return None
        at = max(count, head + 20) if spares_head else count
        return at if len(answer) >= at else None

    return cut


def never(_answer: bytes) -> int | None:
    """Do not break."""
    return None


@dataclass
class BreakingProxy:
    """Breaks the connections that pass through it.

    Attributes:
        ports: the port that each connection goes to, in turn.
        cuts: one rule per connection.
        resets: break with a reset, as a lost network does, instead of a FIN: Chromium takes a head that a FIN cuts
            short for a complete one.
        takes_off: a path prefix that it strips from the addresses, as a proxy that serves under this path does.
        requests: the request lines so far.
        broken: how many connections it has broken.
    """

    ports: Iterator[int]
    cuts: Iterator[Cut]
    resets: bool = False
    takes_off: str = ""
    port: int = 0
    requests: list[str] = field(default_factory=list)
    broken: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_requests(self, count: int) -> None:
        """Wait until *count* requests have passed."""
        while len(self.requests) < count:
            self.asked.clear()
            await self.asked.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", next(self.ports))
        try:
            await asyncio.gather(
                self._upwards(reader, up_writer), self._downwards(up_reader, writer)
            )
        finally:
            for one in (writer, up_writer):
                one.transport.abort()

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                for line in data.split(b"\r\n"):
                    if line.endswith(b"HTTP/1.1"):
                        self.requests.append(line.decode())
                        self.asked.set()
                writer.write(data.replace(f" {self.takes_off}/".encode(), b" /", 1))
                await writer.drain()
        writer.transport.abort()

    async def _downwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut = next(self.cuts)
        answer = b""
        sent = 0
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                answer += data
                end = cut(answer)
                writer.write(answer[sent:end])
                await writer.drain()
                sent = len(answer)
                if end is not None:
                    self.broken += 1
                    if self.resets:
                        writer.get_extra_info("socket").setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                        )
                        writer.transport.abort()
                    break
        writer.close()


@asynccontextmanager
async def breaking_proxy(
    ports: int | Iterator[int],
    cuts: Iterator[Cut],
    *,
    resets: bool = False,
    takes_off: str = "",
) -> AsyncIterator[BreakingProxy]:
    """Run a proxy in front of ports of this machine.

    Args:
        ports: the port, or one for each connection.
        cuts: one rule per connection.
        resets: see `BreakingProxy`.
        takes_off: see `BreakingProxy`.
    """
    target = repeat(ports) if isinstance(ports, int) else ports
    proxy = BreakingProxy(target, cuts, resets, takes_off)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
        server.close()
