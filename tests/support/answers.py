"""A supervisor over scripted providers with fallbacks, and the events that its viewers see."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, Settings
from streamsvc.engine.admission import Unlimited
from streamsvc.engine.circuit import State
from streamsvc.engine.directory.memory import MemoryDirectory
from streamsvc.engine.supervisor import Supervisor
from streamsvc.events import (
    Done,
    Event,
    Outcome,
    Progress,
    PublicError,
    Restart,
    Start,
    Status,
    Text,
    Usage,
)
from streamsvc.messages import GenerationRequest
from streamsvc.provider_errors import ProviderError, ProviderRateLimited
from streamsvc.providers.base import Finish
from support.doubles import PROMPT, Providers, ScriptedProvider, SlowLog, Step, events_of
from support.logged import logged

USAGE = Usage(input_tokens=3, output_tokens=7)

STOP = Finish(reason="stop", usage=USAGE)

WELL: tuple[Step, ...] = (Text("well"), STOP)

FIRST_TOKEN = 100.0

IDLE = 50.0

TOTAL = 1000.0

REQUEST = GenerationRequest(prompt=PROMPT, provider="first")


class Bench(Supervisor):
    """A supervisor over scripted providers: the first one falls back on the others, in their order.

    Args:
        providers: `first`, `second`, `third`.
        entries: settings of single providers, by name.
        generations: the section of this name in the settings.
        section: settings of all providers.
    """

    def __init__(
        self,
        *providers: ScriptedProvider,
        entries: dict[str, dict[str, Any]] | None = None,
        generations: dict[str, Any] | None = None,
        **section: Any,
    ) -> None:
        named = dict(zip(("first", "second", "third"), providers, strict=False))
        values = {
            name: {
                "model": f"model-of-{name}",
                "fallbacks": (*named,)[1:] if name == "first" else (),
                "first_token_seconds": FIRST_TOKEN,
                "idle_seconds": IDLE,
                "total_seconds": TOTAL,
                **section,
                **(entries or {}).get(name, {}),
            }
            for name in named
        }
        registry = Providers(named, {name: FakeSettings(**values[name]) for name in named})
        settings = Settings(
            provider="first",
            generations=GenerationSettings(**(generations or {})),
            providers=dict(registry.entries),
        )
        self.providers = providers
        self.log = SlowLog(settings.generations)
        directory = MemoryDirectory(self.log, settings)
        self.hooks = logged()
        super().__init__(
            providers=registry,
            log=self.log,
            directory=directory,
            limiter=Unlimited(),
            settings=settings,
            hooks=self.hooks,
        )

    async def answer(self, order: GenerationRequest = REQUEST) -> list[Event]:
        """Ask once, watch to the end, and return the events after the `Start`."""
        generation = await self.create(order)
        with self.viewer(generation):
            start, *events = await events_of(self.log, generation)
        assert isinstance(start, Start)
        return events

    async def done(self) -> Done:
        """Ask once, and return the `Done`."""
        done = (await self.answer())[-1]
        assert isinstance(done, Done)
        return done

    @property
    def calls(self) -> tuple[int, ...]:
        """The number of calls to each provider."""
        return tuple(provider.opened for provider in self.providers)

    @property
    def slots(self) -> list[int]:
        """The number of taken slots of each entry."""
        return [entry.running for entry in self.entries]

    def circuit_of(self, name: str) -> State:
        """Return the state of an entry's circuit."""
        return {entry.name: entry.circuit.state for entry in self.entries}[name]


@asynccontextmanager
async def supervising(*providers: ScriptedProvider, **settings: Any) -> AsyncIterator[Bench]:
    """Run a supervisor; at the end, check that every call is closed and every slot is free."""
    with anyio.fail_after(100 * TOTAL):
        async with Bench(*providers, **settings) as bench:
            yield bench
            await anyio.wait_all_tasks_blocked()
            assert bench.running == 0
            assert bench.slots == [0] * len(providers)
            assert all(provider.opened == provider.closed for provider in providers)


def completed(by: str, usage: Usage | None = USAGE) -> Done:
    return Done(
        status=Status.COMPLETED,
        finish_reason="stop",
        outcome=Outcome.COMPLETED,
        provider=by,
        model=f"model-of-{by}",
        usage=usage,
    )


def failed(of: str, error: ProviderError, usage: Usage | None = None) -> Done:
    return Done(
        status=Status.FAILED,
        finish_reason="error",
        outcome=Outcome(error.outcome),
        provider=of,
        model=f"model-of-{of}",
        usage=usage,
        error=PublicError(error.code, error.message, error.retryable),
    )


def counted(said: int, *, thought: int = 0) -> Usage:
    """Return the usage that streamsvc counts: one word of the prompt, and one token for each piece."""
    return Usage(
        input_tokens=1,
        output_tokens=said + thought,
        reasoning_tokens=thought or None,
        estimated=True,
    )


def rate_limited(retry_after_seconds: float) -> ProviderRateLimited:
    error = ProviderRateLimited()
    error.retry_after_seconds = retry_after_seconds
    return error


def retrying(reason: str = "provider_unavailable", provider: str = "first") -> Progress:
    return Progress(state="retrying", provider=provider, reason=reason)


def switching(reason: str = "provider_unavailable", provider: str = "second") -> Progress:
    return Progress(state="switching", provider=provider, reason=reason)


def restart(reason: str = "upstream_cut", provider: str = "first") -> Restart:
    return Restart(reason=reason, provider=provider, model=f"model-of-{provider}")


def gaps(provider: ScriptedProvider) -> list[float]:
    """Return the seconds between the calls to a provider."""
    return [later - before for before, later in pairwise(provider.asked_at)]


def text_of(said: Sequence[Event | Step]) -> str:
    """Return the text that a page shows at the end."""
    text = ""
    for one in said:
        if isinstance(one, Restart):
            text = ""
        elif isinstance(one, Text):
            text += one.text
    return text
