"""Tool calls through retries, rescues and fallbacks: never half a call, never the same call twice."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.events import (
    Done,
    Event,
    Outcome,
    Restart,
    Status,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)
from streamsvc.provider_errors import ProviderContentFiltered, ProviderUnavailable, UpstreamCut
from streamsvc.providers.base import Finish
from support.answers import (
    USAGE,
    WELL,
    completed,
    restart,
    retrying,
    supervising,
    switching,
    text_of,
)
from support.doubles import (
    HOLD,
    Announced,
    ScriptedProvider,
    Step,
    Takes,
    run_in_virtual_time,
    virtual_backends,
)

anyio_backend = virtual_backends()

PARIS = ToolCallReady(index=0, id="call_p", name="get_weather", arguments='{"city": "Paris"}')
OSLO = ToolCallReady(index=1, id="call_o", name="get_weather", arguments='{"city": "Oslo"}')
CLOCK = ToolCallReady(index=0, id="call_c", name="now", arguments="{}")


def written(*calls: ToolCallReady) -> list[Step]:
    """Return the drafts of calls, their arguments in two pieces."""
    steps: list[Step] = []
    for call in calls:
        steps.append(ToolCallBegun(index=call.index, id=call.id, name=call.name))
        if call.arguments != "{}":
            middle = len(call.arguments) // 2
            pieces = call.arguments[:middle], call.arguments[middle:]
            steps += (ToolCallArguments(call.index, piece) for piece in pieces)
    return steps


def called(*calls: ToolCallReady, reason: str = "tool_calls") -> Finish:
    return Finish(reason=reason, tool_calls=calls, usage=USAGE)  # type: ignore[arg-type]


def with_calls(*calls: ToolCallReady) -> list[Step]:
    """Return an answer of calls."""
    return [*written(*calls), called(*calls)]


@pytest.mark.promise("content:whole")
async def test_complete_calls_come_last_and_once() -> None:
    async with supervising(ScriptedProvider(Text("Hm."), *with_calls(PARIS, OSLO))) as bench:
        *events, done = await bench.answer()
        assert events == [Text("Hm."), *written(PARIS, OSLO), PARIS, OSLO]
        assert isinstance(done, Done)
        assert (done.status, done.finish_reason) == (Status.COMPLETED, "tool_calls")


@pytest.mark.promise("upstream:rescue")
async def test_a_cut_while_a_call_is_written_restarts_and_gives_it_once() -> None:
    """The second attempt writes the same call, but a draft cannot be continued."""
    half = [*written(PARIS)[:2], UpstreamCut()]
    async with supervising(Takes(half, with_calls(PARIS))) as bench:
        *events, _ = await bench.answer()
        assert events == [
            *half[:2],
            retrying("upstream_cut"),
            restart(),
            *written(PARIS),
            PARIS,
        ]


@pytest.mark.promise("upstream:rescue")
async def test_a_cut_in_the_text_before_a_call_is_continued_without_a_restart() -> None:
    cut: list[Step] = [Text("Let me "), UpstreamCut()]
    whole = [Text("Let me see."), *with_calls(PARIS)]
    async with supervising(Takes(cut, whole)) as bench:
        *events, _ = await bench.answer()
        assert events == [
            Text("Let me "),
            retrying("upstream_cut"),
            Text("see."),
            *written(PARIS),
            PARIS,
        ]


@pytest.mark.promise("upstream:rescue")
async def test_a_call_instead_of_the_rest_of_a_text_restarts() -> None:
    cut: list[Step] = [Text("Let me see."), UpstreamCut()]
    async with supervising(Takes(cut, [Text("Let me "), *with_calls(PARIS)])) as bench:
        *events, _ = await bench.answer()
        assert events == [
            Text("Let me see."),
            retrying("upstream_cut"),
            restart(),
            Text("Let me "),
            *written(PARIS),
            PARIS,
        ]


@pytest.mark.promise("upstream:rescue")
async def test_words_instead_of_a_half_call_restart() -> None:
    half = [*written(PARIS)[:2], UpstreamCut()]
    async with supervising(Takes(half, WELL)) as bench:
        events = await bench.answer()
        assert events[2:] == [
            retrying("upstream_cut"),
            restart(),
            Text("well"),
            completed("first"),
        ]


@pytest.mark.promise("upstream:rescue")
async def test_a_retry_before_the_first_token_shows_one_call() -> None:
    async with supervising(Takes([ProviderUnavailable()], with_calls(PARIS))) as bench:
        *events, _ = await bench.answer()
        assert events == [retrying(), *written(PARIS), PARIS]


@pytest.mark.promise("upstream:rescue")
async def test_a_fallback_in_the_middle_of_a_call_gives_its_own() -> None:
    first = ScriptedProvider(*written(PARIS)[:2], UpstreamCut())
    async with supervising(first, ScriptedProvider(*with_calls(CLOCK)), attempts=1) as bench:
        *events, done = await bench.answer()
        assert events[2:] == [
            switching("upstream_cut"),
            restart(provider="second"),
            *written(CLOCK),
            CLOCK,
        ]
        assert isinstance(done, Done)
        assert done.provider == "second"


@pytest.mark.promise("end:exactly-one")
async def test_a_deadline_after_the_finish_reason_keeps_the_calls() -> None:
    provider = ScriptedProvider(*written(PARIS), Announced(called(PARIS)), HOLD)
    async with supervising(provider) as bench:
        *events, done = await bench.answer()
        assert events == [*written(PARIS), PARIS]
        assert isinstance(done, Done)
        assert (done.status, done.finish_reason) == (Status.COMPLETED, "tool_calls")


@pytest.mark.promise("end:exactly-one")
async def test_a_silence_within_the_arguments_gives_no_call() -> None:
    provider = ScriptedProvider(*written(PARIS)[:2], HOLD)
    async with supervising(provider) as bench:
        *events, done = await bench.answer()
        assert events == written(PARIS)[:2]
        assert isinstance(done, Done)
        assert (done.status, done.outcome) == (Status.FAILED, Outcome.IDLE_TIMEOUT)


@pytest.mark.promise("end:exactly-one")
async def test_a_filter_within_the_arguments_gives_no_call() -> None:
    provider = ScriptedProvider(*written(PARIS)[:2], ProviderContentFiltered())
    async with supervising(provider) as bench:
        *events, done = await bench.answer()
        assert events == written(PARIS)[:2]
        assert isinstance(done, Done)
        assert (done.status, done.finish_reason) == (Status.INCOMPLETE, "content_filter")


@pytest.mark.promise("end:exactly-one")
async def test_a_log_that_is_full_within_the_arguments_gives_no_call() -> None:
    long = ToolCallReady(index=0, id="call_l", name="write", arguments=f'["{"a" * 8000}"]')
    async with supervising(
        ScriptedProvider(*with_calls(long)), generations={"max_log_bytes": 4096}
    ) as bench:
        *events, done = await bench.answer()
        assert events == written(long)[:1]
        assert isinstance(done, Done)
        assert (done.status, done.outcome) == (Status.INCOMPLETE, Outcome.LOG_FULL)


@pytest.mark.promise("content:whole")
async def test_a_log_that_holds_the_drafts_gives_all_calls() -> None:
    """One of two calls would be acted on as if it were the whole answer."""
    calls = [
        ToolCallReady(index=at, id=f"call_{at}", name="write", arguments=f'["{"a" * 1200}"]')
        for at in range(2)
    ]
    async with supervising(
        ScriptedProvider(*with_calls(*calls)), generations={"max_log_bytes": 4096}
    ) as bench:
        *events, done = await bench.answer()
        assert events == [*written(*calls), *calls]
        assert isinstance(done, Done)
        assert done.status is Status.COMPLETED


async def test_calls_without_text_are_not_an_empty_answer() -> None:
    """Some servers say `stop`; some send a call without a draft of its arguments."""
    async with supervising(
        ScriptedProvider(*written(CLOCK), called(CLOCK, reason="stop"))
    ) as bench:
        *events, done = await bench.answer()
        assert events == [*written(CLOCK), CLOCK]
        assert isinstance(done, Done)
        assert done.status is Status.COMPLETED


# ---- Any cut, any second attempt


arguments = st.sampled_from(["{}", '{"city": "Paris"}', '{"n": [1, 2]}'])


@st.composite
def answers(draw: st.DrawFn) -> list[Step]:
    """A whole answer: words, calls whose pieces may alternate, and its finish."""
    words = draw(st.lists(st.sampled_from(["a", "b", "ab"]).map(Text), max_size=3))
    calls = [
        ToolCallReady(index=at, id=f"call_{draw(st.integers(0, 9))}_{at}", name="f", arguments=text)
        for at, text in enumerate(draw(st.lists(arguments, max_size=3)))
    ]
    rows = [written(call) for call in calls]
    pieces: list[Step] = []
    while any(rows):
        row = draw(st.sampled_from([row for row in rows if row]))
        pieces.append(row.pop(0))
    return [*words, *pieces, called(*calls, reason="tool_calls" if calls else "stop")]


@st.composite
def attempts(draw: st.DrawFn) -> list[Step]:
    """An answer that may be cut anywhere."""
    steps = draw(answers())
    if draw(st.booleans()):
        return steps
    ends: list[Step] = [UpstreamCut(), ProviderUnavailable(), HOLD]
    return [*steps[: draw(st.integers(0, len(steps) - 1))], draw(st.sampled_from(ends))]


def drafts(events: Sequence[Event | Step]) -> dict[int, tuple[str, str, str]]:
    """Return what a page that shows drafts has at the end, by index: id, name, arguments."""
    shown: dict[int, tuple[str, str, str]] = {}
    for event in events:
        if isinstance(event, Restart):
            shown.clear()
        elif isinstance(event, ToolCallBegun):
            assert event.index not in shown
            shown[event.index] = (event.id, event.name, "")
        elif isinstance(event, ToolCallArguments):
            call_id, name, before = shown[event.index]
            shown[event.index] = (call_id, name, before + event.arguments)
    return shown


@pytest.mark.promise("content:whole")
@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_any_cut_gives_all_calls_of_one_answer_or_none(backend: str) -> None:
    """Nobody ever gets half a call, a call twice, calls of two answers, or a call that is taken back."""

    @given(st.lists(st.lists(attempts(), min_size=1, max_size=3), min_size=2, max_size=2))
    def check(takes: list[list[list[Step]]]) -> None:
        async def answer() -> None:
            providers = [Takes(*scripts) for scripts in takes]
            async with supervising(*providers, attempts=2) as bench:
                *events, done = await bench.answer()
            assert isinstance(done, Done)
            calls = [event for event in events if isinstance(event, ToolCallReady)]
            assert events[len(events) - len(calls) :] == calls  # right before the `Done`
            shown = drafts(events)
            if done.status is not Status.COMPLETED:
                assert (done.status, calls) == (Status.FAILED, [])
                return
            provider = providers[done.provider == "second"]
            script = provider.script_of(provider.opened)
            finish = script[-1]
            assert isinstance(finish, Finish)
            assert tuple(calls) == finish.tool_calls
            assert text_of(events) == text_of(script)
            assert shown == drafts(script)
            for call in calls:
                assert shown[call.index][:2] == (call.id, call.name)
                assert (shown[call.index][2] or "{}") == call.arguments

        run_in_virtual_time(backend, answer)

    check()
