"""Generations of workers that share one directory, for tests of what the others see of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
from typing_extensions import override

from streamsvc.engine.directory.base import RunningGeneration, TakenOver
from streamsvc.events import Done, Outcome, Start, Status, Text
from streamsvc.messages import GenerationRequest, ImagePart, Prompt, TextPart, UserMessage
from support.redis_proxy import RedisProxy
from support.redis_servers import RedisServer
from support.redis_workers import Worker, worker

GENERATION = "gen_" + "q" * 32
OTHER = "gen_" + "7" * 32

REQUEST = GenerationRequest(
    prompt=Prompt(
        messages=(UserMessage((TextPart("look"), ImagePart(url="https://example.com/a.png"))),),
        stop=("x",),
        extra_body={"a": [1, None]},
    ),
    provider="fake",
    metadata={"k": "v"},
)


class Audience:
    """Notes what happens in it.

    Attributes:
        moves: +1 for each viewer that has joined, -1 for each that has left.
    """

    def __init__(self) -> None:
        self.moves: list[int] = []
        self._moved = anyio.Event()

    @property
    def size(self) -> int:
        return sum(self.moves)

    def join(self) -> None:
        self._move(1)

    def leave(self) -> None:
        self._move(-1)

    def _move(self, by: int) -> None:
        self.moves.append(by)
        self._moved.set()
        self._moved = anyio.Event()

    async def is_now(self, *moves: int) -> None:
        """Wait for exactly these moves, within a bound."""
        with anyio.move_on_after(10):
            while self.moves != list(moves):
                await self._moved.wait()
        assert self.moves == list(moves)


@dataclass
class Running(RunningGeneration):
    """A generation that writes its `Done` when it is stopped.

    Attributes:
        worker: runs it.
        name: its id.
        viewers: its audience.
        stopped: the reason of its first stop, the only one that counts.
        is_stopped: set then.
    """

    worker: Worker
    name: str = GENERATION
    viewers: Audience = field(default_factory=Audience)
    stopped: list[Outcome] = field(default_factory=list)
    is_stopped: anyio.Event = field(default_factory=anyio.Event)

    @property
    @override
    def id(self) -> str:
        return self.name

    @property
    @override
    def request(self) -> GenerationRequest:
        return REQUEST

    @property
    @override
    def audience(self) -> Audience:
        return self.viewers

    @override
    def stop(self, outcome: Outcome) -> None:
        if self.stopped:  # a beat and a message may both say it before the `Done` is stored
            return
        self.stopped.append(outcome)
        if outcome is not Outcome.UPSTREAM_LOST:
            self.end(outcome)
        self.is_stopped.set()

    def end(self, outcome: Outcome = Outcome.COMPLETED) -> None:
        self.worker.log.append(
            self.name,
            Done(
                status=Status.COMPLETED,
                finish_reason="stop",
                outcome=outcome,
                provider="fake",
                model="words",
            ),
        )

    @override
    async def wait_ended(self) -> None:
        await self.worker.log.flush(self.name)

    async def say(self, *words: str) -> None:
        """Append words, and wait until they are stored."""
        for word in words:
            self.worker.log.append(self.name, Text(word))
        await self.worker.log.flush(self.name)


async def begin(one: Worker, name: str = GENERATION) -> Running:
    """Run a generation on a worker."""
    generation = Running(one, name)
    await one.directory.enter(generation)
    one.log.append(name, Start(generation=name, provider="fake", model="words", created=1))
    await one.log.flush(name)
    return generation


async def taken(by: Worker, name: str = GENERATION) -> TakenOver:
    """Wait until a worker has taken over a generation."""
    with anyio.fail_after(10):
        while (found := await by.directory.take(name)) is None:  # noqa: ASYNC110
            await anyio.sleep(0.01)  # its lease lasts: nothing tells when it lapses
    return found


def new_prefix() -> str:
    """Return a prefix that no other example uses."""
    return f"example{next(_PREFIXES)}"


_PREFIXES = count()


def lapse(server: RedisServer, owner: Worker) -> None:
    """Let the lease of a worker's generation lapse, as if the worker had stalled."""
    server.command("HSET", owner.store.keys.meta(GENERATION), "d", 0)


@dataclass
class Workers:
    """Starts workers that share keys."""

    url: str
    prefix: str

    @asynccontextmanager
    async def start(self, number: int, **log: Any) -> AsyncIterator[list[Worker]]:
        """Run some workers."""
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(worker(self.url, self.prefix, **log))
                for _ in range(number)
            ]

    def flush(self, server: RedisServer) -> None:
        """Delete all keys of these workers."""
        for key in server.command("KEYS", f"{self.prefix}:*"):
            server.command("DEL", key)

    def behind(self, proxy: RedisProxy, **log: Any) -> Any:
        """Return a worker whose way to the store is a proxy."""
        return worker(proxy.url, self.prefix, **log)
