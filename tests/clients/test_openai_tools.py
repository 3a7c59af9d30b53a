"""Tools and structured answers through official clients, against `python -m streamsvc serve`."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest
from openai.types.chat import ChatCompletionMessage
from pydantic import BaseModel

from support.parts import find
from support.process import FAKE, Running
from support.shared import quiet_service, shared_process

HERE = Path(__file__).parent

DEAD = {
    "kind": "openai",
    "model": "gpt-test",
    "base_url": "http://127.0.0.1:1/v1",
    "attempts": 1,
    "fallbacks": ["fake"],
}
"""An entry whose provider cannot be reached, so that its fallback answers."""

process = shared_process({"providers.fake": {**FAKE, "reply": "auto"}, "providers.dead": DEAD})
service = quiet_service("call.failed .* provider=dead")

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time"}}
PARALLEL = "What is the weather in Paris and London?"
CITIES = [["get_weather", {"city": "Paris"}], ["get_weather", {"city": "London"}]]
RESULTS = "The result of get_weather is Paris: 20\nThe result of get_weather is London: 20"
EVENT = {"name": "name", "people": ["people"]}


class GetWeather(BaseModel):
    city: str


class Event(BaseModel):
    name: str
    people: list[str]


@pytest.fixture
async def client(service: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"http://127.0.0.1:{service.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


async def _ask(client: openai.AsyncOpenAI, how: str, **body: Any) -> ChatCompletionMessage:
    """Return the message of an answer: in one piece, or put together by the client."""
    completions = client.chat.completions
    if how == "create":
        whole: ChatCompletionMessage = (await completions.create(**body)).choices[0].message
        return whole
    if how == "parse":
        parsed: ChatCompletionMessage = (await completions.parse(**body)).choices[0].message
        return parsed
    async with completions.stream(**body) as stream:
        final: ChatCompletionMessage = (await stream.get_final_completion()).choices[0].message
        return final


def _calls(message: ChatCompletionMessage) -> list[Any]:
    calls = message.tool_calls or []
    functions = [call.function for call in calls if call.type == "function"]
    return [[function.name, json.loads(function.arguments)] for function in functions]


def _results(message: ChatCompletionMessage) -> list[Any]:
    return [
        {
            "role": "tool",
            "tool_call_id": call.id,
            "content": f"{json.loads(call.function.arguments)['city']}: 20",
        }
        for call in message.tool_calls or []
        if call.type == "function"
    ]


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("how", ["create", "stream"])
async def test_two_turns_with_parallel_calls(client: openai.AsyncOpenAI, how: str) -> None:
    """The client's own messages go back as they are, with what its helper adds to them."""
    messages: list[Any] = []
    for _ in range(2):
        messages.append({"role": "user", "content": PARALLEL})
        asked = await _ask(client, how, model="fake", messages=messages, tools=[WEATHER])
        assert _calls(asked) == CITIES
        messages += [asked, *_results(asked)]
        answer = await _ask(client, how, model="fake", messages=messages, tools=[WEATHER])
        assert (answer.content, answer.tool_calls) == (RESULTS, None)
        messages.append(answer)
    ids = [call.id for message in messages[1::5] for call in message.tool_calls]
    assert len(set(ids)) == 4


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("how", ["create", "stream"])
async def test_call_without_arguments_is_an_empty_object(
    client: openai.AsyncOpenAI, how: str
) -> None:
    messages: list[Any] = [{"role": "user", "content": "The time?"}]
    asked = await _ask(client, how, model="fake", messages=messages, tools=[TIME])
    assert _calls(asked) == [["get_time", {}]]
    assert asked.tool_calls
    (call,) = asked.tool_calls
    messages += [asked, {"role": "tool", "tool_call_id": call.id, "content": "noon"}]
    answer = await _ask(client, how, model="fake", messages=messages, tools=[TIME])
    assert answer.content == "The result of get_time is noon"


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("how", ["create", "stream"])
async def test_fallback_answers_in_the_middle_of_a_conversation(
    client: openai.AsyncOpenAI, how: str
) -> None:
    messages: list[Any] = [{"role": "user", "content": PARALLEL}]
    asked = await _ask(client, how, model="dead", messages=messages, tools=[WEATHER])
    messages += [asked, *_results(asked)]
    answer = await _ask(client, how, model="dead", messages=messages, tools=[WEATHER])
    assert (_calls(asked), answer.content) == (CITIES, RESULTS)


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("how", ["parse", "stream"])
async def test_parsed_tool_call_goes_back_with_its_result(
    client: openai.AsyncOpenAI, how: str
) -> None:
    tools = [openai.pydantic_function_tool(GetWeather)]
    messages: list[Any] = [{"role": "user", "content": "The weather in Paris?"}]
    asked = await _ask(client, how, model="fake", messages=messages, tools=tools)
    assert asked.tool_calls
    (call,) = asked.tool_calls
    assert call.type == "function"
    assert getattr(call.function, "parsed_arguments", None) == GetWeather(city="Paris")
    messages += [asked, {"role": "tool", "tool_call_id": call.id, "content": "20"}]
    answer = await _ask(client, how, model="fake", messages=messages, tools=tools)
    assert answer.content == "The result of GetWeather is 20"


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("how", ["parse", "stream"])
async def test_structured_answer_is_parsed(client: openai.AsyncOpenAI, how: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "An event"}]
    body: Any = {"model": "fake", "messages": messages, "response_format": Event}
    answer = await _ask(client, how, **body)
    assert getattr(answer, "parsed", None) == Event.model_validate(EVENT)


