"""How an answer ends: at the end of its stream, and the meaning of a finish reason before that.

`streamsvc.providers.answer` has the rule, and both APIs follow it.
"""

from collections.abc import Callable

import anyio
import pytest
from provider import (
    PROMPT,
    UpstreamSubject,
    ask,
    end_of,
    every_upstream,
    finishes,
    texts,
)

from streamsvc.events import Delta, Text, Usage
from streamsvc.provider_errors import (
    ProviderError,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from streamsvc.providers import answer as answer_module
from streamsvc.providers.base import Finish
from support.upstreams import (
    CLOSE,
    EMPTY,
    HOLD,
    RESET,
    USAGE,
    Exchange,
    Framing,
    Script,
    Step,
    Wire,
    body,
    finish,
    frame,
    raw,
    text,
)

pytestmark = pytest.mark.usefixtures("no_certificates")

WAIT_SECONDS = 0.1
PAUSE_SECONDS = 3 * WAIT_SECONDS
ZEROS = Usage(input_tokens=0, output_tokens=0, reasoning_tokens=0)
HALF = Usage(input_tokens=USAGE.input_tokens, output_tokens=0, reasoning_tokens=0)
LATER = Usage(input_tokens=3, output_tokens=9, reasoning_tokens=2)


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_module, "END_WAIT_SECONDS", WAIT_SECONDS)


def send(make: Callable[[Wire], bytes]) -> Step:
    """Send bytes that depend on the API."""
    return lambda to: to.send(make(to.call.wire))


def stamped(*words: str, usage: Usage | None = None) -> Step:
    """Send words, each with a finish reason."""
    return send(lambda wire: b"".join(wire.stamped(word, usage=usage) for word in words))


def counted(usage: Usage) -> Step:
    return send(lambda wire: wire.counted(usage))


STOPPED = send(lambda wire: wire.reason("stop"))
PAUSE: Step = lambda _: anyio.sleep(PAUSE_SECONDS)  # noqa: E731  # the pace of a slow upstream
ERROR = raw(frame({"error": {"code": 503, "message": "no"}}))
GARBAGE = raw(b"data: {garbage\n\n")
ENDINGS = {
    "cut": (CLOSE,),
    "reset": (
        lambda _: anyio.sleep(WAIT_SECONDS / 4),
        RESET,
    ),  # a pause, so that the reset does not overtake the words
    "silent": (HOLD,),
    "error": (ERROR,),
    "garbage": (GARBAGE,),
    "error, then silent": (ERROR, HOLD),
}
endings = pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
breaks = pytest.mark.parametrize(
    ("ending", "expected"),
    [((CLOSE,), UpstreamCut), ((ERROR,), ProviderUnavailable), ((GARBAGE,), UpstreamInvalid)],
    ids=["cut", "error", "garbage"],
)


async def whole(subject: UpstreamSubject, *steps: Step) -> tuple[str, Finish]:
    """Return the text of an answer, and its finish or error."""
    deltas, error = await end_of(subject, *steps)
    assert error is None
    [end] = finishes(deltas)
    assert deltas[-1] == end
    return "".join(texts(deltas)), end


@every_upstream
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("gap", [(), (PAUSE,)], ids=["at once", "after a pause"])
@pytest.mark.parametrize("usage", [None, USAGE, ZEROS], ids=["no usage", "usage", "zeros"])
async def test_reason_with_every_chunk_loses_no_word(
    subject: UpstreamSubject, gap: Script, usage: Usage | None
) -> None:
    script = [step for word in "abcd" for step in (stamped(word, usage=usage), *gap)]
    said, end = await whole(subject, *script)
    assert (said, end.reason, end.usage) == ("abcd", "stop", usage)


@every_upstream
async def test_reason_before_the_first_word_loses_no_word(subject: UpstreamSubject) -> None:
    said, end = await whole(subject, stamped(""), PAUSE, stamped("a", "b"), PAUSE, stamped("c"))
    assert (said, end.reason) == ("abc", "stop")


