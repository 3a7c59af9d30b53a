"""Scripts, tools from schemas and quirks in `python -m streamsvc serve`, in its own process."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from support.eventstream import BrowserEvent, parse
from support.process import Running, serve
from support.shared import quiet_service

CONFIG = """
[providers.fake]
words_per_second = 0
first_word_seconds = 0
allow_faults = true
backoff_seconds = 0.01

[providers.weather]
kind = "fake"
words_per_second = 0
first_word_seconds = 0
script = [
  {reasoning = "Let me look."},
  {call = "get_weather", arguments = {city = "Paris"}, id = "call_a"},
  {usage = {input_tokens = 11, output_tokens = 5}},
  {turn = "next"},
  {words = "18 °C."},
]
"""

TOOL: dict[str, Any] = {
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


@pytest.fixture(scope="module")
async def process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    directory = tmp_path_factory.mktemp("serve")
    (directory / "config.toml").write_text(CONFIG)
    async with serve(directory, {}) as running:
        yield running
        assert await running.terminate() == 0


service = quiet_service("call.failed")


async def generate(service: Running, **body: object) -> list[BrowserEvent]:
    response = await service.client.post(
        "/v1/generations", json={"prompt": "hi", **body}, headers={"Accept": "text/event-stream"}
    )
    assert response.status_code == 200
    return parse(response.content)


def brief(events: list[BrowserEvent]) -> list[object]:
    """Return what the events between `start` and `done` say."""
    return [
        event.json["text"] if event.type == "message" else (event.type, event.json["type"])
        for event in events[1:-1]
    ]


async def test_script_of_a_request_is_what_viewers_get(service: Running) -> None:
    events = await generate(
        service,
        script=[
            {"reasoning": "Hm."},
            {"words": "Let me"},
            {"call": "f", "arguments": {"x": 1}},
            {"fail": "upstream_cut", "times": 1},
        ],
    )
    assert brief(events) == [
        ("reasoning", "reasoning"),
        "Let ",
        "me",
        ("tool", "tool_call_begun"),
        ("tool", "tool_call_arguments"),
        ("tool", "tool_call_arguments"),
        ("status", "status"),
        ("restart", "restart"),
        ("reasoning", "reasoning"),
        "Let ",
        "me",
        ("tool", "tool_call_begun"),
        ("tool", "tool_call_arguments"),
        ("tool", "tool_call_arguments"),
        ("tool", "tool_call"),
    ]
    [ready] = [event.json for event in events if event.json["type"] == "tool_call"]
    assert (ready["name"], json.loads(ready["arguments"])) == ("f", {"x": 1})
    assert events[-1].json["finish_reason"] == "tool_calls"


async def test_event_source_brings_its_script_in_the_query(service: Running) -> None:
    script = json.dumps([{"words": "é & 😀"}, {"finish": "length"}])
    response = await service.client.get("/stream-ai", params={"prompt": "hi", "script": script})
    events = parse(response.content)
    assert brief(events) == ["é ", "& ", "😀"]
    assert events[-1].json["finish_reason"] == "length"


async def test_use_chat_gets_the_next_turn_after_its_tool_output(service: Running) -> None:
    tool = {
        "type": "tool-f", "toolCallId": "call_1", "state": "output-available",
        "input": {}, "output": 18,
    }  # fmt: skip
    question = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
    answer = {"id": "a", "role": "assistant", "parts": [{"type": "step-start"}, tool]}
    script = [{"call": "f"}, {"turn": "next"}, {"words": "Eighteen."}]
    body = {"id": "d", "messages": [question, answer], "script": script}
    response = await service.client.post("/api/chat", json=body)
    assert '"delta":"Eighteen."' in response.text


async def test_use_chat_brings_its_script_in_the_body(service: Running) -> None:
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
    body = {"id": "c", "messages": [message], "script": [{"call": "f", "arguments": {"x": 1}}]}
    response = await service.client.post("/api/chat", json=body)
    assert '"type":"tool-input-available"' in response.text
    assert '"input":{"x":1}' in response.text.replace(": ", ":")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("script", "field", "said"),
    [
        ("[", "script", "not JSON"),
        ("[" * 10_000, "script", "not JSON"),
        ("3", "script", "expected array"),
        ('[{"wrods": 1}]', "script[0].wrods", "Unknown field"),
    ],
)
async def test_wrong_script_in_a_query_is_refused(
    service: Running, script: str, field: str, said: str
) -> None:
    answer = await service.client.get("/stream-ai", params={"prompt": "hi", "script": script})
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert said in answer.json()["detail"]


@pytest.mark.promise("content:whole")
async def test_script_of_an_entry_answers_turn_by_turn(service: Running) -> None:
    client = AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{service.port}/v1")
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Weather?"}]
    async with client:
        first = await client.chat.completions.create(model="weather", messages=messages)
        calls = first.choices[0].message.tool_calls
        assert calls
        assert calls[0].type == "function"
        assert (calls[0].id, calls[0].function.arguments) == ("call_a", '{"city": "Paris"}')
        assert first.usage
        assert (first.usage.prompt_tokens, first.usage.completion_tokens) == (11, 5)
        messages += [
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_a",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_a", "content": "18"},
        ]
        second = await client.chat.completions.create(model="weather", messages=messages)
        assert second.choices[0].message.content == "18 °C."


async def test_official_client_sends_a_script_as_extra_body(service: Running) -> None:
    client = AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{service.port}/v1")
    async with client:
        answer = await client.chat.completions.create(
            model="fake",
            messages=[{"role": "user", "content": "Hello"}],
            extra_body={"script": [{"words": "exactly this"}]},
        )
    assert answer.choices[0].message.content == "exactly this"


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("fault", ["none", "tool_index_missing", "tool_object", "tool_finish_stop"])
async def test_tools_are_called_from_their_schemas(service: Running, fault: str) -> None:
    client = AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{service.port}/v1")
    tool: ChatCompletionToolParam = TOOL  # type: ignore[assignment]
    async with (
        client,
        client.chat.completions.stream(
            model="fake",
            messages=[{"role": "user", "content": "How is the weather in both Paris and Rome?"}],
            tools=[tool],
            extra_body={"fault": fault},
        ) as stream,
    ):
        answer = await stream.get_final_completion()
    calls = answer.choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in calls] == [
        {"city": "Paris"},
        {"city": "Rome"},
    ]
    assert answer.choices[0].finish_reason == "tool_calls"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"script": [{"words": "a"}, {"wrods": "b"}]}, "script[1].wrods", "Unknown field"),
        ({"script": [{"words": "a", "after": 3}]}, "script[0]", "a step with words has no after"),
        ({"script": [{"fail": "no"}]}, "script[0].fail", "provider_rate_limited"),
        ({"script": "hello"}, "script", "array"),
        (
            {"script": [{"words": "a"}], "provider": "weather"},
            "script",
            "providers.weather.allow_faults",
        ),
    ],
)
async def test_wrong_script_is_refused_by_its_step(
    service: Running, body: dict[str, Any], field: str, said: str
) -> None:
    answer = await service.client.post("/v1/generations", json={"prompt": "hi", **body})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (422, "invalid_field", field)
    assert said in problem["detail"]
