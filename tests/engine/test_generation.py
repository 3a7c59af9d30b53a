"""A log is one `Start`, the deltas in order, and one `Done`, whatever the provider does."""

import gc
import logging
import sys
import time
from collections.abc import Iterator

import anyio
import msgspec
import pytest

from streamsvc.eventlog.base import BEFORE_FIRST
from streamsvc.events import (
    AnswerEnd,
    Done,
    Outcome,
    PublicError,
    Reasoning,
    Start,
    Status,
    Text,
    Usage,
)
from streamsvc.provider_errors import (
    EmptyAnswer,
    ProviderContentFiltered,
    ProviderError,
    ProviderTimedOut,
    ProviderUnavailable,
    UpstreamCut,
)
from streamsvc.providers.base import Finish
from support.doubles import (
    PROMPT,
    ScriptedProvider,
    Step,
    virtual_backends,
)
from support.generations import CRASHED, STOP, Bench, counted, failure, generate, running

anyio_backend = virtual_backends()


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


async def test_the_start_returns_the_clients_metadata() -> None:
    bench = Bench(ScriptedProvider(STOP), metadata={"page": "7"})
    start, _ = await bench.watched()
    assert isinstance(start, Start)
    assert start.metadata == {"page": "7"}
    assert bench.provider.prompts == [PROMPT]


async def test_every_delta_is_logged_as_soon_as_it_is_emitted() -> None:
    """The `Start` is logged before the first delta."""
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
async def test_only_a_complete_answer_has_the_status_completed(
    reason: AnswerEnd, status: Status
) -> None:
    *_, done = await generate(Text("a"), Finish(reason=reason, provider_reason="RAW"))
    assert isinstance(done, Done)
    assert (done.status, done.finish_reason, done.provider_finish_reason) == (status, reason, "RAW")
    assert done.error is None


def provider_errors(tree: type[ProviderError] = ProviderError) -> Iterator[ProviderError]:
    """Return one error of each class that is a failure, and one timeout of each deadline."""
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
async def test_every_provider_error_ends_with_its_public_sentence(
    error: ProviderError, said: tuple[Text, ...]
) -> None:
    """The usage is estimated, except for a provider that refused or was not reached."""
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
"""The sentence for a filtered prompt; a filter that ends an answer in its middle has another one."""


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("said", [(), (Text("a"),)], ids=["before", "after the first word"])
async def test_a_content_filter_ends_an_answer_like_a_finish(
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
async def test_a_provider_that_ends_without_a_finish_was_cut() -> None:
    """A truncated answer never looks complete."""
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
async def test_a_crash_ends_the_log_and_its_text_stays_secret(
    caplog: pytest.LogCaptureFixture, crash: Exception, at: str
) -> None:
    """The log line has its type and place; the viewer sees neither."""
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


@pytest.mark.parametrize(
    "script",
    [
        [STOP],
        [Text("a"), UpstreamCut()],
        [ProviderUnavailable()],
        [RuntimeError()],
        [ExceptionGroup("", [ValueError()])],
    ],
    ids=["completed", "cut", "unavailable", "crashed", "crashed in a group"],
)
async def test_an_answer_that_has_ended_does_not_keep_its_prompt(script: list[Step]) -> None:
    """Its images may be megabytes, so they do not wait for a garbage collection."""
    provider = ScriptedProvider(*script)
    gc.collect()
    gc.disable()
    try:
        references = [sys.getrefcount(it) for it in (PROMPT, PROMPT.messages)]
        await Bench(provider).watched()
        provider.prompts.clear()
        left = [sys.getrefcount(it) for it in (PROMPT, PROMPT.messages)]
    finally:
        gc.enable()
    assert left == references


@pytest.mark.promise("secret:kept")
async def test_neither_prompt_nor_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Each generation logs one line with its outcome, and one more if the provider fails."""
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


async def test_an_answer_too_long_for_its_log_ends_as_log_full() -> None:
    """The call to the provider is closed, too."""
    bench = Bench(ScriptedProvider(*[Text("a" * 1000)] * 100, STOP), max_log_bytes=10_000)
    events = await bench.watched()
    done = await bench.done()
    assert (done.status, done.finish_reason, done.outcome) == (
        Status.INCOMPLETE,
        "length",
        Outcome.LOG_FULL,
    )
    assert 5 < len(events) < 12


async def test_an_event_log_that_fails_at_the_end_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Waiting for the end returns, and other generations continue."""
    bench = Bench(ScriptedProvider(Text("a"), STOP))
    await bench.generation.open_log()
    del bench.log._streams["gen_a"]
    with bench.generation.audience.viewer(), caplog.at_level(logging.ERROR):
        await bench.generation.run()
    assert bench.generation.end == "finished"
    assert "log.failed id=gen_a exception=GenerationNotFound" in caplog.text
