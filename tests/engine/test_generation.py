"""One generation: whatever its provider, its viewers and the operator do, its log ends with one `Done`."""

import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import msgspec
import pytest

from streamsvc.config.settings import GenerationSettings
from streamsvc.engine.entries import ProviderEntries, ProviderSlot
from streamsvc.engine.generation import Generation
from streamsvc.errors import (
    EmptyAnswer,
    ProviderContentFiltered,
    ProviderError,
    ProviderTimedOut,
    ProviderUnavailable,
    UpstreamCut,
)
from streamsvc.eventlog.base import BEFORE_FIRST
from streamsvc.events import (
    AnswerEnd,
    Done,
    Event,
    Outcome,
    PublicError,
    Reasoning,
    Start,
    Status,
    Text,
    Usage,
)
from streamsvc.messages import GenerationRequest
from streamsvc.providers.base import Finish
from support.doubles import (
    HOLD,
    PROMPT,
    Providers,
    ScriptedProvider,
    SlowLog,
    Step,
    events_of,
    in_virtual_time,
)

STOP = Finish(reason="stop")
FIRST_TOKEN = 100.0
IDLE = 50.0
TOTAL = 1000.0
GRACE = 5.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return in_virtual_time(request.param)


class Bench:
    """A generation on its own: its provider is a script, its log is in memory.

    Attributes:
        provider: the script.
        log: where it writes.
        generation: it.
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
            )
        )
        self.slot = ProviderSlot(entries.route("fake"))
        self.generation = Generation(
            "gen_a",
            GenerationRequest(prompt=PROMPT, provider="fake", **order),
            slot=self.slot.__enter__(),
            log=self.log,
            settings=settings,
        )

    async def watched(self) -> list[Event]:
        """Run to the end with a viewer who stays; return what the log says."""
        await self.generation.open_log()
        with self.generation.audience.viewer():
            await self.generation.run()
        return await self.events()

    async def events(self) -> list[Event]:
        """What the log says when it is over; the promises that hold for every generation."""
        events = await events_of(self.log, "gen_a")
        assert [isinstance(event, Start) for event in events] == [
            True,
            *[False] * (len(events) - 1),
        ]
        assert [isinstance(event, Done) for event in events] == [*[False] * (len(events) - 1), True]
        await self.generation.ended.wait()
        assert self.provider.opened == self.provider.closed <= 1
        return events

    async def done(self) -> Done:
        """How it ended."""
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
    """Run a generation that is watched to its end; return what its log says."""
    with anyio.fail_after(10 * TOTAL):
        return await Bench(ScriptedProvider(*script, **steps)).watched()


def counted(said: int = 0, *, thought: int = 0) -> Usage:
    """What streamsvc estimates: the prompt, and as many tokens as there were short words."""
    return Usage(
        input_tokens=5,
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


@pytest.mark.promise("stream:word-by-word")
@pytest.mark.promise("end:exactly-one")
async def test_the_log_is_the_start_every_delta_in_order_and_the_end() -> None:
    said: list[Step] = [
        Reasoning("hm"),
        Text("a"),
        Text(" "),
        Text("\r\n"),
        Reasoning("!"),
        Text("\U0001f980"),
    ]
    usage = Usage(input_tokens=3, output_tokens=6, reasoning_tokens=2)
    finish = Finish(reason="stop", provider_reason="STOP", model="words-2026", usage=usage)
    began = int(time.time())
    start, *deltas, done = await generate(*said, finish)
    assert isinstance(start, Start)
    assert began <= start.created <= time.time()
    assert (start.generation, start.provider, start.model) == ("gen_a", "fake", "words")
    assert deltas == said
    assert done == Done(
        status=Status.COMPLETED,
        finish_reason="stop",
        provider_finish_reason="STOP",
        outcome=Outcome.COMPLETED,
        provider="fake",
        model="words-2026",
        usage=usage,
    )


async def test_the_start_gives_the_clients_own_words_back() -> None:
    bench = Bench(ScriptedProvider(STOP), metadata={"page": "7"})
    start, _ = await bench.watched()
    assert isinstance(start, Start)
    assert start.metadata == {"page": "7"}
    assert bench.provider.prompts == [PROMPT]


async def test_every_delta_is_in_the_log_as_soon_as_the_provider_has_said_it() -> None:
    """And the start before the provider has said anything."""
    async with running(1.0, Text("a"), 1.0, Text("b"), STOP) as bench:
        with bench.generation.audience.viewer():
            for seq, event in enumerate([Text("a"), Text("b")], 1):
                assert len(await bench.log.read("gen_a", after=BEFORE_FIRST)) == seq
                (record, *_) = await bench.log.read("gen_a", after=seq - 1, wait_seconds=10)
                assert record.event == event
                assert anyio.current_time() == pytest.approx(seq, abs=0.001)


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("stop", Status.COMPLETED),
        ("tool_calls", Status.COMPLETED),
        ("length", Status.INCOMPLETE),
        ("content_filter", Status.INCOMPLETE),
        ("other", Status.INCOMPLETE),
    ],
)
async def test_only_an_answer_that_is_whole_is_called_completed(
    reason: AnswerEnd, status: Status
) -> None:
    *_, done = await generate(Text("a"), Finish(reason=reason, provider_reason="RAW"))
    assert isinstance(done, Done)
    assert (done.status, done.finish_reason, done.provider_finish_reason) == (status, reason, "RAW")
    assert done.error is None


def provider_errors(tree: type[ProviderError] = ProviderError) -> Iterator[ProviderError]:
    """Make one of every class that is a failure, and a timeout of every deadline."""
    if tree is ProviderTimedOut:
        deadlines = ("connect", "first_token", "idle", "total")
        yield from (ProviderTimedOut(deadline) for deadline in deadlines)
    else:
        yield tree()
    for branch in tree.__subclasses__():
        if branch is not ProviderContentFiltered:
            yield from provider_errors(branch)


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    "error", [*provider_errors()], ids=lambda error: type(error).__name__ + error.outcome
)
@pytest.mark.parametrize("said", [(), (Text("a"),)], ids=["before", "after the first word"])
async def test_whatever_error_a_provider_raises_the_viewer_is_told_in_its_public_words(
    error: ProviderError, said: tuple[Text, ...]
) -> None:
    """What it may have cost is estimated: of a provider that refused, or was not reached, nothing."""
    was_left = isinstance(error, ProviderTimedOut) and error.deadline != "connect"
    is_answered = isinstance(error, EmptyAnswer)
    _, *deltas, done = await generate(*said, error)
    assert deltas == [*said]
    assert done == failure(
        error.code,
        Outcome(error.outcome),
        error.message,
        retryable=error.retryable,
        usage=counted(len(said)) if said or was_left or is_answered else None,
    )


REFUSED = PublicError(
    ProviderContentFiltered.code, ProviderContentFiltered.message, retryable=False
)
"""Said of a prompt, and not of an answer that a filter ends in its middle."""


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("said", [(), (Text("a"),)], ids=["before", "after the first word"])
async def test_a_content_filter_ends_an_answer_as_a_models_own_finish_would(
    said: tuple[Text, ...],
) -> None:
    _, *deltas, done = await generate(*said, ProviderContentFiltered())
    assert deltas == [*said]
    assert done == Done(
        status=Status.INCOMPLETE,
        finish_reason="content_filter",
        provider_finish_reason="content_filter",
        outcome=Outcome.COMPLETED,
        provider="fake",
        model="words",
        usage=counted(1) if said else None,
        error=None if said else REFUSED,
    )


@pytest.mark.parametrize(
    "script", [{"entering": ProviderUnavailable()}, {"leaving": UpstreamCut()}]
)
async def test_an_error_while_connecting_or_closing_is_an_error_too(
    script: dict[str, Step],
) -> None:
    *_, done = await generate(Text("a"), STOP, **script)
    assert isinstance(done, Done)
    assert done.status is Status.FAILED


@pytest.mark.promise("end:exactly-one")
async def test_a_provider_that_ends_without_a_word_about_it_was_cut() -> None:
    """A truncated answer never looks finished."""
    *_, done = await generate(Text("a"))
    assert done == failure(
        "upstream_cut", Outcome.UPSTREAM_CUT, UpstreamCut.message, usage=counted(1)
    )


@pytest.mark.promise("secret:kept")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("at", ["entering", "answering", "leaving"])
@pytest.mark.parametrize(
    "crash",
    [
        RuntimeError("the-secret-question sk-key"),
        ExceptionGroup("the-secret-question", [ValueError("sk-key")]),
        KeyError("sk-key"),
    ],
    ids=lambda crash: type(crash).__name__,
)
async def test_a_crash_ends_the_log_and_its_text_is_told_to_nobody(
    caplog: pytest.LogCaptureFixture, crash: Exception, at: str
) -> None:
    """The log line says what kind it was and where; the viewer is not told even that."""
    caplog.set_level(logging.DEBUG)
    steps = {} if at == "answering" else {at: crash}
    *said, done = await generate(Text("a"), crash if at == "answering" else STOP, **steps)
    assert done == msgspec.structs.replace(CRASHED, usage=counted(at != "entering"))
    shown = f"{said} {done} {caplog.text}"
    assert "the-secret-question" not in shown
    assert "sk-key" not in shown
    crashed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(crashed) == 1
    kind = crash.exceptions[0] if isinstance(crash, ExceptionGroup) else crash
    assert f"exception={type(kind).__name__} at=doubles.py:" in crashed[0].getMessage()


@pytest.mark.promise("secret:kept")
async def test_neither_prompt_nor_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One line a generation, with its outcome; one more where the provider failed."""
    caplog.set_level(logging.DEBUG)
    cause = ValueError("the-secret-question sk-key")
    error = ProviderUnavailable("the-secret-question sk-key")
    error.__cause__ = cause
    await generate(Text("the-secret-answer"), STOP)
    await generate(Text("the-secret-answer"), error)
    assert [record.getMessage().split(" seconds=")[0] for record in caplog.records] == [
        "generation.finished id=gen_a provider=fake model=words outcome=completed calls=1",
        "call.failed id=gen_a provider=fake model=words code=provider_unavailable call=1 begun=true cause=ValueError",
        "generation.finished id=gen_a provider=fake model=words outcome=upstream_error calls=1",
    ]


