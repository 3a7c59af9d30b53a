"""`streamsvc serve --workers N` as processes, with a real Redis."""

import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from support.process import Running, environment, started
from support.redis_servers import RedisServer

_STARTED = re.compile(r"worker\.started number=(\d+) pid=(\d+)")
_ENDED = re.compile(r"worker\.(?:died|left) number=\d+ pid=(\d+)")


@asynccontextmanager
async def serve_workers(
    directory: Path,
    server: RedisServer,
    settings: Mapping[str, str],
    *,
    count: int = 2,
    shell: Sequence[str] = (),
) -> AsyncIterator[Running]:
    """Run several workers as an operator does; on leaving, end them if they still run.

    Args:
        directory: the working directory.
        server: keeps the answers.
        settings: by the names of their variables without `STREAMSVC_`.
        count: how many workers.
        shell: a program that starts the service, with its arguments.
    """
    redis = {"LOG__KIND": "redis", "LOG__URL": server.url, "LOG__PREFIX": directory.name}
    command = [*shell, sys.executable, "-m", "streamsvc", "serve", "--workers", str(count)]
    environ = environment({**redis, **settings}, {})
    async with started(command, directory, environ, has_workers=True) as running:
        yield running


def workers(running: Running) -> dict[int, list[int]]:
    """Return the processes that serve or leave, by the number of the worker, the oldest first."""
    ended = {int(pid) for pid in _ENDED.findall(running.output)}
    found: dict[int, list[int]] = {}
    for number, pid in _STARTED.findall(running.output):
        if int(pid) not in ended:
            found.setdefault(int(number), []).append(int(pid))
    return found
