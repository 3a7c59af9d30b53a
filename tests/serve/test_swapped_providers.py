"""One conversation with tools whose provider changes with every question, through `python -m streamsvc serve`.

OpenAI's format, Gemini, the fake provider and back. The upstreams are scripted, and see exactly what they are sent.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from streamsvc.providers.provider_data import STAMP
from support.eventstream import parse
from support.process import FAKE, Running, serve, write_config
from support.upstreams import DONE, GEMINI, OPENAI, Call, Script, Upstream, raw, upstream

MODEL = "gemini-3-flash-preview"
SIGNATURE = "c2lnbmF0dXJl"
SKIP = "skip_thought_signature_validator"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
RESULT = '{"celsius": 18}'

Turn = Mapping[str, Any]
Ask = Callable[[Running, str, Sequence[Turn]], Awaitable[Turn]]


@dataclass(frozen=True)
class Stage:
    service: Running
    api: Upstream

    def bodies(self, kind: str) -> list[Any]:
        """Return the bodies that an upstream got, in order."""
        return [
            call.body
            for call in self.api.calls
            if (":streamGenerateContent" in call.path) == (kind == "gemini")
        ]


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    directory = tmp_path_factory.mktemp("serve")
    async with upstream() as api:
        openai = {"kind": "openai", "model": "gpt", "base_url": f"{api.url}/v1"}
        gemini = {"kind": "gemini", "model": MODEL, "base_url": api.url}
        write_config(
            directory,
            {
                "providers.openai": {**openai, "api_key_env": ""},
                "providers.gemini": {**gemini, "api_key_env": ""},
                "providers.fake": {**FAKE, "reply": "auto"},
            },
        )
        async with serve(directory, {}) as service:
            yield Stage(service, api)
            service.assert_quiet()
            assert await service.terminate() == 0


@pytest.fixture
def stage(shared: Stage) -> Stage:
    shared.api.calls.clear()
    shared.api.choose = answering
    return shared


def answering(call: Call) -> Script:
    """Call the tool for each city of a question; answer when there are results."""
    if call.wire is OPENAI:
        if call.body["messages"][-1]["role"] == "tool":
            return (raw(OPENAI.token("It is 18.") + OPENAI.reason() + DONE),)
        deltas = [
            {
                "index": at,
                "id": f"call_{len(call.body['messages'])}_{at}",
                "type": "function",
                "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
            }
            for at, city in enumerate(("Paris", "Oslo"))
        ]
        chunks = (OPENAI.choice({"tool_calls": [delta]}) for delta in deltas)
        return (raw(b"".join(chunks) + OPENAI.reason("tool_calls") + DONE),)
    if "functionResponse" in call.body["contents"][-1]["parts"][0]:
        return (raw(GEMINI.token("It is 18.") + GEMINI.reason()),)
    parts = [
        {
            "functionCall": {"id": "g1", "name": "get_weather", "args": {"city": "Paris"}},
            "thoughtSignature": SIGNATURE,
        },
        {"functionCall": {"id": "g2", "name": "get_weather", "args": {"city": "Oslo"}}},
    ]
    return (raw(GEMINI.candidate(content={"role": "model", "parts": parts}) + GEMINI.reason()),)


async def ask_chat(service: Running, entry: str, turns: Sequence[Turn]) -> Turn:
    """Ask through chat completions; return the message as it came, for the history."""
    body = {"model": entry, "messages": turns, "tools": [TOOL]}
    answer = await service.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    message: Turn = answer.json()["choices"][0]["message"]
    return message


async def ask_native(service: Running, entry: str, turns: Sequence[Turn]) -> Turn:
    """Ask through the native API; return the answer as a turn, with what the events carry."""
    body = {"provider": entry, "messages": turns, "tools": [TOOL]}
    accepts = {"Accept": "text/event-stream"}
    answer = await service.client.post("/v1/generations", json=body, headers=accepts)
    events = [json.loads(event.data) for event in parse(answer.content)]
    assert events[-1]["status"] == "completed", events
    calls = [
        {
            "id": event["id"],
            "function": {"name": event["name"], "arguments": event["arguments"]},
            **({"provider_data": event["provider_data"]} if "provider_data" in event else {}),
        }
        for event in events
        if event["type"] == "tool_call"
    ]
    return {
        "role": "assistant",
        "content": "".join(event["text"] for event in events if event["type"] == "text"),
        "tool_calls": calls,
        "provider_data": events[-1].get("provider_data"),
    }


CLIENTS: Mapping[str, Ask] = {"chat completions": ask_chat, "native": ask_native}
every_client = pytest.mark.parametrize("ask", CLIENTS.values(), ids=CLIENTS)


async def converse(stage: Stage, ask: Ask, entries: Sequence[str]) -> list[Turn]:
    """Ask each entry a question that needs the tool, and give it the results."""
    turns: list[Turn] = []
    for entry in entries:
        question = {"role": "user", "content": f"What is the weather, {entry}?"}
        calling = await ask(stage.service, entry, [*turns, question])
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": RESULT}
            for call in calling["tool_calls"]
        ]
        assert results
        turns += [question, calling, *results]
        answer = await ask(stage.service, entry, turns)
        assert "18" in answer["content"]
        assert not answer.get("tool_calls")
        turns.append(answer)
    return turns


def signatures(contents: Sequence[Any]) -> list[list[str | None]]:
    """Return the signatures of the calls of each turn that has some."""
    turns = [
        [part.get("thoughtSignature") for part in turn["parts"] if "functionCall" in part]
        for turn in contents
    ]
    return [turn for turn in turns if turn]


@every_client
@pytest.mark.promise("content:exact")
@pytest.mark.promise("provider:swap")
async def test_a_signature_goes_back_to_its_provider_only(stage: Stage, ask: Ask) -> None:
    turns = await converse(stage, ask, ("openai", "gemini", "fake", "openai", "gemini"))

    of_gemini = stage.bodies("gemini")
    assert len(of_gemini) == 4
    # OpenAI's calls have no signature, so the first one of the step gets the stand-in.
    assert signatures(of_gemini[0]["contents"]) == [[SKIP, None]]
    assert signatures(of_gemini[1]["contents"]) == [[SKIP, None], [SIGNATURE, None]]
    calls_of_fake = len(next(turn for turn in turns[10:] if turn.get("tool_calls"))["tool_calls"])
    of_fake = [SKIP, *[None] * (calls_of_fake - 1)]
    assert signatures(of_gemini[2]["contents"]) == [
        [SKIP, None],
        [SIGNATURE, None],
        of_fake,
        [SKIP, None],
    ]
    assert signatures(of_gemini[3]["contents"])[4:] == [[SIGNATURE, None]]

    for body in stage.bodies("openai"):
        text = json.dumps(body)
        assert SIGNATURE not in text
        assert STAMP not in text


@every_client
@pytest.mark.promise("content:exact")
async def test_calls_and_results_keep_their_order_and_ids(stage: Stage, ask: Ask) -> None:
    await converse(stage, ask, ("gemini", "openai", "fake", "gemini"))
    for body in stage.bodies("openai"):
        waiting: list[str] = []
        for message in body["messages"]:
            if message["role"] == "tool":
                assert message["tool_call_id"] == waiting.pop(0)
            else:
                assert not waiting
            waiting += [call["id"] for call in message.get("tool_calls", ())]
        assert not waiting
    for body in stage.bodies("gemini"):
        contents = body["contents"]
        for turn, after in pairwise(contents):
            calls = [part["functionCall"] for part in turn["parts"] if "functionCall" in part]
            results = [
                part["functionResponse"] for part in after["parts"] if "functionResponse" in part
            ]
            # Ids go back to Gemini only if it gave them; without them, the order says which is whose.
            assert [call.get("id") for call in calls] == [it.get("id") for it in results]
            assert {call.get("id") for call in calls} <= {"g1", "g2", None}
    first, last = stage.bodies("gemini")[0], stage.bodies("gemini")[-1]
    assert first["contents"][0]["parts"] == [{"text": "What is the weather, gemini?"}]
    assert [turn["role"] for turn in last["contents"]][:4] == ["user", "model", "user", "model"]