@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize(
    ("script", "deadline", "after", "usage"),
    [
        ((HOLD,), "first_token", FIRST_TOKEN, counted()),
        ((FIRST_TOKEN - 1, Text("a"), HOLD), "idle", FIRST_TOKEN - 1 + IDLE, counted(1)),
        (
            (FIRST_TOKEN - 1, Reasoning("a"), HOLD),
            "idle",
            FIRST_TOKEN - 1 + IDLE,
            counted(thought=1),
        ),
        (
            (Text("a"), IDLE - 1, Text("b"), IDLE + 2, Text("c"), STOP),
            "idle",
            2 * IDLE - 1,
            counted(2),
        ),
        ((*[IDLE - 1, Text("a")] * 30, STOP), "total", TOTAL, counted(20)),
        ((*[IDLE - 1, Reasoning("a")] * 30, STOP), "total", TOTAL, counted(thought=20)),
        ((Text("a"), IDLE - 1, HOLD), "idle", IDLE, counted(1)),
    ],
)
async def test_a_silent_provider_is_given_up_at_its_deadline(
    script: tuple[Step, ...], deadline: str, after: float, usage: Usage
) -> None:
    """To the second, whichever comes first; and the call is closed."""
    began = anyio.current_time()
    *_, done = await generate(*script)
    expected = ProviderTimedOut(deadline)
    assert done == failure(
        "provider_timeout", Outcome(f"{deadline}_timeout"), expected.message, usage=usage
    )
    assert anyio.current_time() - began == pytest.approx(after)


