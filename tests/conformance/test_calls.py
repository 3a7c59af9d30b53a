"""Tool calls come through whole, in order, and once, however an answer ends."""

import json
from collections.abc import Callable, Sequence

import anyio
import pytest
from provider import (
    PROMPT,
    Subject,
    UpstreamSubject,
    end_of,
    every,
    every_upstream,
    finishes,
    gather,
    texts,
)

from streamsvc.events import AnswerEnd, Delta, ToolCallArguments, ToolCallBegun
from streamsvc.messages import ToolCall
from streamsvc.provider_errors import ProviderError, UpstreamCut, UpstreamInvalid
from streamsvc.providers import answer as answer_module
from streamsvc.providers.base import Finish
from support.answering import Piece
from support.upstreams import (
    CLOSE,
    DONE,
    HOLD,
    USAGE,
    Script,
    Step,
    Wire,
    body,
    calling,
    finish,
    frame,
    raw,
    text,
)

pytestmark = pytest.mark.usefixtures("no_certificates")

PARIS = ToolCall(id="call_p", name="get_weather", arguments='{"city": "Paris"}')
OSLO = ToolCall(
    id="call_o",
    name="get_weather",
    arguments='{"city": "Oslo \\"🙂\\" }{", "days": [1, 2.5, null]}',
)
NOW = ToolCall(id="call_n", name="now", arguments="{}")
CALLS = PARIS, OSLO, NOW


def as_values(calls: Sequence[ToolCall]) -> list[tuple[str, str, object]]:
    return [(call.id, call.name, json.loads(call.arguments)) for call in calls]


def ready(deltas: Sequence[Piece]) -> list[tuple[str, str, object]]:
    """Return the whole calls: id, name, arguments. Check that they are the drafts."""
    [end] = finishes(deltas)
    drafts = {it.index: it for it in deltas if isinstance(it, ToolCallBegun)}
    for call in end.tool_calls:
        assert (drafts[call.index].id, drafts[call.index].name) == (call.id, call.name)
        pieces = [
            it for it in deltas if isinstance(it, ToolCallArguments) and it.index == call.index
        ]
        assert "".join(it.arguments for it in pieces) in {call.arguments, ""}
        assert all(it.arguments for it in pieces)
    return [(call.id, call.name, json.loads(call.arguments)) for call in end.tool_calls]


@every
@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize("calls", [(NOW,), (PARIS,), CALLS], ids=["no arguments", "one", "three"])
async def test_calls_after_text_are_whole_and_in_order(
    subject: Subject, calls: Sequence[ToolCall]
) -> None:
    async with subject.calling(*calls) as answer:
        deltas, error = await gather(answer)
    assert error is None
    assert texts(deltas) == ["Wait."]
    assert ready(deltas) == as_values(calls)
    [end] = finishes(deltas)
    assert (end.reason, [call.index for call in end.tool_calls]) == (
        "tool_calls",
        [*range(len(calls))],
    )
    first = next(at for at, it in enumerate(deltas) if isinstance(it, ToolCallBegun))
    assert deltas[:first] == deltas[:1]
    assert end.usage is not None


@every
async def test_calls_of_the_same_tool_without_ids_get_their_own(subject: Subject) -> None:
    same = ToolCall(id="", name="now", arguments='{"x": 1}')
    async with subject.calling(same, same) as answer:
        deltas, error = await gather(answer)
    assert error is None
    ids = [call_id for call_id, _, _ in ready(deltas)]
    assert len(set(ids)) == len(ids) == 2
    assert all(ids)


@every_upstream
async def test_answer_may_be_nothing_but_calls(subject: UpstreamSubject) -> None:
    deltas, error = await end_of(subject, calling(PARIS), finish("tool_calls"))
    assert (error, texts(deltas), ready(deltas)) == (None, [], as_values([PARIS]))


