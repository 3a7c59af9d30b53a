"""A tool call in each dialect, from `python -m streamsvc serve` in its own process."""

import json
from typing import Any

import pytest

from support.asking import CLIENTS, Request, answered, get
from support.chat_completions import chunks
from support.contents import WEATHER
from support.eventstream import parse
from support.process import FAKE, Running
from support.shared import quiet_service, shared_process

process = shared_process({"providers.fake": {**FAKE, "reply": "auto"}})
service = quiet_service()

ARGUMENTS = '{"city": "Paris"}'
QUESTION = "What is the weather in Paris?"
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": QUESTION}],
    "tools": [WEATHER],
    "tool_choice": "required",
}


def request(name: str) -> Request:
    asked = CLIENTS[name].request(**ASKED)
    body = {key: value for key, value in (asked.body or {}).items() if key != "prompt"}
    return Request(asked.target, asked.headers, body)


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("name", ["native", "text"])
async def test_stream_has_the_draft_and_then_the_whole_call(service: Running, name: str) -> None:
    answer = await answered(service.port, request(name))
    events = parse(bytes(answer.raw))
    tools = [json.loads(event.data) for event in events if event.type == "tool"]
    begun, *pieces, whole = tools
    assert begun == {
        "type": "tool_call_begun",
        "index": 0,
        "id": begun["id"],
        "name": "get_weather",
    }
    assert "".join(piece["arguments"] for piece in pieces) == ARGUMENTS
    assert whole == {**begun, "type": "tool_call", "arguments": ARGUMENTS}
    assert [event.type for event in events[-2:]] == ["tool", "done"]
    done = json.loads(events[-1].data)
    assert (done["status"], done["finish_reason"]) == ("completed", "tool_calls")


@pytest.mark.promise("resume:no-gap")
async def test_stream_is_resumed_within_a_draft(service: Running) -> None:
    answer = await answered(service.port, request("native"))
    events = parse(bytes(answer.raw))
    at = next(at for at, event in enumerate(events) if "tool_call_arguments" in event.data)
    generation, _, _ = events[0].last_event_id.rpartition(".")
    cursor = events[at].last_event_id
    rest = await answered(
        service.port, get(f"/v1/generations/{generation}/events?last_event_id={cursor}")
    )
    assert [(event.last_event_id, event.data) for event in parse(bytes(rest.raw))] == [
        (event.last_event_id, event.data) for event in events[at + 1 :]
    ]


@pytest.mark.promise("content:whole")
async def test_snapshot_has_whole_calls(service: Running) -> None:
    answer = await answered(service.port, request("native"))
    generation, _, _ = parse(bytes(answer.raw))[0].last_event_id.rpartition(".")
    snapshot = json.loads(
        bytes((await answered(service.port, get(f"/v1/generations/{generation}"))).raw)
    )
    (call,) = snapshot["tool_calls"]
    assert (call["name"], call["arguments"]) == ("get_weather", ARGUMENTS)
    assert snapshot.keys().isdisjoint({"refusal", "logprobs", "provider_data"})


@pytest.mark.promise("content:whole")
async def test_chat_completion_has_the_call_in_pieces_or_in_one(service: Running) -> None:
    streamed = await answered(service.port, request("openai"))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(bytes(streamed.raw))]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    arguments = "".join(call["function"]["arguments"] for call in calls)
    assert {call["index"] for call in calls} == {0}
    assert arguments == ARGUMENTS
    whole = json.loads(bytes((await answered(service.port, request("openai-whole"))).raw))
    (choice,) = whole["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": ARGUMENTS}


@pytest.mark.promise("content:whole")
async def test_plain_text_names_the_tool_in_one_line(service: Running) -> None:
    answer = await answered(service.port, request("plain"))
    sentence = "[The model calls the tool get_weather; plain text cannot show a tool call.]\n"
    assert bytes(answer.raw).decode() == sentence


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("name", ["native", "openai"])
async def test_log_probabilities_come_with_their_text(service: Running, name: str) -> None:
    asked = CLIENTS[name].request(logprobs=True, top_logprobs=2)
    answer = bytes((await answered(service.port, asked)).raw)
    if name == "native":
        events = [json.loads(event.data) for event in parse(answer) if event.type == "logprobs"]
        tokens = [token for event in events for token in event["content"]]
    else:
        choices = [chunk["choices"][0] for chunk in chunks(answer)]
        tokens = [
            it for choice in choices if choice["logprobs"] for it in choice["logprobs"]["content"]
        ]
    assert "".join(token["token"] for token in tokens) == "Fine."
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)
