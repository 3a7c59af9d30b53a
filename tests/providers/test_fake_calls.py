"""The fake provider with tools, results, a response format, effort and logprobs; in virtual time."""

import json
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from trio.testing import MockClock

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.events import (
    Logprobs,
    Reasoning,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
    Usage,
)
from streamsvc.messages import (
    AssistantMessage,
    JsonFormat,
    Message,
    NamedTool,
    Prompt,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMessage,
    UserMessage,
)
from streamsvc.provider_errors import ProviderRefused, UpstreamCut
from streamsvc.providers.base import Finish
from streamsvc.providers.fake.provider import FakeProvider
from support.answering import Piece, answering

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool(name="get_weather", parameters=CITY)
TIME = Tool(name="localTime", parameters=CITY)
PING = Tool(name="ping")
IMPOSSIBLE = Tool(name="no", parameters={"type": "object", "required": ["x"], "additionalProperties": False})  # fmt: skip


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Trio, with a clock that jumps to the next timer when everybody waits."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def asked(question: str = "Hello", *tools: Tool, **fields: Any) -> Prompt:
    return Prompt(messages=(UserMessage(question),), tools=tools, **fields)


async def answer(prompt: Prompt, **fields: Any) -> list[Piece]:
    async with answering(FakeProvider(FakeSettings(**fields)), prompt) as pieces:
        return [piece async for piece in pieces]


async def end(prompt: Prompt, **fields: Any) -> Finish:
    last = (await answer(prompt, **fields))[-1]
    assert isinstance(last, Finish)
    return last


async def calls(prompt: Prompt) -> list[tuple[str, Any]]:
    finish = await end(prompt)
    assert finish.reason == ("tool_calls" if finish.tool_calls else "stop")
    return [(call.name, json.loads(call.arguments)) for call in finish.tool_calls]


def text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


# Which tools it calls


async def test_call_is_written_word_by_word_and_then_whole() -> None:
    ready = ToolCallReady(index=0, id="call_1", name="get_weather", arguments='{"city": "city"}')
    assert await answer(asked("Hello", WEATHER)) == [
        ToolCallBegun(index=0, id="call_1", name="get_weather"),
        ToolCallArguments(0, '{"city": '),
        ToolCallArguments(0, '"city"}'),
        Finish(
            reason="tool_calls",
            provider_reason="tool_calls",
            usage=Usage(input_tokens=3, output_tokens=3),
            tool_calls=(ready,),
        ),
    ]


@pytest.mark.parametrize(
    ("question", "made"),
    [
        ("Hello", [("get_weather", {"city": "city"})]),
        ("How is the weather in Paris?", [("get_weather", {"city": "Paris"})]),
        ("What time is it in New York?", [("localTime", {"city": "New York"})]),
        ('Is it raining in "the north"?', [("get_weather", {"city": "the north"})]),
        (
            "Weather and time in Paris",
            [("get_weather", {"city": "Paris"}), ("localTime", {"city": "Paris"})],
        ),
        (
            "Weather in Paris, time in Rome",
            [("get_weather", {"city": "Paris"}), ("localTime", {"city": "Rome"})],
        ),
        (
            "The weather in both Paris and Rome",
            [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})],
        ),
        ("The weather, please. And thanks", [("get_weather", {"city": "city"})]),
        ("ping", [("ping", {})]),
        ("The weather in Paris and Paris", [("get_weather", {"city": "Paris"})]),
    ],
)
async def test_question_decides_which_tools_are_called(
    question: str, made: list[tuple[str, Any]]
) -> None:
    assert await calls(asked(question, WEATHER, TIME, PING)) == made


@pytest.mark.parametrize("question", ["Weather and time in Paris", "weather in Paris and Rome"])
async def test_without_parallel_calls_there_is_one(question: str) -> None:
    prompt = asked(question, WEATHER, TIME, parallel_tool_calls=False)
    assert await calls(prompt) == [("get_weather", {"city": "Paris"})]


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("auto", ["get_weather"]),
        ("required", ["get_weather"]),
        ("none", []),
        (NamedTool("ping"), ["ping"]),
        (NamedTool("unknown"), []),
    ],
)
async def test_tool_choice_decides_whether_a_tool_is_called(
    choice: ToolChoice, called: list[str]
) -> None:
    made = await calls(asked("Paris and Rome", WEATHER, PING, tool_choice=choice))
    assert [name for name, _ in made] == called


async def test_ids_are_unique_within_a_conversation() -> None:
    prompt = asked("Weather and time", WEATHER, TIME)
    first = (await end(prompt)).tool_calls
    results = (ToolMessage(tool_call_id=it.id, name=it.name, content="ok") for it in first)
    turns: tuple[Message, ...] = (
        *prompt.messages,
        AssistantMessage(
            tool_calls=tuple(ToolCall(id=it.id, name=it.name, arguments="{}") for it in first)
        ),
        *results,
        UserMessage("Once more: weather"),
    )
    [again] = (await end(Prompt(messages=turns, tools=prompt.tools))).tool_calls
    assert [call.id for call in (*first, again)] == ["call_1", "call_2", "call_3"]


@pytest.mark.parametrize("tool", [IMPOSSIBLE, Tool(name="list", parameters={"type": "array"})])
async def test_tool_whose_schema_has_no_value_is_refused(tool: Tool) -> None:
    with pytest.raises(ProviderRefused):
        await answer(asked("Hello", tool))


async def test_only_the_beginning_of_a_long_question_is_looked_at() -> None:
    question = f"{'word ' * 1000} How is the weather in both Paris and Rome?"
    assert await calls(asked(question, PING, WEATHER)) == [("ping", {})]


