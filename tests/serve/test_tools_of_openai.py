"""Tool calls of an OpenAI-compatible server in `python -m streamsvc serve`, in its own process."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from streamsvc.config.provider_settings import FaultName
from streamsvc.messages import ToolCall
from streamsvc.providers.openai.quirks import QUIRKS, Style, WrittenCall, chunks
from support.asking import CLIENTS, Request, answered, sent
from support.chat_completions import chunks as chunks_of
from support.eventstream import BrowserEvent, parse
from support.process import Running, serve, write_config
from support.upstreams import (
    CLOSE,
    DONE,
    HOLD,
    OPENAI,
    Exchange,
    Step,
    Upstream,
    finish,
    frame,
    raw,
    status,
    text,
    upstream,
)

PARIS = WrittenCall(id="call_p", name="get_weather", pieces=('{"city"', ': "Pa', 'ris 🙂"}'))
OSLO = WrittenCall(id="call_o", name="get_weather", pieces=('{"city": ', '"Oslo"}'))
CLOCK = WrittenCall(id="call_c", name="now", pieces=())
CALLS = PARIS, OSLO, CLOCK

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
TOOLS = [WEATHER, {"type": "function", "function": {"name": "now"}}]
QUESTION = {
    "role": "user",
    "content": "What is the weather in Paris and Oslo, and what time is it?",
}
LOG_BYTES = 65_536


@dataclass(frozen=True)
class Stage:
    process: Running
    api: Upstream

    @property
    def port(self) -> int:
        return self.process.port


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    directory = tmp_path_factory.mktemp("serve")
    async with upstream() as api:
        usual = {
            "kind": "openai",
            "base_url": f"{api.url}/v1",
            "model": "test",
            "backoff_seconds": 0.01,
        }
        entries: dict[str, dict[str, object]] = {
            "generations": {"max_log_bytes": LOG_BYTES},
            "providers.local": {**usual, "circuit_failures": 0, "attempts": 2},
            "providers.hurried": {**usual, "circuit_failures": 0, "idle_seconds": 0.2},
        }
        write_config(directory, entries)
        async with serve(directory, {}) as running:
            yield Stage(running, api)
            assert await running.terminate() == 0


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    since = len(shared.process.output)
    yield shared
    shared.process.assert_quiet(r"call\.failed ", since=since)


def calling(calls: Sequence[WrittenCall] = CALLS, style: Style | None = None) -> Step:
    """Answer with tool calls as a server of this style writes them."""
    return raw(b"".join(map(frame, chunks(calls, style or Style()))) + DONE)


def interleaved() -> Step:
    """Answer with two calls whose pieces alternate."""
    rows = [
        [chunk for chunk in chunks([call], Style()) if chunk["choices"][0]["delta"]]
        for call in (PARIS, OSLO)
    ]
    for chunk in rows[1]:
        chunk["choices"][0]["delta"]["tool_calls"][0]["index"] = 1
    mixed = [rows[at % 2].pop(0) for at in (0, 1, 0, 1, 0, 1, 0)]
    return raw(b"".join(map(frame, mixed)) + OPENAI.reason("tool_calls") + DONE)


def asking(client: str, provider: str = "local", **fields: Any) -> Request:
    named = {"messages": [QUESTION], "tools": TOOLS, **fields}
    request = CLIENTS[client].request(provider, **named)
    if client == "native" and request.body is not None:
        body = {name: value for name, value in request.body.items() if name != "prompt"}
        return Request(request.target, request.headers, body)
    return request


async def native(stage: Stage, provider: str = "local", **fields: Any) -> list[BrowserEvent]:
    answer = await answered(stage.port, asking("native", provider, **fields))
    assert answer.is_whole
    return parse(bytes(answer.raw))


def whole_calls(events: Sequence[BrowserEvent]) -> list[tuple[str, Any]]:
    """Return the whole calls that a page sees after the last `restart`."""
    calls: list[tuple[str, Any]] = []
    for event in events:
        if event.type == "restart":
            calls.clear()
        if event.json["type"] == "tool_call":
            calls.append((event.json["name"], json.loads(event.json["arguments"])))
    return calls


EXPECTED = [("get_weather", {"city": "Paris 🙂"}), ("get_weather", {"city": "Oslo"}), ("now", {})]


@pytest.mark.promise("stream:word-by-word")
async def test_parallel_calls_stream_to_a_page(stage: Stage) -> None:
    stage.api.script((text("Let me see."), interleaved()))
    events = await native(stage)
    types = [event.json["type"] for event in events]
    begun, piece, ready = "tool_call_begun", "tool_call_arguments", "tool_call"
    assert types == ["start", "text", begun, begun, *[piece] * 5, ready, ready, "done"]
    assert {event.type for event in events if "tool" in event.json["type"]} == {"tool"}
    pieces = [
        (event.json["index"], event.json["arguments"])
        for event in events
        if event.json["type"] == piece
    ]
    assert [index for index, _ in pieces] == [0, 1, 0, 1, 0]
    assert "".join(text for index, text in pieces if index == 0) == PARIS.arguments
    assert whole_calls(events) == EXPECTED[:2]
    assert (events[-1].json["status"], events[-1].json["finish_reason"]) == (
        "completed",
        "tool_calls",
    )
    assert stage.api.calls[-1].body == {
        "model": "test", "messages": [QUESTION], "stream": True, "tools": TOOLS,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
    }  # fmt: skip


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize("quirk", QUIRKS)
async def test_quirk_of_a_server_shows_in_no_client(stage: Stage, quirk: FaultName) -> None:
    """A client of OpenAI's API joins the pieces by their index."""
    stage.api.script((calling(style=QUIRKS[quirk]),))
    assert whole_calls(await native(stage)) == EXPECTED
    answer = await answered(stage.port, asking("openai"))
    joined: dict[int, dict[str, str]] = {}
    for choice in (chunk["choices"][0] for chunk in chunks_of(bytes(answer.raw))):
        for piece in choice["delta"].get("tool_calls", ()):
            call = joined.setdefault(piece["index"], {"id": "", "name": "", "arguments": ""})
            call["id"] += piece.get("id", "")
            for name, value in piece["function"].items():
                call[name] += value
    calls = [(call["name"], json.loads(call["arguments"])) for call in joined.values()]
    assert calls == EXPECTED
    assert len({call["id"] for call in joined.values()}) == len(EXPECTED)
    assert chunks_of(bytes(answer.raw))[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_second_turn_goes_up_as_it_came_down(stage: Stage) -> None:
    """With the ids, the exact arguments and what the provider wants back."""
    signed: dict[str, Any] = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    first = {
        "index": 0,
        "id": "call_p",
        "function": {"name": "get_weather", "arguments": PARIS.arguments},
        **signed,
    }
    second = {
        "index": 1,
        "id": "call_o",
        "function": {"name": "get_weather", "arguments": OSLO.arguments},
    }
    parts = OPENAI.choice({"content": "Wait.", "tool_calls": [first, second]})
    stage.api.script((raw(parts), finish("tool_calls")), (text("Sunny."), finish()))
    answer = await answered(stage.port, asking("openai-whole"))
    turn = json.loads(bytes(answer.raw))["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "21 °C"}
        for call in turn["tool_calls"]
    ]
    messages = [QUESTION, turn, *results]
    answer = await answered(stage.port, asking("openai-whole", messages=messages))
    assert json.loads(bytes(answer.raw))["choices"][0]["message"]["content"] == "Sunny."
    _, assistant, *tools = stage.api.calls[-1].body["messages"]
    assert assistant == {
        "role": "assistant",
        "content": "Wait.",
        "tool_calls": [
            {"id": "call_p", "type": "function", "function": first["function"], **signed},
            {"id": "call_o", "type": "function", "function": second["function"]},
        ],
    }
    assert tools == [{**result, "content": "21 °C"} for result in results]


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize("kept", ["all of it", "reasoning_content", "extra_content", "neither"])
async def test_reasoning_before_a_call_goes_back_to_the_server(stage: Stage, kept: str) -> None:
    """A client may send back either form of it; a server that refuses its absence gets a blank."""
    thought = OPENAI.choice({"reasoning_content": "Hm."})
    called = OPENAI.calls(ToolCall(id="call_p", name="get_weather", arguments="{}"))
    stage.api.script((raw(thought + called), finish("tool_calls")))
    answer = await answered(stage.port, asking("openai-whole"))
    turn = json.loads(bytes(answer.raw))["choices"][0]["message"]
    if kept in {"extra_content", "neither"}:
        del turn["reasoning_content"]
    if kept in {"reasoning_content", "neither"}:
        del turn["tool_calls"][0]["extra_content"]
    result = {"role": "tool", "tool_call_id": "call_p", "content": "Sunny"}
    refused = status(400, {"error": {"message": "reasoning_content is missing at index 1"}})
    stage.api.choose = lambda call: (
        (text("Sunny."), finish()) if "reasoning_content" in str(call.body) else (refused,)
    )
    answer = await answered(stage.port, asking("openai-whole", messages=[QUESTION, turn, result]))
    assert json.loads(bytes(answer.raw))["choices"][0]["message"]["content"] == "Sunny."
    sent = stage.api.calls[-1].body["messages"][1]
    assert sent["reasoning_content"] == (" " if kept == "neither" else "Hm.")
    assert "extra_content" not in str(sent)


async def test_refusal_usage_and_log_probabilities_reach_every_client(stage: Stage) -> None:
    token = {"token": "No", "logprob": -0.5, "bytes": [78, 111], "top_logprobs": []}
    counted = {
        "prompt_tokens": 9, "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    }  # fmt: skip
    likely = {"content": None, "refusal": [token]}
    refused = OPENAI.choice({"refusal": "No."}, logprobs=likely)
    end = frame({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": counted})
    stage.api.script((raw(refused + end + DONE),))
    whole = json.loads(bytes((await answered(stage.port, asking("openai-whole"))).raw))
    [choice] = whole["choices"]
    assert (choice["message"]["refusal"], choice["message"]["content"]) == ("No.", None)
    assert (choice["logprobs"], choice["finish_reason"]) == (likely, "stop")
    assert whole["usage"]["prompt_tokens_details"] == counted["prompt_tokens_details"]
    streamed = chunks_of(bytes((await answered(stage.port, asking("openai"))).raw))
    deltas = [chunk["choices"][0] for chunk in streamed]
    assert [it["logprobs"] for it in deltas if it["logprobs"]] == [likely]
    _, refusal, logprobs, done = await native(stage)
    assert refusal.json == {"type": "refusal", "text": "No."}
    assert logprobs.json == {"type": "logprobs", "content": [], "refusal": [token]}
    assert done.json["usage"] == {
        "input_tokens": 9, "output_tokens": 2, "cached_tokens": 4, "cache_write_tokens": 1,
    }  # fmt: skip
    generation = refusal.last_event_id.partition(".")[0]
    snapshot = await stage.process.client.get(f"/v1/generations/{generation}")
    assert snapshot.json()["refusal_logprobs"] == [token]


# What goes wrong


BROKEN: Mapping[str, Step] = {
    "half a call": raw(b"".join(map(frame, [*chunks([PARIS], Style())][:3]))),
    "not JSON": calling([WrittenCall(id="call_x", name="now", pieces=("{", "]"))]),
    "no name": calling([WrittenCall(id="call_x", name="", pieces=("{}",))]),
    "129 calls": calling(
        [WrittenCall(id=f"call_{at}", name="now", pieces=("{}",)) for at in range(129)]
    ),
}


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("fault", BROKEN)
async def test_broken_call_is_retried_and_shown_once(stage: Stage, fault: str) -> None:
    stage.api.script(
        (text("Wait. "), BROKEN[fault], CLOSE), (text("Wait. "), calling(), finish("tool_calls"))
    )
    events = await native(stage)
    assert whole_calls(events) == EXPECTED
    ready = [event for event in events if event.json["type"] == "tool_call"]
    assert len(ready) == len(EXPECTED)
    assert events[-1].json["status"] == "completed"


@pytest.mark.promise("end:exactly-one")
async def test_call_that_stays_broken_is_a_failure(stage: Stage) -> None:
    stage.api.script((BROKEN["not JSON"],))
    events = await native(stage)
    assert whole_calls(events) == []
    assert events[-1].json["status"] == "failed"
    assert events[-1].json["error"]["code"] == "upstream_invalid"


@pytest.mark.promise("end:exactly-one")
async def test_half_a_call_of_an_answer_that_is_too_long_is_left_out(stage: Stage) -> None:
    half = WrittenCall(id="call_h", name="now", pieces=('{"x"',))
    stage.api.script((calling([OSLO, half], Style(finish_reason="length")),))
    events = await native(stage)
    assert whole_calls(events) == EXPECTED[1:2]
    assert (events[-1].json["status"], events[-1].json["finish_reason"]) == ("incomplete", "length")


async def _endless(to: Exchange) -> None:
    """Write the arguments of one call for ever."""
    piece = {"index": 0, "id": "call_e", "function": {"name": "now", "arguments": '{"x":"'}}
    await to.send(OPENAI.choice({"tool_calls": [piece]}))
    more = OPENAI.choice({"tool_calls": [{"index": 0, "function": {"arguments": "x" * 1000}}]})
    while True:
        await to.send(more)


@pytest.mark.promise("upstream:bounded")
async def test_endless_arguments_end_at_the_bound_of_the_log(stage: Stage) -> None:
    stage.api.script((_endless,))
    events = await native(stage)
    assert whole_calls(events) == []
    assert events[-1].json["outcome"] == "log_full"
    assert sum(len(event.data) for event in events) < 2 * LOG_BYTES
    with anyio.fail_after(10):
        await stage.api.calls[-1].closed.wait()


@pytest.mark.promise("end:exactly-one")
async def test_deadline_after_the_finish_reason_gives_the_calls(stage: Stage) -> None:
    """The reason came with the only chunk, so more might come; the upstream falls silent instead."""
    pieces = [
        chunk["choices"][0]["delta"]["tool_calls"][0]
        for chunk in chunks([OSLO], Style(arguments="whole"))
        if chunk["choices"][0]["delta"]
    ]
    stage.api.script((raw(OPENAI.choice({"tool_calls": pieces}, finish_reason="tool_calls")), HOLD))
    events = await native(stage, "hurried")
    assert whole_calls(events) == EXPECTED[1:2]
    assert events[-1].json["status"] == "completed"


@pytest.mark.promise("cancel:disconnect")
async def test_leaving_within_a_call_closes_the_upstream(stage: Stage) -> None:
    stage.api.script((raw(b"".join(map(frame, [*chunks([PARIS], Style())][:2]))), HOLD))
    async with sent(stage.port, asking("native")) as answer:
        await answer.raw_until(b"tool_call_arguments")
    with anyio.fail_after(10):
        await stage.api.calls[-1].closed.wait()
