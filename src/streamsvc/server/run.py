"""`streamsvc serve`: the service on uvicorn."""

import sys
from collections.abc import Mapping

import uvicorn
from starlette.applications import Starlette

from streamsvc.app import create_app
from streamsvc.config.settings import ServerSettings, Settings
from streamsvc.errors import ConfigError
from streamsvc.server import descriptors
from streamsvc.server.connection import Protocol
from streamsvc.server.lifecycle import Server
from streamsvc.server.listening import bind
from streamsvc.server.logs import log_config, log_crashes
from streamsvc.server.preload import preload

EXIT_CONFIG = 2


def serve(settings: Settings, environ: Mapping[str, str]) -> int:
    """Serve until a signal; return the exit code.

    Args:
        settings: the whole configuration.
        environ: holds the providers' keys.
    """
    descriptors.keep_standard_streams()
    try:
        sockets = bind(settings.server.host, settings.server.port)
    except ConfigError as exc:
        print(exc, file=sys.stderr)  # noqa: T201  # as the command line does for other settings
        return EXIT_CONFIG
    app = create_app(settings, environ)
    config = _uvicorn_config(app, settings.server)  # sets up logging for everything that follows
    log_crashes()
    preload()
    limits = settings.limits
    room = descriptors.room_for_connections(descriptors.raise_limit(), limits.max_generations)

    async def drain() -> None:
        await app.state.supervisor.drain(settings.server.drain_seconds)

    Server(
        config,
        drain,
        prepare=app.state.providers.open_ready,
        silence_seconds=settings.stream.send_timeout_seconds,
        request_seconds=settings.server.request_seconds,
        max_connections=min(room, limits.max_connections),
    ).run(sockets)
    return 0


def _uvicorn_config(app: Starlette, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path,
        log_config=log_config(settings.log_level),
        # uvicorn's access log would contain prompts: they are part of the URL of `/stream-ai`.
        access_log=False,
        proxy_headers=False,  # nothing reads a client's address or scheme
        http=Protocol,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=settings.close_seconds,
    )
