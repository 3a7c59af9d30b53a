"""Scripts of the fake provider: what each step does, when it does it, and which steps are refused."""

from typing import Any, get_args

import anyio
import msgspec
import pytest
from trio.testing import MockClock

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.events import (
    Logprobs,
    Reasoning,
    Refusal,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
    Usage,
)
from streamsvc.messages import AssistantMessage, Message, Prompt, Tool, ToolCall, UserMessage
from streamsvc.provider_errors import ProviderError, ProviderTimedOut, UpstreamCut, UpstreamInvalid
from streamsvc.providers.base import Finish
from streamsvc.providers.fake.provider import FakeProvider
from streamsvc.providers.fake.quirks import quirky
from streamsvc.providers.fake.script import FAILURES
from streamsvc.providers.openai.quirks import OPENAI, QUIRKS
from streamsvc.script import ACTIONS, FailureCode, Script, ScriptStep
from support.answering import Piece, answering


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Trio, with a clock that jumps to the next timer when everybody waits."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def script(*steps: dict[str, Any]) -> Script:
    return msgspec.convert(steps, Script)


def asked(*turns: Message, **fields: Any) -> Prompt:
    return Prompt(messages=(UserMessage("Hello"), *turns), **fields)


async def said(
    steps: Script, prompt: Prompt | None = None, **fields: Any
) -> tuple[list[Piece], Finish | ProviderError]:
    """Return the deltas, and how the call ends."""
    pieces: list[Piece] = []
    quick = {"words_per_second": 0, "first_word_seconds": 0}
    provider = FakeProvider(FakeSettings(script=steps, **(quick | fields)))
    try:
        async with answering(provider, prompt or asked()) as answer:
            async for piece in answer:
                pieces.append(piece)  # noqa: PERF401  # an error may follow
    except ProviderError as exc:
        return pieces, exc
    assert isinstance(pieces[-1], Finish)
    return pieces[:-1], pieces[-1]


async def timed(steps: Script, **fields: Any) -> list[tuple[float, Piece]]:
    began = anyio.current_time()
    async with answering(FakeProvider(FakeSettings(script=steps, **fields)), asked()) as answer:
        return [(round(anyio.current_time() - began, 6), piece) async for piece in answer]


# What each step says


async def test_steps_are_said_in_their_order() -> None:
    pieces, end = await said(
        script(
            {"reasoning": "Hm. Well"},
            {"words": "Let me look."},
            {"call": "get_weather", "arguments": {"city": "Zürich"}},
            {"call": "ping", "id": "p1", "data": {"google": {"thought_signature": "s"}}},
            {"provider_data": {"google": {"a": 1}}},
        )
    )
    assert pieces == [
        Reasoning("Hm. "),
        Reasoning("Well"),
        *map(Text, ("Let ", "me ", "look.")),
        ToolCallBegun(index=0, id="call_1", name="get_weather"),
        ToolCallArguments(0, '{"city": '),
        ToolCallArguments(0, '"Zürich"}'),
        ToolCallBegun(index=1, id="p1", name="ping"),
        ToolCallArguments(1, "{}"),
    ]
    assert end == Finish(
        reason="tool_calls",
        provider_reason="tool_calls",
        usage=Usage(input_tokens=1, output_tokens=10, reasoning_tokens=2),
        tool_calls=(
            ToolCallReady(
                index=0, id="call_1", name="get_weather", arguments='{"city": "Zürich"}'
            ),
            ToolCallReady(
                index=1, id="p1", name="ping", arguments="{}",
                provider_data={"google": {"thought_signature": "s"}},
            ),
        ),
        provider_data={"google": {"a": 1}},
    )  # fmt: skip


async def test_refusal_usage_and_finish_are_as_written() -> None:
    usage = Usage(input_tokens=7, output_tokens=9, cached_tokens=5)
    pieces, end = await said(
        script(
            {"refusal": "I cannot."},
            {"usage": {"input_tokens": 7, "output_tokens": 9, "cached_tokens": 5}},
            {"finish": "length"},
        )
    )
    assert pieces == [Refusal("I "), Refusal("cannot.")]
    assert end == Finish(reason="length", provider_reason="length", usage=usage)


async def test_script_says_exactly_what_it_says() -> None:
    """Tools, stop sequences and `max_tokens` of the request change nothing."""
    prompt = asked(tools=(Tool(name="ping"),), stop=("b",), max_tokens=1)
    assert (await said(script({"words": "a b c"}), prompt))[0] == [*map(Text, ("a ", "b ", "c"))]


async def test_words_of_a_script_have_logprobs_on_request() -> None:
    pieces, _ = await said(script({"words": "a b"}), asked(logprobs=True))
    assert [type(piece) for piece in pieces] == [Text, Logprobs] * 2


