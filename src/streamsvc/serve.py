"""`streamsvc serve`: the service on uvicorn."""

from collections.abc import Mapping
from typing import Any

import uvicorn

from streamsvc.app import create_app
from streamsvc.server import Protocol, Server
from streamsvc.settings import Settings


def serve(settings: Settings, environ: Mapping[str, str]) -> int:
    """Serve until a signal comes; return the exit code."""
    app = create_app(settings, environ)
    config = uvicorn.Config(
        app,
        host=settings.server.host,
        port=settings.server.port,
        root_path=settings.server.root_path,
        log_config=log_config(settings.server.log_level),
        # uvicorn's access log would write prompts: they are part of the address of `/stream-ai`.
        access_log=False,
        proxy_headers=False,  # nobody asks for a client's address or scheme
        http=Protocol,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=settings.server.close_seconds,
    )

    async def drain() -> None:
        await app.state.supervisor.drain(settings.server.drain_seconds)

    Server(config, drain, silence_seconds=settings.stream.send_timeout_seconds).run()
    return 0


def log_config(level: str) -> dict[str, Any]:
    """Return the logging set-up: our own lines at *level*, other libraries' warnings only.

    Some libraries write prompts and answers at lower levels.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": "%(asctime)s %(levelname)-7s %(name)s %(message)s"},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "streamsvc": {"level": level.upper()},
            "uvicorn.error": {"level": "INFO"},
        },
    }