@pytest.mark.promise("upstream:bounded")
async def test_a_provider_that_never_connects_is_given_up_at_the_first_token_deadline() -> None:
    began = anyio.current_time()
    *_, done = await generate(STOP, entering=HOLD)
    assert isinstance(done, Done)
    assert done.outcome is Outcome.FIRST_TOKEN_TIMEOUT
    assert anyio.current_time() - began == FIRST_TOKEN


@pytest.mark.promise("upstream:bounded")
async def test_the_total_deadline_holds_before_the_first_token_too() -> None:
    bench = Bench(ScriptedProvider(HOLD), total_seconds=FIRST_TOKEN / 2)
    *_, done = await bench.watched()
    assert isinstance(done, Done)
    assert done.outcome is Outcome.TOTAL_TIMEOUT
    assert anyio.current_time() == pytest.approx(FIRST_TOKEN / 2, abs=0.001)


async def test_a_slow_provider_within_its_deadlines_is_left_alone() -> None:
    script: list[Step] = [FIRST_TOKEN - 1, Text("a"), IDLE - 1, Reasoning("b"), IDLE - 1, STOP]
    *_, done = await generate(*script)
    assert isinstance(done, Done)
    assert done.outcome is Outcome.COMPLETED


@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize(
    ("script", "usage"),
    [
        ((HOLD,), counted()),
        ((Text("a"), HOLD), counted(1)),
        ((*[1.0, Text("a")] * 99, STOP), counted(10)),
    ],
    ids=["before the first token", "in silence", "between words"],
)
async def test_a_stop_ends_it_at_once_wherever_the_provider_is(
    script: tuple[Step, ...], usage: Usage
) -> None:
    async with running(*script) as bench:
        with bench.generation.audience.viewer():
            await anyio.sleep(10.5)
            bench.generation.stop(Outcome.CLIENT_STOP)
            assert await bench.done() == stopped(Outcome.CLIENT_STOP, usage)
            assert anyio.current_time() == pytest.approx(10.5)


