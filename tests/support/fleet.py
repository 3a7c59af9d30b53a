"""Several workers, each `python -m streamsvc serve` in its own process, that share a Redis server.

async with fleet(tmp_path, [server.url] * 2, sections) as workers:
    await workers[0].client.post("/v1/generations", json={"prompt": "hi"})
    workers[0].kill()
"""

import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx2
from anyio.abc import TaskStatus

from streamsvc.config.addresses import is_loopback
from support.owned import own_tasks
from support.process import Running, environment, serve_command, started, write_config
from support.service import CLIENT_SECONDS

Sections = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker runs.

    Attributes:
        redis_url: the address under which it finds the Redis server.
        host: the address that it listens on.
        enter: the command that runs it there, such as `ip netns exec`.
    """

    redis_url: str
    host: str = "127.0.0.1"
    enter: Sequence[str] = ()


@dataclass
class Worker:
    """A worker.

    Attributes:
        running: its process.
        host: the address that it listens on.
        client: an HTTP client with its address.
        is_open: whether a load balancer would send it connections.
    """

    running: Running
    host: str
    client: httpx2.AsyncClient
    is_open: bool = True

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.running.port

    @property
    def output(self) -> str:
        """What it has written to standard error so far."""
        return self.running.output

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.is_open = False
        self.running.process.kill()

    def terminate(self) -> None:
        """Let it drain with SIGTERM."""
        self.is_open = False
        self.running.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Suspend it with SIGSTOP: its connections stay open in silence."""
        self.is_open = False
        self.running.process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Resume it with SIGCONT."""
        self.running.process.send_signal(signal.SIGCONT)
        self.is_open = True


@dataclass
class _Fleet:
    """Starts workers side by side, each in a task of its own."""

    directory: Path
    sections: Sections
    workers: dict[int, Worker] = field(default_factory=dict)
    leaving: anyio.Event = field(default_factory=anyio.Event)

    async def keep(self, number: int, place: Place, *, task_status: TaskStatus[None]) -> None:
        """Run a worker until the fleet is left."""
        directory = self.directory / f"worker{number}"
        directory.mkdir(parents=True)
        log = {"kind": "redis", **self.sections.get("log", {}), "url": place.redis_url}
        server = {**self.sections.get("server", {}), "host": place.host}
        own: dict[str, Mapping[str, object]] = {"log": log, "server": server}
        if not is_loopback(place.host) and "auth" not in self.sections:
            own["auth"] = {"allow_anonymous": True}
        write_config(directory, {**self.sections, **own})
        command = [*place.enter, *serve_command()]
        running_on = rf"running on http://{place.host}:(\d+)"
        async with started(command, directory, environment({}, {}), running_on=running_on) as it:
            url = f"http://{place.host}:{it.port}"
            async with httpx2.AsyncClient(base_url=url, timeout=CLIENT_SECONDS) as client:
                worker = self.workers[number] = Worker(it, place.host, client)
                task_status.started()
                await self.leaving.wait()
            if it.process.returncode is None:
                worker.cont()  # a suspended process takes no other signal


@asynccontextmanager
async def fleet(
    directory: Path, places: Sequence[Place], sections: Sections
) -> AsyncIterator[list[Worker]]:
    """Run a worker in each place until the context is left.

    Args:
        directory: each worker gets a working directory in it.
        places: where they run.
        sections: the tables of their `config.toml`, without the address of Redis.
    """
    crew = _Fleet(directory, sections)
    async with own_tasks() as tasks:
        async with anyio.create_task_group() as starting:
            for number, place in enumerate(places):
                starting.start_soon(_start, tasks, crew, number, place)
        try:
            yield [crew.workers[number] for number in range(len(places))]
        finally:
            crew.leaving.set()


async def _start(tasks: anyio.abc.TaskGroup, crew: _Fleet, number: int, place: Place) -> None:
    await tasks.start(crew.keep, number, place)
