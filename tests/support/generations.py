"""One generation without a supervisor: its provider plays a script, and its log is in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from streamsvc.config.settings import GenerationSettings
from streamsvc.engine.entries import ProviderEntries, ProviderSlot
from streamsvc.engine.generation import Generation
from streamsvc.events import Done, Event, Outcome, PublicError, Start, Status, Usage
from streamsvc.messages import GenerationRequest
from streamsvc.providers.base import Finish
from support.doubles import PROMPT, Providers, ScriptedProvider, SlowLog, Step, events_of
from support.logged import logged

STOP = Finish(reason="stop")

FIRST_TOKEN = 100.0

IDLE = 50.0

TOTAL = 1000.0

GRACE = 5.0


class Bench:
    """A generation without a supervisor.

    Attributes:
        provider: plays the script.
        log: holds its events.
        generation: the generation.
    """

    def __init__(
        self,
        provider: ScriptedProvider,
        *,
        total_seconds: float = TOTAL,
        max_log_bytes: int = 10**9,
        **order: Any,
    ) -> None:
        self.provider = provider
        settings = GenerationSettings(grace_seconds=GRACE, max_log_bytes=max_log_bytes)
        self.log = SlowLog(settings)
        entries = ProviderEntries(
            Providers(
                {"fake": provider},
                attempts=1,
                first_token_seconds=FIRST_TOKEN,
                idle_seconds=IDLE,
                total_seconds=total_seconds,
            ),
            logged(),
        )
        self.slot = ProviderSlot(entries.route("fake", PROMPT))
        self.generation = Generation(
            "gen_a",
            GenerationRequest(prompt=PROMPT, provider="fake", **order),
            slot=self.slot.__enter__(),
            log=self.log,
            settings=settings,
            hooks=logged(),
        )

    async def watched(self) -> list[Event]:
        """Run to the end with a connected viewer; return the events of the log."""
        await self.generation.open_log()
        with self.generation.audience.viewer():
            await self.generation.run()
        return await self.events()

    async def events(self) -> list[Event]:
        """Wait for the end; check what holds for every generation, and return the events of the log."""
        events = await events_of(self.log, "gen_a")
        assert [isinstance(event, Start) for event in events] == [
            True,
            *[False] * (len(events) - 1),
        ]
        assert [isinstance(event, Done) for event in events] == [*[False] * (len(events) - 1), True]
        await self.generation.wait_ended()
        assert self.provider.opened == self.provider.closed <= 1
        return events

    async def done(self) -> Done:
        """Return its `Done`, once it is there."""
        done = (await self.events())[-1]
        assert isinstance(done, Done)
        return done


@asynccontextmanager
async def running(
    *script: Step, grace_seconds: float | None = None, **steps: Step
) -> AsyncIterator[Bench]:
    """Run a generation beside the test."""
    bench = Bench(ScriptedProvider(*script, **steps), grace_seconds=grace_seconds)
    await bench.generation.open_log()
    with anyio.fail_after(10 * TOTAL):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.generation.run)
            yield bench


async def generate(*script: Step, **steps: Step) -> list[Event]:
    """Run a generation to its end with a connected viewer; return the events of its log."""
    with anyio.fail_after(10 * TOTAL):
        return await Bench(ScriptedProvider(*script, **steps)).watched()


def counted(said: int = 0, *, thought: int = 0) -> Usage:
    """Return the usage that streamsvc estimates: the prompt, and one token for each short piece."""
    return Usage(
        input_tokens=1,
        output_tokens=said + thought,
        reasoning_tokens=thought or None,
        estimated=True,
    )


def failure(
    code: str,
    outcome: Outcome,
    message: str,
    *,
    retryable: bool = True,
    usage: Usage | None = None,
) -> Done:
    return Done(
        status=Status.FAILED,
        finish_reason="error",
        outcome=outcome,
        provider="fake",
        model="words",
        usage=usage,
        error=PublicError(code, message, retryable),
    )


def stopped(outcome: Outcome, usage: Usage) -> Done:
    return Done(
        status=Status.STOPPED,
        finish_reason="stopped",
        outcome=outcome,
        provider="fake",
        model="words",
        usage=usage,
    )


DRAINED = failure(
    "drained",
    Outcome.DRAINED,
    "The service shut down before the answer was complete; ask again.",
)

CRASHED = failure(
    "internal_error", Outcome.INTERNAL_ERROR, "Something went wrong inside the service."
)