async def test_arguments_that_are_text_are_written_as_they_are() -> None:
    pieces, end = await said(script({"call": "f", "arguments": '{"a": [1'}))
    assert pieces[1:] == [ToolCallArguments(0, '{"a": '), ToolCallArguments(0, "[1")]
    assert isinstance(end, UpstreamInvalid)
    _, end = await said(script({"call": "f", "arguments": '{"a": [1'}, {"finish": "length"}))
    assert isinstance(end, Finish)
    assert end.tool_calls == ()
    _, end = await said(script({"call": "f", "arguments": ""}))
    assert isinstance(end, Finish)
    assert end.tool_calls[0].arguments == "{}"


async def test_dates_of_toml_are_text_in_arguments() -> None:
    import datetime as dt  # noqa: PLC0415

    _, end = await said(script({"call": "f", "arguments": {"day": dt.date(2026, 1, 2)}}))
    assert isinstance(end, Finish)
    assert end.tool_calls[0].arguments == '{"day": "2026-01-02"}'


# When it says it


async def test_pause_puts_everything_after_it_off() -> None:
    steps = script({"words": "a b"}, {"pause": 5}, {"words": "c d"})
    at = [moment for moment, _ in await timed(steps, words_per_second=2, first_word_seconds=1)]
    assert at == [1.0, 1.5, 7.0, 7.5, 7.5]


async def test_pause_before_the_first_word_comes_first() -> None:
    steps = script({"pause": 5}, {"words": "a b"})
    at = [moment for moment, _ in await timed(steps, words_per_second=2, first_word_seconds=1)]
    assert at == [6.0, 6.5, 6.5]


async def test_pace_changes_from_its_place_on() -> None:
    steps = script({"words": "a b"}, {"pace": 1}, {"words": "c d"}, {"pace": 0}, {"words": "e f"})
    at = [moment for moment, _ in await timed(steps, words_per_second=2, first_word_seconds=0)]
    assert at == [0.0, 0.5, 1.5, 2.5, 2.5, 2.5, 2.5]


# How it fails


@pytest.mark.parametrize("code", get_args(FailureCode))
async def test_each_code_is_the_error_that_has_it(code: str) -> None:
    pieces, end = await said(script({"words": "a b c"}, {"fail": code, "after": 2}))
    assert pieces == [Text("a "), Text("b ")]
    assert isinstance(end, ProviderError)
    assert end.code == code


def test_every_error_of_a_provider_has_its_code() -> None:
    def below(kind: type[ProviderError]) -> set[str]:
        return {kind.code}.union(*map(below, kind.__subclasses__()))

    ours = {
        name
        for name in below(ProviderError)
        if name in {error.code for error in FAILURES.values()} | {"provider_timeout"}
    }
    assert {*get_args(FailureCode)} == ours == below(ProviderError)


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ([{"fail": "upstream_cut", "after": 0}, {"reasoning": "Hm."}, {"words": "a"}], 0),
        ([{"fail": "upstream_cut", "after": 2}, {"reasoning": "Hm."}, {"words": "a b c"}], 3),
        ([{"words": "a b c"}, {"fail": "upstream_cut", "after": 9}], 3),
        ([{"words": "a"}, {"fail": "upstream_cut"}, {"words": "b"}], 1),
        ([{"fail": "upstream_cut", "after": 2}, {"call": "f", "arguments": {"a": 1}}], 2),
        ([{"fail": "upstream_cut", "after": 2}, {"refusal": "I can not"}], 2),
        ([{"fail": "upstream_cut", "after": 1}, {"words": "a"}, {"pause": 3600}, {"words": "b"}], 1),
    ],
)  # fmt: skip
async def test_failure_comes_at_its_place_or_after_this_many_tokens(
    steps: list[dict[str, Any]], count: int
) -> None:
    with anyio.fail_after(60):
        pieces, end = await said(script(*steps))
    assert isinstance(end, UpstreamCut)
    assert len(pieces) == count


async def test_timeout_names_the_deadline_that_would_have_passed() -> None:
    for steps, deadline in (
        ([{"fail": "provider_timeout"}], "first_token"),
        ([{"words": "a"}, {"fail": "provider_timeout"}], "idle"),
        ([{"words": "a"}, {"fail": "provider_timeout", "after": 0}], "first_token"),
    ):
        _, end = await said(script(*steps))
        assert isinstance(end, ProviderTimedOut)
        assert end.deadline == deadline


async def test_failure_happens_as_often_as_it_says_and_says_when_to_retry() -> None:
    steps = script({"fail": "provider_rate_limited", "times": 2, "retry_after": 3}, {"words": "a"})
    ends = [(await said(steps, asked(call=number)))[1] for number in (1, 2, 3)]
    assert [getattr(end, "retry_after_seconds", None) for end in ends] == [3, 3, None]
    assert isinstance(ends[2], Finish)
    again = script({"words": "a"}, {"fail": "upstream_cut", "after": 1, "times": 1})
    assert isinstance((await said(again, asked(call=2)))[1], Finish)


async def test_fault_applies_to_a_script_too() -> None:
    steps = script({"words": "a b c d e"})
    pieces, end = await said(steps, fault="cut", fault_after_words=2)
    assert (pieces, type(end)) == ([Text("a "), Text("b ")], UpstreamCut)
    pieces, _ = await said(steps, asked(call=2), fault="restart")
    assert "".join(piece.text for piece in pieces if isinstance(piece, Text)).startswith("In other")