@every_upstream
async def test_text_after_a_finish_reason_is_emitted(subject: UpstreamSubject) -> None:
    said, end = await whole(subject, text("a", "b"), STOPPED, text("c"), PAUSE, text("d"))
    assert (said, end.reason) == ("abcd", "stop")


@every_upstream
async def test_last_finish_reason_counts(subject: UpstreamSubject) -> None:
    said, end = await whole(subject, text("a"), STOPPED, text("b"), finish("length"))
    assert (said, end.reason) == ("ab", "length")


@every_upstream
@endings
@pytest.mark.promise("end:exactly-one")
@pytest.mark.promise("upstream:bounded")
async def test_complete_answer_survives_what_follows_it(
    subject: UpstreamSubject, ending: Script
) -> None:
    """The answer is complete and paid for, and a retry would cost twice."""
    said, end = await whole(subject, text("a", "b"), STOPPED, counted(USAGE), *ending)
    assert (said, end.reason, end.usage) == ("ab", "stop", USAGE)


@every_upstream
@pytest.mark.parametrize(
    "ending", [(CLOSE,), (ERROR,), (GARBAGE,)], ids=["cut", "error", "garbage"]
)
async def test_complete_answer_in_one_chunk_survives_what_follows(
    subject: UpstreamSubject, ending: Script
) -> None:
    said, end = await whole(subject, stamped("ab", usage=USAGE), *ending)
    assert (said, end.reason, end.usage) == ("ab", "stop", USAGE)


@every_upstream
@breaks
@pytest.mark.promise("end:exactly-one")
async def test_break_among_words_that_all_have_a_reason_is_a_cut(
    subject: UpstreamSubject, ending: Script, expected: type[ProviderError]
) -> None:
    deltas, error = await end_of(subject, stamped("a", "b"), *ending)
    assert (texts(deltas), type(error)) == (["a", "b"], expected)


@every_upstream
@breaks
@pytest.mark.promise("end:exactly-one")
async def test_break_after_words_that_follow_a_reason_is_a_cut(
    subject: UpstreamSubject, ending: Script, expected: type[ProviderError]
) -> None:
    deltas, error = await end_of(subject, text("a"), STOPPED, text("b"), *ending)
    assert (texts(deltas), type(error)) == (["a", "b"], expected)


@every_upstream
@endings
async def test_another_reason_after_more_words_ends_the_answer(
    subject: UpstreamSubject, ending: Script
) -> None:
    said, end = await whole(subject, text("a"), STOPPED, text("b"), STOPPED, *ending)
    assert (said, end.reason) == ("ab", "stop")


async def _meaningless(to: Exchange) -> None:
    """Send empty chunks and comments without end."""
    wire = to.call.wire
    while True:
        await to.send(b": alive\n\n" + wire.empty() + wire.counted(ZEROS) + wire.reason("stop"))
        await anyio.sleep(WAIT_SECONDS / 10)


@every_upstream
@pytest.mark.promise("upstream:bounded")
async def test_empty_chunks_do_not_extend_the_wait(subject: UpstreamSubject) -> None:
    async with subject.open(text("a"), STOPPED, _meaningless) as (api, provider):
        deltas, error = await ask(provider)
        assert (texts(deltas), error) == (["a"], None)
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()


@every_upstream
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((counted(USAGE), STOPPED), USAGE),
        ((STOPPED, counted(USAGE)), USAGE),
        ((STOPPED, counted(ZEROS), counted(USAGE)), USAGE),
        ((stamped("b", usage=ZEROS), counted(USAGE)), USAGE),
        ((stamped("b", usage=USAGE), counted(ZEROS)), USAGE),
        ((counted(USAGE), STOPPED, counted(LATER)), LATER),
        ((STOPPED, counted(LATER), counted(USAGE)), USAGE),
        ((STOPPED, counted(USAGE), counted(HALF)), USAGE),
        ((STOPPED, counted(ZEROS)), ZEROS),
        ((STOPPED,), None),
    ],
    ids=[
        "before", "after", "zeros first", "zeros with the reason", "zeros last", "later",
        "latest", "half zeros last", "only zeros", "none",
    ],
)  # fmt: skip
async def test_last_usage_counts_and_zeros_hide_none(
    subject: UpstreamSubject, steps: Script, expected: Usage | None
) -> None:
    _, end = await whole(subject, text("a"), *steps)
    assert end.usage == expected


