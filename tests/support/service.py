"""The service on a real socket, inside the test's own event loop."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import anyio
import httpx2
import uvicorn
from typing_extensions import override

from streamsvc.app import Service as Application
from streamsvc.app import create_app
from streamsvc.config.settings import Settings
from streamsvc.engine.directory.base import Directory
from streamsvc.engine.supervisor import Supervisor
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.server.connection import Protocol
from streamsvc.server.lifecycle import Options, Server
from support.changes import Changes
from support.owned import own_tasks

CLIENT_SECONDS = 60
"""How long the client of a test waits for a service: a busy machine may pause both for seconds."""


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        url: its address, without a slash at the end.
        client: an HTTP client with that base address.
        server: holds its connections.
        changes: wakes tests that wait for a fact about its engine.
        supervisor: its engine.
        log: its event log.
        directory: knows which generations run.
    """

    url: str
    port: int
    client: httpx2.AsyncClient
    app: Application
    server: Server
    changes: Changes

    @property
    def supervisor(self) -> Supervisor:
        supervisor: Supervisor = self.app.state.supervisor
        return supervisor

    @property
    def log(self) -> MemoryEventLog:
        log: MemoryEventLog = self.app.state.log
        return log

    @property
    def directory(self) -> Directory:
        directory: Directory = self.app.state.directory
        return directory

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until a fact about its viewers and running generations holds; the caller sets the bound."""
        await self.changes.until(is_so)


class _QuietServer(Server):
    """The server without the parts that affect the whole process: signals, and the freezing of objects."""

    @override
    def _settle(self) -> None:
        pass

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Service]:
    """Run a service on a free loopback port until the context is left."""
    app = create_app(settings, environ)
    config = uvicorn.Config(
        app,
        http=Protocol,
        root_path=settings.server.root_path,
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )

    async def drain() -> None:
        await app.state.supervisor.drain(0)

    options = Options(request_seconds=settings.server.request_seconds)
    server = _QuietServer(config, drain, options)
    # The socket listens before the server starts, so clients can connect at once.
    # It names its protocol, because asyncio sets TCP_NODELAY only on sockets that do.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    limits = httpx2.Limits(max_connections=None)
    async with own_tasks() as tasks:
        tasks.start_soon(_serve, server, listener)
        try:
            async with httpx2.AsyncClient(
                base_url=url, timeout=CLIENT_SECONDS, limits=limits
            ) as client:
                # The first response arrives once the service has started.
                (await client.get("/healthz")).raise_for_status()
                yield Service(url, port, client, app, server, Changes(app.state.supervisor))
        finally:
            server.handle_exit(0, None)


async def _serve(server: Server, listener: socket.socket) -> None:
    """Serve until the server is stopped, even if the test fails or is skipped."""
    with anyio.CancelScope(shield=True), listener:
        await server.serve([listener])
