"""A TCP proxy between a worker and Redis that is slow, silent, cut or refusing, as a test asks.

async with redis_proxy(server) as proxy:
    proxy.delay_seconds = 0.05
    proxy.pause()
    proxy.resume()
    await proxy.cut()
    await proxy.refuse()
    await proxy.accept()
"""

import math
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketStream, TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from support.owned import own_tasks
from support.redis_servers import RedisServer, free_port

CLOSED = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


@dataclass
class RedisProxy:
    """Stands between clients and a Redis server.

    Attributes:
        server: the server that it connects to; it listens on a TCP port.
        port: the port that this proxy listens on.
        delay_seconds: by how much it delays each request; answers pass at once.
        accepted: how many connections it has accepted.
    """

    server: RedisServer
    port: int
    _tasks: TaskGroup
    delay_seconds: float = 0.0
    accepted: int = 0
    _relays: set[anyio.CancelScope] = field(default_factory=set)
    _flowing: anyio.Event = field(default_factory=anyio.Event)
    _listening: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _listens: bool = False

    @property
    def url(self) -> str:
        """The server's address by way of this proxy."""
        direct = f"{self.server.host}:{self.server.port}"
        return self.server.url.replace(direct, f"127.0.0.1:{self.port}")

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._relays)

    def pause(self) -> None:
        """Hold back every byte and every close; connections stay open, and new ones are accepted."""
        self._flowing = anyio.Event()

    def resume(self) -> None:
        """Pass on what `pause` has held back, and all that follows."""
        self._flowing.set()

    async def cut(self) -> None:
        """Close every connection."""
        for relay in self._relays:
            relay.cancel()
        while self._relays:
            await anyio.lowlevel.checkpoint()

    async def refuse(self) -> None:
        """Close every connection, and refuse new ones."""
        self._listening.cancel()
        while self._listens:
            await anyio.lowlevel.checkpoint()
        await self.cut()

    async def accept(self) -> None:
        """Accept connections: at the start, and after `refuse`."""
        await self._tasks.start(self._listen)

    async def _listen(self, *, task_status: TaskStatus[None]) -> None:
        """Relay each connection that arrives.

        No task waits in `accept`: if that is cancelled as a connection arrives, asyncio may keep the connection open,
        and its client waits for an answer (CPython 3.11).
        """
        with socket.create_server(("127.0.0.1", self.port)) as listener:
            listener.setblocking(False)
            self._listens = True
            task_status.started()
            with anyio.CancelScope() as self._listening:
                while True:
                    await anyio.wait_readable(listener)
                    await self._take(listener.accept()[0])
        self._listens = False

    async def _take(self, connection: socket.socket) -> None:
        """Relay a connection, which `cut` can find before its task runs."""
        with anyio.CancelScope(shield=True):
            client = await SocketStream.from_socket(connection)
        relay = anyio.CancelScope()
        self._relays.add(relay)
        self._tasks.start_soon(self._relay, client, relay)

    async def _relay(self, client: SocketStream, scope: anyio.CancelScope) -> None:
        """Relay a connection until an end of it closes, or `cut` ends it."""
        self.accepted += 1
        try:
            with scope:
                async with (
                    client,
                    await anyio.connect_tcp(self.server.host, self.server.port) as server,
                ):
                    await self._relay_both_ways(client, server)
        except OSError:  # the server is gone: so is this connection
            pass
        finally:
            self._relays.discard(scope)

    async def _relay_both_ways(self, client: SocketStream, server: SocketStream) -> None:
        async with anyio.create_task_group() as tasks:
            for source, target in ((client, server), (server, client)):
                send, receive = anyio.create_memory_object_stream[tuple[float, bytes]](math.inf)
                tasks.start_soon(self._read, source, send, source is client)
                tasks.start_soon(self._write, target, receive, tasks)

    async def _read(
        self,
        source: SocketStream,
        queue: MemoryObjectSendStream[tuple[float, bytes]],
        is_delayed: bool,  # noqa: FBT001  # a task group passes no keywords
    ) -> None:
        """Queue what arrives, with the time at which it may pass."""
        with queue:
            try:
                while True:
                    data = await source.receive()
                    due = anyio.current_time() + self.delay_seconds * is_delayed
                    queue.send_nowait((due, data))
            except CLOSED:
                pass

    async def _write(
        self,
        target: SocketStream,
        queue: MemoryObjectReceiveStream[tuple[float, bytes]],
        tasks: TaskGroup,
    ) -> None:
        """Send what is queued, each when it is due; then end the relay."""
        with queue:
            try:
                async for due, data in queue:
                    await anyio.sleep_until(due)
                    await self._flowing.wait()
                    await target.send(data)
            except CLOSED:
                pass
            await self._flowing.wait()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def redis_proxy(server: RedisServer) -> AsyncIterator[RedisProxy]:
    """Run a proxy in front of a server."""
    async with own_tasks() as tasks:
        proxy = RedisProxy(server, free_port(), tasks)
        proxy.resume()
        await proxy.accept()
        yield proxy
        tasks.cancel_scope.cancel()