async def test_stream_announces_each_call_once(client: openai.AsyncOpenAI) -> None:
    """The helper's events are what programs act on."""
    messages: Any = [{"role": "user", "content": PARALLEL}]
    asked: Any = {"model": "fake", "messages": messages, "tools": [WEATHER]}
    async with client.chat.completions.stream(**asked) as stream:
        done = [
            event.arguments
            async for event in stream
            if event.type == "tool_calls.function.arguments.done"
        ]
    assert [json.loads(arguments) for arguments in done] == [{"city": "Paris"}, {"city": "London"}]


async def _run(*command: str) -> Any:
    with anyio.fail_after(100):
        process = await anyio.run_process(command, cwd=HERE)
    return json.loads(process.stdout)


@pytest.mark.node
@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("name", ["openai6", "openai7"])
async def test_openai_node_runs_tools_and_parses_answers(service: Running, name: str) -> None:
    report = await _run(find("node"), "openai_tools.js", name, f"http://127.0.0.1:{service.port}")
    results = [
        json.dumps({"city": city, "degrees": 20}, separators=(",", ":"))
        for city in ("Paris", "London")
    ]
    text = "\n".join(f"The result of get_weather is {result}" for result in results)
    roles = ["user", "assistant", "tool", "tool", "assistant"]
    for how in ("whole", "streamed"):
        assert report[how] == {"text": text, "roles": roles, "calls": CITIES}
    assert report["empty"]["calls"] == [["get_time", {}]]
    assert report["empty"]["text"] == "The result of get_time is noon"
    calls = [
        [call["name"], json.loads(call["arguments"])] for call in report["accumulated"]["calls"]
    ]
    assert (calls, report["accumulated"]["finish_reason"]) == (CITIES, "tool_calls")
    assert report["parsed"] == report["parsed_stream"] == EVENT


@pytest.mark.promise("content:whole")
async def test_langchain_binds_tools_and_structures_answers(service: Running) -> None:
    url = f"http://127.0.0.1:{service.port}"
    report = await _run(sys.executable, "langchain_tools.py", url)
    results = [f"The result of get_weather is 20 degrees in {city}" for city in ("Paris", "London")]
    assert report == {
        "round_trip": {"calls": CITIES, "text": "\n".join(results)},
        "streamed": CITIES,
        "text": report["text"],
        "json_schema": EVENT,
        "function_calling": EVENT,
    }
    assert report["text"]
