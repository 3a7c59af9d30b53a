"""Limiters in memory and in Redis, for one suite over both."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio

from streamsvc.config.guard_settings import PrincipalLimits
from streamsvc.config.settings import LimitSettings, LogSettings, Settings
from streamsvc.engine.admission import Limiter
from streamsvc.errors import RateLimited
from streamsvc.guard.limits.memory import MemoryLimiter
from streamsvc.guard.limits.redis import RedisLimiter
from streamsvc.messages import Prompt, UserMessage
from streamsvc.principals import Principal
from streamsvc.store.client import Store
from streamsvc.store.health import Trouble
from support.logged import logged

NAMES = count()


def asking(tokens: int) -> Prompt:
    """Return a prompt that may take so many tokens, two of them for its input."""
    return Prompt(messages=(UserMessage("question"),), max_tokens=tokens - 2)


def principal(name: str = "one", **limits: int) -> Principal:
    return Principal(name=name, limits=PrincipalLimits(**limits))


@dataclass
class Clock:
    """A clock that a test sets."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Process:
    """A process with a limiter.

    Attributes:
        limiter: its limiter.
    """

    limiter: Limiter
    _store: Store | None = None
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def admit(
        self, caller: Principal, tokens: int = 10, *, generation: str | None = None
    ) -> str:
        """Admit a new generation; return its id."""
        name = generation or f"gen_{next(NAMES)}"
        await self.limiter.admit(name, caller, asking(tokens))
        return name

    async def admitted(self, caller: Principal, tokens: int = 10, *, most: int = 1000) -> int:
        """Admit generations until one is refused; return how many there were."""
        for number in range(most):
            try:
                await self.admit(caller, tokens)
            except RateLimited:
                return number
        return most

    async def refusal(self, caller: Principal, tokens: int = 10) -> RateLimited:
        """Return the refusal of a generation."""
        try:
            await self.admit(caller, tokens)
        except RateLimited as exc:
            return exc
        raise AssertionError("it is admitted")

    async def settled(self) -> None:
        """Wait until what has ended is settled."""
        if isinstance(self.limiter, RedisLimiter):
            await self.limiter.finish()

    async def run(self) -> None:
        """Run until it is killed."""
        assert isinstance(self.limiter, RedisLimiter)
        assert self._store is not None
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._store.run_background)
                tasks.start_soon(self.limiter.run)

    def kill(self) -> None:
        """End it as SIGKILL does."""
        assert self._store is not None
        self._store.health.trouble = Trouble.UNREACHABLE
        self._scope.cancel()


Start = Callable[..., Any]
"""`async with start(in_all settings) as process`."""


@asynccontextmanager
async def in_memory(clock: Clock, **in_all: int) -> AsyncIterator[Process]:
    """Run a limiter in memory."""
    yield Process(MemoryLimiter(LimitSettings(**in_all), clock))


@asynccontextmanager
async def in_redis(
    url: str,
    prefix: str,
    *,
    lease_seconds: float = 1.0,
    timeout_seconds: float = 2.0,
    on_outage: Any = "refuse",
    **in_all: int,
) -> AsyncIterator[Process]:
    """Run a limiter that shares keys with others."""
    log = LogSettings(
        kind="redis",
        url=url,
        prefix=prefix,
        lease_seconds=lease_seconds,
        timeout_seconds=timeout_seconds,
        on_outage=on_outage,
    )
    store = Store(log, logged())
    process = Process(RedisLimiter(store, Settings(log=log, limits=LimitSettings(**in_all))), store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(process.run)
        yield process
        tasks.cancel_scope.cancel()
