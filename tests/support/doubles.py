"""Test doubles of the ports, for tests of the code above them, and the clock of those tests."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
import trio
from trio.testing import MockClock
from typing_extensions import override

from streamsvc.config.provider_settings import FakeSettings, ProviderSettings
from streamsvc.eventlog.base import BEFORE_FIRST, EventLog
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.events import Delta, Done, Event, Record
from streamsvc.messages import Prompt, UserMessage
from streamsvc.provider_errors import UpstreamCut
from streamsvc.providers.base import Finish, Provider
from streamsvc.providers.registry import ProviderRegistry
from support.loops import on_asyncio
from support.virtual_time import VirtualTimeLoop, run

PROMPT = Prompt(messages=(UserMessage("the-secret-question"),))

HOLD = float("inf")


class Announced(msgspec.Struct, frozen=True):
    """The provider emits a finish, but the answer does not end yet."""

    finish: Finish


Step = Delta | Finish | Announced | float | anyio.Event | Exception
"""A delta to emit, seconds to stay silent, an event to wait for, or an exception to raise."""


class Room:
    """Counts the viewers that hold a slot."""

    def __init__(self) -> None:
        self.size = 0

    def join(self) -> None:
        """Count one more."""
        self.size += 1

    def leave(self) -> None:
        """Count one less."""
        self.size -= 1


class ScriptedProvider(Provider):
    """Plays a script, and breaks off if the script has no `Finish`.

    Args:
        script: the steps of every answer.
        entering: a step before the first one, such as a failed connection.
        leaving: a step on the way out, shielded from cancellation.

    Attributes:
        prompts: the prompt of each call.
        asked_at: the time of each call, on the event loop's clock.
        opened: how many calls have begun.
        closed: how many of them have ended.
        asked: set by the first call.
    """

    def __init__(self, *script: Step, entering: Step = 0.0, leaving: Step = 0.0) -> None:
        self._script = script
        self._entering = entering
        self._leaving = leaving
        self.prompts: list[Prompt] = []
        self.asked_at: list[float] = []
        self.opened = 0
        self.closed = 0
        self.asked = anyio.Event()

    @override
    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        self.prompts.append(prompt)
        self.asked_at.append(anyio.current_time())
        self.asked.set()
        self.opened += 1
        script = self.script_of(self.opened)
        try:
            await _take(self._entering)
            for step in script:
                if isinstance(step, Finish):
                    return step
                if isinstance(step, Announced):
                    emit(step.finish)
                elif isinstance(step, float | anyio.Event | Exception):
                    await _take(step)
                else:
                    emit(step)
            raise UpstreamCut
        finally:
            with anyio.CancelScope(shield=True):
                self.closed += 1
                await _take(self._leaving)

    def script_of(self, call: int) -> Sequence[Step]:
        """Return the script of the call with this number, from 1."""
        del call
        return self._script


class Takes(ScriptedProvider):
    """Plays another script at each call, and the last one from then on.

    Args:
        takes: the scripts.
    """

    def __init__(self, *takes: Sequence[Step]) -> None:
        super().__init__()
        self._takes = takes

    @override
    def script_of(self, call: int) -> Sequence[Step]:
        return self._takes[min(call, len(self._takes)) - 1]


async def _take(step: Step) -> None:
    if isinstance(step, Exception):
        raise step
    if isinstance(step, anyio.Event):
        await step.wait()
    elif isinstance(step, float):
        await anyio.sleep(step)


class Providers(ProviderRegistry):
    """A registry whose providers are already open.

    Args:
        providers: by entry name.
        entries: settings of some of them ...
        section: ... and of all others.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        entries: Mapping[str, ProviderSettings] | None = None,
        **section: Any,
    ) -> None:
        others: dict[str, ProviderSettings] = {name: FakeSettings(**section) for name in providers}
        super().__init__(others | dict(entries or {}), {})
        for name, provider in providers.items():
            self.client(name).use(provider)


class SlowLog(MemoryEventLog):
    """A log that yields to other tasks and can be cancelled while it stores, like one over a network."""

    @override
    async def flush(self, generation: str) -> None:
        await anyio.lowlevel.checkpoint()
        await super().flush(generation)


async def read_all(log: EventLog, generation: str) -> list[Record]:
    """Follow a log from its start to its `Done`; return the records."""
    records: list[Record] = []
    while not records or not isinstance(records[-1].event, Done):
        after = records[-1].seq if records else BEFORE_FIRST
        records += await log.read(generation, after=after, wait_seconds=HOLD)
    return records


async def events_of(log: EventLog, generation: str) -> list[Event]:
    """Follow a log from its start to its `Done`; return the events."""
    return [record.event for record in await read_all(log, generation)]


def in_virtual_time(backend: str) -> tuple[str, dict[str, Any]]:
    """Return the value of an `anyio_backend` fixture whose clock jumps instead of waiting."""
    if backend == "trio":
        return backend, {"clock": MockClock(autojump_threshold=0)}
    return on_asyncio(VirtualTimeLoop)


def virtual_backends() -> Any:
    """Return an `anyio_backend` fixture for a module: asyncio and trio, each with a clock that jumps."""

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return in_virtual_time(request.param)

    return anyio_backend


def run_in_virtual_time(backend: str, check: Callable[[], Awaitable[None]]) -> None:
    """Run a check to its end on a clock that jumps, for tests that repeat it many times."""

    async def main() -> None:
        await check()

    if backend == "trio":
        trio.run(main, clock=MockClock(autojump_threshold=0))
    else:
        run(main())
