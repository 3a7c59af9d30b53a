"""`streamsvc serve`: the service on uvicorn."""

import sys
from collections.abc import Mapping

import uvicorn
from starlette.applications import Starlette

from streamsvc.app import create_app
from streamsvc.config.load import Source
from streamsvc.config.settings import ServerSettings, Settings
from streamsvc.errors import EXIT_CONFIG, EXIT_CRASHED, ConfigError
from streamsvc.server import descriptors
from streamsvc.server.connection import Protocol
from streamsvc.server.lifecycle import Options, Server
from streamsvc.server.listening import bind
from streamsvc.server.logs import log_config, log_crashes
from streamsvc.server.preload import preload
from streamsvc.server.reload import Reload
from streamsvc.server.worker import WorkerServer
from streamsvc.server.workers.inheritance import Inheritance
from streamsvc.telemetry.place import ALONE


def serve(
    settings: Settings,
    environ: Mapping[str, str],
    source: Source,
    inheritance: Inheritance | None = None,
    *,
    is_demo: bool = False,
) -> int:
    """Serve until a signal; return the exit code.

    Args:
        settings: the whole configuration.
        environ: holds the providers' keys.
        source: where the settings come from, to read them again.
        inheritance: from the supervisor, if this process is one of several workers.
        is_demo: whether this process is a worker of a demo, which its page may kill.
    """
    descriptors.keep_standard_streams()
    try:
        if inheritance is None:
            sockets = bind(settings.server.host, settings.server.port)
        else:
            sockets = inheritance.open_sockets()
        worker = inheritance.number if inheritance else None
        place = inheritance.place if inheritance else ALONE
        app = create_app(settings, environ, worker if is_demo else None, place)
    except ConfigError as exc:
        print(exc, file=sys.stderr)  # noqa: T201  # as the command line does for other settings
        return EXIT_CONFIG
    config = _uvicorn_config(app, settings.server, worker)  # sets up logging for what follows
    log_crashes()
    preload()
    limits = settings.limits
    room = descriptors.room_for_connections(descriptors.raise_limit(), limits.max_generations)

    drain_seconds = settings.server.drain_seconds

    async def drain() -> None:
        await app.state.supervisor.drain(drain_seconds)

    reload = Reload(app, source, is_worker=inheritance is not None)
    options = Options(
        prepare=app.prepare,
        silence_seconds=settings.stream.send_timeout_seconds,
        request_seconds=settings.server.request_seconds,
        max_connections=min(room, limits.max_connections),
        max_connections_per_address=limits.max_connections_per_address,
        max_total_unread_bytes=limits.max_total_unread_bytes,
        has_crashed=lambda: app.state.guard.has_crashed,
        background=reload.run,
        reload=reload.ask,
    )
    server = (
        Server(config, drain, options)
        if inheritance is None
        else WorkerServer(config, drain, options, inheritance, drain_seconds)
    )
    server.watch(app.state.metrics)
    server.run(sockets)
    return EXIT_CRASHED if app.state.guard.has_crashed else 0


def _uvicorn_config(app: Starlette, settings: ServerSettings, worker: int | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path,
        log_config=log_config(settings, worker),
        # uvicorn's access log would contain prompts: they are part of the URL of `/stream-ai`.
        access_log=False,
        proxy_headers=False,  # nothing reads a client's address or scheme
        http=Protocol,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=settings.close_seconds,
    )
