"""A scripted HTTP/1.1 server on a real socket, and the client that talks to it."""

import ssl
from asyncio import StreamReader, StreamWriter, start_server
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.lowlevel
import httpx2

from streamsvc.providers.http.endpoint import Endpoint
from streamsvc.providers.http.exchange import Exchange

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
END = b"0\r\n\r\n"

Play = Callable[[StreamWriter], Awaitable[None]]
Serve = Callable[[StreamReader, StreamWriter], Awaitable[None]]


class Peer:
    """The server side of the connections."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.closed = anyio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def saying(*pieces: bytes, then_close: bool = False) -> Play:
    """Send pieces, each in its own write."""

    async def play(writer: StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await anyio.lowlevel.checkpoint()
        if then_close:
            writer.close()

    return play


@asynccontextmanager
async def peer(play: Play, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """Play the same script for each request, on a free port."""
    it = Peer()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        it.connections += 1
        with suppress(EOFError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                it.heads.append(head)
                it.bodies.append(await reader.readexactly(int(length or b"0")))
                await play(writer)
        it.closed.set()

    async with listening(serve, tls) as it.port:
        yield it


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve connections on the port that this yields; leaving ends all of them."""
    async with anyio.create_task_group() as tasks:

        async def hold(reader: StreamReader, writer: StreamWriter) -> None:
            try:
                await serve(reader, writer)
            finally:
                writer.transport.abort()
                with anyio.CancelScope(shield=True), suppress(OSError):
                    await writer.wait_closed()

        async def accept(reader: StreamReader, writer: StreamWriter) -> None:
            tasks.start_soon(hold, reader, writer)

        async with await start_server(accept, "127.0.0.1", 0, ssl=tls) as server:
            yield server.sockets[0].getsockname()[1]
            server.close()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def opened(url: str, *, connect_seconds: float = 5) -> AsyncIterator[Endpoint]:
    request = httpx2.Request("POST", f"{url}/v1/chat", headers={"Authorization": "Bearer key"})
    endpoint = Endpoint(request, connect_seconds=connect_seconds)
    with anyio.fail_after(10):
        try:
            yield endpoint
        finally:
            endpoint.close()


async def read_all(connection: Exchange) -> bytes:
    body = Body()
    await connection.read(body.take)
    return b"".join(body.pieces)


class Body:
    """Collects a body, or its first *most_pieces* pieces."""

    def __init__(self, most_pieces: int | None = None) -> None:
        self.pieces: list[bytes] = []
        self._most_pieces = most_pieces

    def take(self, data: bytes) -> bool:
        self.pieces.append(data)
        return len(self.pieces) != self._most_pieces


async def ask(endpoint: Endpoint) -> bytes:
    connection = await endpoint.send(b"{}")
    body = await read_all(connection)
    connection.release()
    return body
