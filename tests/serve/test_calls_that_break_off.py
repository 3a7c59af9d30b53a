"""A tool call that breaks off at any point, in each dialect of `python -m streamsvc serve` in its own process.

OpenAI's format breaks off, and Gemini answers instead. A client that acts on calls acts on the new one, once.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from support.asking import CLIENTS, answered
from support.eventstream import parse
from support.process import Running, serve, write_config
from support.upstreams import (
    CLOSE,
    DONE,
    GEMINI,
    OPENAI,
    Call,
    Script,
    Step,
    Upstream,
    raw,
    text,
    upstream,
)


def _piece(**fields: Any) -> bytes:
    return OPENAI.choice({"tool_calls": [{"index": 0, **fields}]})


CALL_BEGINS = _piece(id="call_1", type="function", function={"name": "get", "arguments": ""})
WRITTEN: Sequence[Step] = (
    text("Wait. "),
    raw(CALL_BEGINS),
    raw(_piece(function={"arguments": '{"city":'})),
    raw(_piece(function={"arguments": '"Paris"}'})),
)
"""An answer of words and a call, without its end."""

CUTS: Mapping[str, Script] = {
    "before the answer": (CLOSE,),
    "after the words": (*WRITTEN[:1], CLOSE),
    "after the name": (*WRITTEN[:2], CLOSE),
    "within the arguments": (*WRITTEN[:3], CLOSE),
    "after the arguments": (*WRITTEN, CLOSE),
}
SECOND = GEMINI.token("Wait. ") + GEMINI.candidate(
    content={
        "role": "model",
        "parts": [{"functionCall": {"name": "get", "args": {"city": "Oslo"}}}],
    },
    finishReason="STOP",
)
OSLO = [("get", {"city": "Oslo"})]
DIALECTS = ("native", "openai", "openai-whole", "ai-sdk", "plain")


@dataclass(frozen=True)
class Stage:
    service: Running
    api: Upstream


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    directory = tmp_path_factory.mktemp("serve")
    async with upstream() as api:
        entries: dict[str, dict[str, object]] = {
            "providers.first": {
                "kind": "openai",
                "model": "gpt",
                "base_url": f"{api.url}/v1",
                "attempts": 1,
                "circuit_failures": 0,
                "fallbacks": ["second"],
            },
            "providers.second": {"kind": "gemini", "model": "gemini-test", "base_url": api.url},
        }
        write_config(directory, entries)
        async with serve(directory, {}) as service:
            yield Stage(service, api)
            assert await service.terminate() == 0


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    since = len(shared.service.output)
    yield shared
    shared.service.assert_quiet(r"call\.failed ", since=since)


def acted_on(client: str, body: bytes) -> list[tuple[str, Any]]:
    """Return the calls that a client of a dialect acts on, with their arguments; none if it sees an error."""
    if client == "plain":
        return []
    if client == "openai-whole":
        calls = json.loads(body)["choices"][0]["message"]["tool_calls"]
        return [_function(call["function"]) for call in calls]
    events = [json.loads(event.data) for event in parse(body) if event.data != "[DONE]"]
    if client == "native":
        return [_function(event) for event in events if event["type"] == "tool_call"]
    if client == "ai-sdk":
        ready = [event for event in events if event["type"] == "tool-input-available"]
        return [(event["toolName"], event["input"]) for event in ready]
    return _joined(events)


def _function(fields: Mapping[str, Any]) -> tuple[str, Any]:
    return fields["name"], json.loads(fields["arguments"])


def _joined(chunks: Sequence[Any]) -> list[tuple[str, Any]]:
    """Join the pieces of calls as OpenAI's clients do; they raise at an error."""
    calls: dict[int, dict[str, str]] = {}
    if any("error" in chunk for chunk in chunks):
        return []
    for chunk in chunks:
        for choice in chunk["choices"]:
            for piece in choice["delta"].get("tool_calls", ()):
                call = calls.setdefault(piece["index"], {"name": "", "arguments": ""})
                for field, written in piece["function"].items():
                    call[field] += written
    return [_function(call) for call in calls.values()]


@pytest.mark.promise("content:whole")
@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("cut", CUTS)
async def test_a_client_acts_on_one_call_or_sees_an_error(
    stage: Stage, name: str, cut: str
) -> None:
    def answer(call: Call) -> Script:
        return CUTS[cut] if call.wire is OPENAI else (raw(SECOND),)

    stage.api.choose = answer
    got = await answered(stage.service.port, CLIENTS[name].request("first"))
    body = bytes(got.raw)
    assert got.status == 200
    is_written = cut not in {"before the answer", "after the words"}
    # These clients cannot take back what they have shown, so a restart ends their stream.
    if is_written and name in {"openai", "ai-sdk"}:
        assert acted_on(name, body) == []
        assert b"error" in body
        assert b"tool-input-available" not in body
    elif name == "plain":
        assert b"Paris" not in body
    else:
        assert acted_on(name, body) == OSLO
    assert body.count(b"[DONE]") <= 1


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("name", DIALECTS)
async def test_a_call_without_a_break_is_acted_on_once(stage: Stage, name: str) -> None:
    stage.api.script((*WRITTEN, raw(OPENAI.reason("tool_calls") + DONE)))
    got = await answered(stage.service.port, CLIENTS[name].request("first"))
    expected = [] if name == "plain" else [("get", {"city": "Paris"})]
    assert acted_on(name, bytes(got.raw)) == expected