@every_upstream
@pytest.mark.promise("end:exactly-one")
async def test_announced_end_is_taken_back_by_more_words(
    subject: UpstreamSubject,
) -> None:
    """The engine may cancel the call at a deadline, and then relies on the latest emission."""
    said: list[Delta | Finish] = []
    enough = anyio.Event()

    def emit(piece: Delta | Finish) -> None:
        said.append(piece)
        if len(said) == 5:
            enough.set()

    script = text("a"), STOPPED, counted(USAGE), text("b"), STOPPED, HOLD
    with anyio.fail_after(10):
        async with subject.open(*script) as (_, provider), anyio.create_task_group() as tasks:
            tasks.start_soon(provider.generate, PROMPT, emit)
            await enough.wait()
            tasks.cancel_scope.cancel()
    kinds = [piece.text if isinstance(piece, Text) else type(piece).__name__ for piece in said]
    assert kinds == ["a", "Finish", "Finish", "b", "Finish"]
    assert [piece.usage for piece in said if isinstance(piece, Finish)] == [None, USAGE, USAGE]


@every_upstream
@pytest.mark.promise("upstream:bounded")
async def test_single_chunk_with_a_reason_is_announced(
    subject: UpstreamSubject,
) -> None:
    """More chunks may follow, and the engine decides how long to wait."""
    said: list[Delta | Finish] = []
    async with subject.open(stamped("a"), HOLD) as (_, provider):
        with anyio.move_on_after(PAUSE_SECONDS) as wait:
            await provider.generate(PROMPT, said.append)
    assert wait.cancelled_caught
    assert [type(piece) for piece in said] == [Text, Finish]


# The last block


def _unfinished(wire: Wire) -> bytes:
    """Return an answer whose last block lacks its blank line."""
    return wire.token("a") + wire.stamped("b").rstrip(b"\r\n")


@every_upstream
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"], ids=repr)
async def test_last_block_without_blank_line_counts_at_a_clean_end(
    subject: UpstreamSubject, framing: Framing, end: bytes
) -> None:
    data = _unfinished(subject.wire) + end
    said, finished = await whole(subject, body(data, "text/event-stream", framing=framing))
    assert (said, finished.reason) == ("ab", "stop")


@every_upstream
@pytest.mark.promise("end:exactly-one")
async def test_last_block_without_blank_line_is_dropped_at_a_cut(
    subject: UpstreamSubject,
) -> None:
    deltas, error = await end_of(subject, send(_unfinished), CLOSE)
    assert (texts(deltas), type(error)) == (["a"], UpstreamCut)


@every_upstream
@pytest.mark.promise("end:exactly-one")
async def test_half_a_chunk_at_a_clean_end_is_a_cut(subject: UpstreamSubject) -> None:
    half = subject.wire.token("a") + subject.wire.stamped("b")[:-12]
    deltas, error = await end_of(subject, body(half, "text/event-stream", framing="close"))
    assert (texts(deltas), type(error)) == (["a"], UpstreamCut)


@every_upstream
async def test_half_a_chunk_after_a_complete_answer_is_skipped(subject: UpstreamSubject) -> None:
    wire = subject.wire
    data = wire.token("a") + wire.reason("stop") + wire.counted(USAGE)[:-20]
    said, end = await whole(subject, body(data, "text/event-stream"))
    assert (said, end.reason) == ("a", "stop")


@every_upstream
async def test_empty_chunks_after_an_end_are_skipped(subject: UpstreamSubject) -> None:
    said, _ = await whole(subject, text("a"), STOPPED, EMPTY, counted(USAGE))
    assert said == "a"