# When the results come back


def after_results(*results: str, **fields: Any) -> Prompt:
    ids = [f"c{at}" for at in range(len(results))]
    calls = (ToolCall(id=it, name="get_weather", arguments="{}") for it in ids)
    said = (
        ToolMessage(tool_call_id=it, name="get_weather", content=result)
        for it, result in zip(ids, results, strict=True)
    )
    turns: list[Message] = [
        UserMessage("Weather?"),
        AssistantMessage(tool_calls=tuple(calls)),
        *said,
    ]
    return Prompt(messages=tuple(turns), tools=(WEATHER,), **fields)


async def test_results_are_repeated_in_words() -> None:
    pieces = await answer(after_results("18 °C", "rain"))
    assert text(pieces) == ("The result of get_weather is 18 °C\nThe result of get_weather is rain")


async def test_required_call_is_made_after_results_too() -> None:
    assert await calls(after_results("18 °C", tool_choice="required"))


@pytest.mark.parametrize(
    ("reply", "said"), [("text", "Fixed."), ("echo", "Weather?"), ("auto", "The result")]
)
async def test_reply_decides_what_is_said_after_results(
    reply: Literal["text", "echo", "auto"], said: str
) -> None:
    pieces = await answer(after_results("18 °C"), reply=reply, text="Fixed.")
    assert text(pieces).startswith(said)


# A response format


async def test_answer_fits_the_schema_word_by_word() -> None:
    pieces = await answer(asked("Where?", response_format=JsonFormat(schema=CITY)))
    Draft202012Validator(CITY).validate(json.loads(text(pieces)))
    assert pieces[0] == Text('{"city": ')


async def test_json_without_a_schema_is_an_object() -> None:
    pieces = await answer(asked(response_format=JsonFormat()), text="Hi")
    assert json.loads(text(pieces)) == {"answer": "Hi"}


async def test_tools_are_called_before_the_json_answer() -> None:
    form = JsonFormat(schema=CITY)
    assert await calls(asked("Hello", WEATHER, response_format=form))
    assert json.loads(text(await answer(after_results("ok", response_format=form))))


async def test_schema_without_a_value_is_refused() -> None:
    with pytest.raises(ProviderRefused):
        await answer(asked(response_format=JsonFormat(schema={"type": "never"})))


@pytest.mark.parametrize("schema", [None, CITY])
async def test_restarted_json_answer_is_other_json(schema: dict[str, Any] | None) -> None:
    form = JsonFormat(schema=schema)
    with pytest.raises(UpstreamCut):
        await answer(asked(response_format=form), fault="restart")
    second = await answer(asked(response_format=form, call=2), fault="restart")
    assert json.loads(text(second)) != json.loads(text(await answer(asked(response_format=form))))


async def test_restarted_call_has_words_before_it() -> None:
    pieces = await answer(asked("Hello", WEATHER, call=2), fault="restart")
    assert text(pieces) == "In other words: "
    assert isinstance(pieces[-1], Finish)
    assert len(pieces[-1].tool_calls) == 1


# Bounds, faults, effort and logprobs


@pytest.mark.parametrize(("bound", "whole"), [(1, 0), (2, 0), (3, 1), (5, 1), (6, 2)])
async def test_call_that_max_tokens_cuts_is_left_out(bound: int, whole: int) -> None:
    prompt = asked("weather in Paris and Rome", WEATHER, max_tokens=bound)
    finish = await end(prompt)
    assert len(finish.tool_calls) == whole
    assert finish.reason == ("tool_calls" if bound == 6 else "length")
    assert finish.usage is not None
    assert finish.usage.output_tokens == bound


async def test_cut_breaks_a_call_while_it_is_written() -> None:
    pieces: list[Piece] = []
    with pytest.raises(UpstreamCut):
        await FakeProvider(FakeSettings(fault="cut", fault_after_words=2)).generate(
            asked("Hello", WEATHER), pieces.append
        )
    assert pieces == [
        ToolCallBegun(index=0, id="call_1", name="get_weather"),
        ToolCallArguments(0, '{"city": '),
    ]


@pytest.mark.parametrize(("effort", "thinks"), [(None, True), ("high", True), ("none", False)])
async def test_effort_decides_whether_it_reasons(
    effort: Literal["none", "high"] | None, *, thinks: bool
) -> None:
    pieces = await answer(asked(reasoning_effort=effort), reasoning="Hm.")
    assert (Reasoning("Hm.") in pieces) == thinks


async def test_each_word_has_its_logprobs() -> None:
    pieces = await answer(asked(logprobs=True, top_logprobs=2), text="Hi é", jitter=0.5)
    assert pieces[:-1] == [
        Text("Hi "),
        Logprobs((
            {
                "token": "Hi ", "logprob": -0.03, "bytes": [72, 105, 32],
                "top_logprobs": [
                    {"token": "Hi ", "logprob": -0.03, "bytes": [72, 105, 32]},
                    {"token": "hI ", "logprob": -0.73, "bytes": [104, 73, 32]},
                ],
            },
        )),
        Text("é"),
        Logprobs((
            {
                "token": "é", "logprob": -0.01, "bytes": [195, 169],
                "top_logprobs": [
                    {"token": "é", "logprob": -0.01, "bytes": [195, 169]},
                    {"token": "É", "logprob": -0.71, "bytes": [195, 137]},
                ],
            },
        )),
    ]  # fmt: skip
    assert pieces[-1] == await end(asked(), text="Hi é")