# Turns


async def test_turns_follow_one_another_and_begin_again() -> None:
    steps = script({"words": "one"}, {"turn": "next"}, {"words": "two"})
    turns: list[Message] = []
    heard = []
    for _ in range(3):
        [piece], _ = await said(steps, asked(*turns))
        assert isinstance(piece, Text)
        heard.append(piece.text)
        turns += [AssistantMessage(piece.text), UserMessage("Go on")]
    assert heard == ["one", "two", "one"]


async def test_calls_are_numbered_through_the_conversation() -> None:
    before = AssistantMessage(tool_calls=(ToolCall(id="x", name="f", arguments="{}"),))
    [begun, _], _ = await said(script({"call": "f"}), asked(before))
    assert begun == ToolCallBegun(index=0, id="call_2", name="f")


async def test_request_brings_a_script_only_where_it_may() -> None:
    prompt = asked(script=script({"words": "mine"}))
    assert (await said(script({"words": "yours"}), prompt))[0] == [Text("yours")]
    assert (await said((), prompt, allow_faults=True))[0] == [Text("mine")]


# Quirks of servers


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("quirk", QUIRKS)
async def test_calls_with_a_quirk_are_the_same_calls(quirk: Any) -> None:
    steps = script(
        {"words": "Both:"},
        {"call": "f", "id": "a", "arguments": {"x": [1, 2], "y": "z"}, "data": {"v": 1}},
        {"call": "f", "id": "b", "arguments": {"x": []}},
        {"call": "g", "arguments": {}},
    )
    plain, end = await said(steps)
    pieces, other = await said(steps, fault=quirk)
    assert isinstance(end, Finish)
    assert isinstance(other, Finish)
    assert pieces[0] == plain[0]
    assert [(it.name, it.arguments, it.provider_data) for it in other.tool_calls] == [
        (it.name, it.arguments, it.provider_data) for it in end.tool_calls
    ]
    assert other.reason == "tool_calls"
    assert other.provider_reason == ("stop" if quirk == "tool_finish_stop" else "tool_calls")
    begun = [it for it in pieces if isinstance(it, ToolCallBegun)]
    assert [it.id for it in begun] == [it.id for it in other.tool_calls]
    if quirk not in ("tool_id_missing", "tool_id_late"):
        assert [it.id for it in begun] == ["a", "b", "call_3"]


async def test_quirk_changes_nothing_in_an_answer_that_is_cut_short() -> None:
    prompt = asked(tools=(Tool(name="ping"),), max_tokens=2)
    pieces, end = await said((), prompt, fault="tool_finish_stop")
    assert isinstance(end, Finish)
    assert (end.reason, end.provider_reason) == ("tool_calls", "stop")
    steps = script({"call": "f"}, {"finish": "length"})
    _, end = await said(steps, fault="tool_finish_stop")
    assert isinstance(end, Finish)
    assert (end.reason, end.provider_reason) == ("length", "length")
    assert len(pieces) == 2


async def test_quirk_leaves_a_script_that_fails_as_it_is() -> None:
    steps = script({"call": "f"}, {"words": "a"}, {"fail": "upstream_cut"})
    pieces, end = await said(steps, fault="tool_whole")
    assert (pieces, type(end)) == ([Text("a")], UpstreamCut)
    assert [*quirky([Text("a")], OPENAI)] == [Text("a")]


# Steps that are refused


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({}, f"a step has one of {', '.join(ACTIONS)} - at `$[1]`"),
        ({"words": "a", "call": "f"}, "not words and call - at `$[1]`"),
        ({"after": 3}, "a step has one of"),
        ({"words": "a", "after": 3}, "a step with words has no after - at `$[1]`"),
        ({"call": "f", "times": 3}, "a step with call has no times"),
        ({"fail": "upstream_cut", "id": "x"}, "a step with fail has no id"),
        ({"wrods": "a"}, "unknown field `wrods` - at `$[1]`"),
        ({"words": ""}, "at `$[1].words`"),
        ({"words": 3}, "at `$[1].words`"),
        ({"pause": -1}, "at `$[1].pause`"),
        ({"pace": "fast"}, "at `$[1].pace`"),
        ({"finish": "error"}, "at `$[1].finish`"),
        ({"fail": "internal_error"}, "at `$[1].fail`"),
        ({"turn": 2}, "at `$[1].turn`"),
        ({"usage": {"input_tokens": 1}}, "at `$[1].usage`"),
        ({"call": "f", "arguments": []}, "at `$[1].arguments`"),
    ],
)
def test_wrong_step_is_refused_by_its_place(step: dict[str, Any], why: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        script({"words": "fine"}, step)
    assert why in str(caught.value)


def test_step_in_json_has_only_what_it_says() -> None:
    assert msgspec.json.encode(ScriptStep(words="a")) == b'{"words":"a"}'