@pytest.mark.promise("cancel:stop")
async def test_a_stop_ends_it_while_the_provider_connects() -> None:
    async with running(STOP, entering=HOLD) as bench:
        await anyio.wait_all_tasks_blocked()
        bench.generation.stop(Outcome.CLIENT_STOP)
        assert await bench.done() == stopped(Outcome.CLIENT_STOP, counted())


@pytest.mark.promise("cancel:stop")
async def test_a_stop_before_it_has_begun_ends_it_too() -> None:
    """The call may not even be opened; if it is, it is closed."""
    bench = Bench(ScriptedProvider(HOLD))
    bench.generation.stop(Outcome.CLIENT_STOP)
    with anyio.fail_after(1):
        *_, done = await bench.watched()
    assert done == stopped(Outcome.CLIENT_STOP, counted())


@pytest.mark.promise("cancel:stop")
async def test_the_first_reason_to_stop_stands() -> None:
    async with running(HOLD) as bench:
        for outcome in (Outcome.CLIENT_STOP, Outcome.DRAINED, Outcome.NO_VIEWERS):
            bench.generation.stop(outcome)
        assert await bench.done() == stopped(Outcome.CLIENT_STOP, counted())
        bench.generation.stop(Outcome.DRAINED)
        assert await bench.done() == stopped(Outcome.CLIENT_STOP, counted())


@pytest.mark.promise("cancel:stop")
async def test_the_last_viewer_leaving_after_a_stop_changes_nothing() -> None:
    async with running(HOLD, grace_seconds=0.0) as bench:
        with bench.generation.audience.viewer():
            await anyio.wait_all_tasks_blocked()
            bench.generation.stop(Outcome.CLIENT_STOP)
        assert await bench.done() == stopped(Outcome.CLIENT_STOP, counted())


@pytest.mark.promise("cancel:stop")
async def test_a_stop_after_the_last_viewer_has_left_does_not_change_why() -> None:
    async with running(HOLD, grace_seconds=0.0) as bench:
        with bench.generation.audience.viewer():
            await anyio.wait_all_tasks_blocked()
        bench.generation.stop(Outcome.CLIENT_STOP)
        assert await bench.done() == stopped(Outcome.NO_VIEWERS, counted())


@pytest.mark.promise("cancel:stop")
async def test_when_the_viewers_read_the_end_the_call_is_closed() -> None:
    """Not the other way round: whoever reads that it was stopped may rely on it."""
    async with running(HOLD, leaving=1.0) as bench:
        with bench.generation.audience.viewer():
            await anyio.sleep(1)
            bench.generation.stop(Outcome.CLIENT_STOP)
            await bench.events()
            assert anyio.current_time() == pytest.approx(2)


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize(
    ("grace", "ends_after"), [(None, GRACE), (0.0, 0.0), (2.0, 2.0), (60.0, 60.0)]
)
async def test_without_viewers_it_goes_on_for_the_grace_of_its_order_else_as_configured(
    grace: float | None, ends_after: float
) -> None:
    script: list[Step] = [1.0, Text("a")]
    async with running(*script * 99, STOP, grace_seconds=grace) as bench:
        with bench.generation.audience.viewer():
            await anyio.sleep(1)
        began = anyio.current_time()
        done = await bench.done()
        assert done.usage
        assert done == stopped(Outcome.NO_VIEWERS, counted(done.usage.output_tokens))
        assert done.usage.output_tokens == len(await bench.events()) - 2
        assert anyio.current_time() - began == pytest.approx(ends_after)


@pytest.mark.promise("cancel:disconnect")
async def test_a_generation_that_nobody_comes_for_ends_after_the_attach_time() -> None:
    script: list[Step] = [1.0, Text("a")]
    async with running(*script * 99, STOP) as bench:
        assert (await bench.done()).outcome is Outcome.NO_VIEWERS
        assert anyio.current_time() == pytest.approx(GenerationSettings().attach_seconds)