@every_upstream
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "tool_calls"),
        ("tool_calls", "tool_calls"),
        ("length", "length"),
        ("tired", "other"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* is not a valid FinishReason")
async def test_finish_reason_of_calls_is_what_the_answer_shows(
    subject: UpstreamSubject, word: str, reason: AnswerEnd
) -> None:
    deltas, error = await end_of(subject, calling(PARIS), finish(word))
    assert error is None
    assert ([end.reason for end in finishes(deltas)], ready(deltas)) == (
        [reason],
        as_values([PARIS]),
    )


@every_upstream
async def test_text_after_calls_is_text(subject: UpstreamSubject) -> None:
    deltas, _ = await end_of(subject, calling(PARIS), text("Done."), finish("tool_calls"))
    assert (texts(deltas), ready(deltas)) == (["Done."], as_values([PARIS]))


@every_upstream
async def test_calls_in_several_chunks_are_counted_on(subject: UpstreamSubject) -> None:
    """The same index twice is what some servers send; the id tells them apart."""
    deltas, _ = await end_of(subject, calling(PARIS), calling(OSLO), calling(NOW), finish("stop"))
    assert ready(deltas) == as_values(CALLS)


@every_upstream
async def test_bytes_of_a_call_may_arrive_one_by_one(subject: UpstreamSubject) -> None:
    wire = subject.wire
    data = wire.calls(*CALLS) + wire.finish("tool_calls", USAGE)
    deltas, error = await end_of(subject, raw(data, piece_bytes=1))
    assert (error, ready(deltas)) == (None, as_values(CALLS))


@every_upstream
async def test_arguments_may_be_a_megabyte(subject: UpstreamSubject) -> None:
    long = ToolCall(id="long", name="save", arguments=json.dumps({"text": "Größe 🙂 " * 80_000}))
    deltas, error = await end_of(subject, calling(long), finish("stop"))
    assert (error, ready(deltas)) == (None, as_values([long]))


@every_upstream
@pytest.mark.parametrize("content", ["", "Wait."])
async def test_calls_of_an_answer_that_is_not_streamed(
    subject: UpstreamSubject, content: str
) -> None:
    whole = json.dumps(subject.wire.whole(content, calls=CALLS)).encode()
    deltas, error = await end_of(subject, body(whole, "application/json"))
    assert (error, "".join(texts(deltas)), ready(deltas)) == (None, content, as_values(CALLS))


# How such an answer ends


def send(make: Callable[[Wire], bytes]) -> Step:
    return lambda to: to.send(make(to.call.wire))


STOPPED = send(lambda wire: wire.reason("stop"))
ERROR = raw(frame({"error": {"code": 503, "message": "no"}}))
GARBAGE = raw(b"data: {garbage\n\n")
ENDINGS = {
    "cut": (CLOSE,),
    "silent": (HOLD,),
    "error": (ERROR,),
    "garbage": (GARBAGE,),
    "done": (raw(DONE),),
}


@every_upstream
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
async def test_calls_before_a_reason_survive_what_follows_it(
    subject: UpstreamSubject, ending: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_module, "END_WAIT_SECONDS", 0.1)
    deltas, error = await end_of(subject, calling(*CALLS), STOPPED, *ending)
    assert (error, ready(deltas)) == (None, as_values(CALLS))


@every_upstream
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    "ending", [(CLOSE,), (ERROR,), (GARBAGE,)], ids=["cut", "error", "garbage"]
)
async def test_calls_without_a_reason_are_no_answer(
    subject: UpstreamSubject, ending: Script
) -> None:
    deltas, error = await end_of(subject, text("Wait."), calling(*CALLS), *ending)
    assert isinstance(error, ProviderError)
    assert finishes(deltas) == []


@every_upstream
@pytest.mark.promise("end:exactly-one")
async def test_call_after_a_reason_revokes_it(subject: UpstreamSubject) -> None:
    deltas, error = await end_of(subject, text("Wait."), STOPPED, calling(PARIS), CLOSE)
    assert (type(error), finishes(deltas)) == (UpstreamCut, [])


@every_upstream
@pytest.mark.promise("upstream:bounded")
async def test_calls_with_their_reason_are_announced(subject: UpstreamSubject) -> None:
    """A caller that cancels the call at a deadline has them."""
    said: list[Delta | Finish] = []
    has_ended = anyio.Event()

    def emit(piece: Delta | Finish) -> None:
        said.append(piece)
        if isinstance(piece, Finish):
            has_ended.set()

    script = calling(PARIS, NOW, reason="tool_calls"), HOLD
    with anyio.fail_after(10):
        async with subject.open(*script) as (_, provider), anyio.create_task_group() as tasks:
            tasks.start_soon(provider.generate, PROMPT, emit)
            await has_ended.wait()
            tasks.cancel_scope.cancel()
    assert ready(said) == as_values([PARIS, NOW])


@every_upstream
@pytest.mark.promise("end:exactly-one")
async def test_arguments_of_an_unknown_shape_are_an_error(subject: UpstreamSubject) -> None:
    function = {"name": "now", "arguments": 7, "args": 7}
    chunk = {
        "choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}],
        "candidates": [{"content": {"parts": [{"functionCall": function}]}}],
    }
    deltas, error = await end_of(subject, raw(frame(chunk)), finish("stop"))
    assert (finishes(deltas), type(error)) == ([], UpstreamInvalid)
