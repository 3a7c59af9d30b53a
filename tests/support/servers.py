"""The service under several ASGI servers, each in a separate process."""

import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from support.process import START_SECONDS, Running, environment, serve, started

TESTS = Path(__file__).parents[1]

CLOSE_SECONDS = 10
"""How long uvicorn waits for running answers after SIGTERM."""

KILL_SECONDS = 3
"""How long granian does, which then kills its worker; the service's own drain takes half a second."""


@dataclass(frozen=True)
class Server:
    """An ASGI server, and what it can do.

    Attributes:
        name: its name.
        drains: whether viewers get their `done` after SIGTERM, or their connections are cut.
        reports_cuts: whether HTTP alone distinguishes a cut answer from a complete one.
    """

    name: str
    drains: bool = True
    reports_cuts: bool = True

    def run(
        self, directory: Path, settings: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Running]:
        """Run the service under this server; see `support.process.serve`."""
        if self.name == "streamsvc":
            return serve(directory, settings)
        return _foreign(self.name, directory, settings)


SERVERS = (
    Server("streamsvc"),
    Server("uvicorn"),
    Server("hypercorn", drains=False),
    Server("granian", drains=False),
)


@asynccontextmanager
async def _foreign(
    name: str, directory: Path, settings: Mapping[str, str]
) -> AsyncIterator[Running]:
    port = _free_port()
    arguments, running_on = {
        "uvicorn": (
            [
                *("support.asgi:create", "--factory", "--port", f"{port}", "--no-access-log"),
                *("--timeout-graceful-shutdown", f"{CLOSE_SECONDS}"),
            ],
            r"running on http://127\.0\.0\.1:(\d+)",
        ),
        "hypercorn": (
            [
                *("support.asgi:create()", "--bind", f"127.0.0.1:{port}"),
                *("--graceful-timeout", "1", "--workers", "0"),
            ],
            r"Running on http://127\.0\.0\.1:(\d+)",
        ),
        "granian": (
            [
                *("support.asgi:create", "--factory", "--interface", "asgi"),
                *("--port", f"{port}", "--workers-kill-timeout", f"{KILL_SECONDS}"),
            ],
            r"(?s)Listening at: http://127\.0\.0\.1:(\d+).*Started worker-1",
        ),
    }[name]
    environ = environment(settings, {"PYTHONPATH": str(TESTS), "PATH": os.environ["PATH"]})
    # granian logs to its standard output.
    command = ["sh", "-c", 'exec "$@" 1>&2', "sh", sys.executable, "-m", name, *arguments]
    async with started(
        command, directory, environ, running_on=running_on, has_workers=True
    ) as running:
        with anyio.fail_after(START_SECONDS):
            while not await _is_listening(port):
                pass  # granian logs that it listens before it does, and nothing after
        yield running


async def _is_listening(port: int) -> bool:
    try:
        stream = await anyio.connect_tcp("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


def _free_port() -> int:
    """Return a port that is free now; granian cannot say which one it was given."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