@pytest.mark.promise("resume:no-gap")
async def test_a_viewer_who_returns_within_the_grace_has_every_word() -> None:
    words = [Text(str(number)) for number in range(20)]
    script: list[Step] = []
    for word in words:
        script += [1.0, word]
    async with running(*script, STOP) as bench:
        for _ in range(3):
            with bench.generation.audience.viewer():
                await anyio.sleep(1)
            await anyio.sleep(GRACE - 1)
        with bench.generation.audience.viewer():
            assert (await bench.events())[1:-1] == words
        assert (await bench.done()).outcome is Outcome.COMPLETED


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("gap", [-1.0, -1e-9, 0.0, 1e-12, 1e-9, 1.0])
async def test_a_viewer_who_returns_as_the_grace_ends_goes_on_or_reads_the_end(gap: float) -> None:
    """In time or late, but never left hanging, and never told two things."""
    async with (
        running(Text("a"), 20.0, Text("b"), STOP) as bench,
        anyio.create_task_group() as tasks,
    ):
        ends: list[Done] = []

        async def come_back(at: float) -> None:
            await anyio.sleep_until(at)
            with bench.generation.audience.viewer():
                ends.append(await bench.done())

        with bench.generation.audience.viewer():
            await anyio.sleep(1)
        tasks.start_soon(come_back, anyio.current_time() + GRACE + gap)
        await bench.generation.ended.wait()
        await anyio.wait_all_tasks_blocked()
        await anyio.sleep(2)
        (end,) = ends
        assert end.outcome in {Outcome.COMPLETED, Outcome.NO_VIEWERS}
        if abs(gap) == 1:
            assert (end.outcome is Outcome.COMPLETED) == (gap < 0)


@pytest.mark.promise("end:exactly-one")
@pytest.mark.promise("drain:no-loss")
@pytest.mark.parametrize(
    ("script", "said"),
    [((HOLD,), 0), ((Text("a"), HOLD), 1), ((Text("a"), 1.0, Text("b"), 1.0, STOP), 1)],
)
@pytest.mark.parametrize("leaving", [0.0, 1.0])
async def test_cancelled_from_outside_it_still_writes_its_end(
    script: tuple[Step, ...], said: int, leaving: float
) -> None:
    """And says that the service went, not that somebody asked for it."""
    bench = Bench(ScriptedProvider(*script, leaving=leaving))
    await bench.generation.open_log()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.generation.run)
        await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()
    assert await bench.done() == msgspec.structs.replace(DRAINED, usage=counted(said))


@pytest.mark.promise("cancel:clean")
async def test_a_cancellation_from_outside_is_passed_on() -> None:
    """It ends the task that runs the generation, whatever the generation does with it."""
    bench = Bench(ScriptedProvider(HOLD))
    await bench.generation.open_log()
    with anyio.move_on_after(1) as scope:
        await bench.generation.run()
    assert scope.cancelled_caught


async def test_an_answer_that_is_too_long_to_be_kept_ends_there_and_says_so() -> None:
    """And the call to the provider is closed."""
    bench = Bench(ScriptedProvider(*[Text("a" * 1000)] * 100, STOP), max_log_bytes=10_000)
    events = await bench.watched()
    done = await bench.done()
    assert (done.status, done.finish_reason, done.outcome) == (
        Status.INCOMPLETE,
        "length",
        Outcome.LOG_FULL,
    )
    assert 5 < len(events) < 12


async def test_a_stop_and_the_service_leaving_in_the_same_instant_is_a_stop() -> None:
    bench = Bench(ScriptedProvider(HOLD))
    await bench.generation.open_log()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.generation.run)
        await anyio.sleep(0.5)
        bench.generation.stop(Outcome.CLIENT_STOP)
        tasks.cancel_scope.cancel()
    assert (await bench.done()).outcome is Outcome.CLIENT_STOP


async def test_a_log_that_fails_at_the_end_is_told_to_the_operator_and_to_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever waits for the end does not wait for ever, and no other generation goes with it."""
    bench = Bench(ScriptedProvider(Text("a"), STOP))
    await bench.generation.open_log()
    del bench.log._streams["gen_a"]
    with bench.generation.audience.viewer(), caplog.at_level(logging.ERROR):
        await bench.generation.run()
    assert bench.generation.ended.is_set()
    assert "log.failed id=gen_a exception=GenerationNotFound" in caplog.text
