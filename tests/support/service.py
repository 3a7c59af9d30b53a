"""The service on a real socket, inside the test's own event loop."""

import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import anyio
import httpx2
import uvicorn
from starlette.applications import Starlette
from typing_extensions import override

from streamsvc.app import create_app
from streamsvc.config.settings import Settings
from streamsvc.engine.directory.base import Directory
from streamsvc.engine.supervisor import Supervisor
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.server.connection import Protocol
from streamsvc.server.lifecycle import Server
from support.owned import own_tasks


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        url: its address, without a slash at the end.
        client: an HTTP client with that base address.
        server: what holds its connections.
        supervisor: its engine.
        log: its event log.
        directory: knows what runs.
    """

    url: str
    port: int
    client: httpx2.AsyncClient
    app: Starlette
    server: Server

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


class _QuietServer(Server):
    """The server without what is a whole process's: signals, and the freezing of what it holds."""

    @override
    def _settle(self) -> None:
        pass

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Service]:
    """Run a service on a free port of the loopback for as long as the context is held."""
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

    server = _QuietServer(config, drain, request_seconds=settings.server.request_seconds)
    # The socket listens before the server starts, so that nobody has to wait for it.
    # Its protocol is named, because asyncio sets TCP_NODELAY only on sockets that know theirs.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    limits = httpx2.Limits(max_connections=None)
    async with own_tasks() as tasks:
        tasks.start_soon(_serve, server, listener)
        try:
            async with httpx2.AsyncClient(base_url=url, timeout=10, limits=limits) as client:
                # The first answer comes when the service has started.
                (await client.get("/healthz")).raise_for_status()
                yield Service(url, port, client, app, server)
        finally:
            server.handle_exit(0, None)


async def _serve(server: Server, listener: socket.socket) -> None:
    """Serve until the server is told to stop, also where the test has failed or is skipped."""
    with anyio.CancelScope(shield=True), listener:
        await server.serve([listener])
