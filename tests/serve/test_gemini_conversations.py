"""Conversations with tools through a Gemini entry of `python -m streamsvc serve`: it gets its signatures back.

The upstream is scripted, and speaks Gemini's wire format on a real socket.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from google.genai import types
from openai import AsyncOpenAI

from support.ai_sdk import ai_sdk_chat
from support.eventstream import parse
from support.process import Running, serve, write_config
from support.upstreams import GEMINI, OPENAI, Script, Upstream, finish, raw, text, upstream

MODEL = "gemini-3.8-flash"
SKIP = "skip_thought_signature_validator"
QUESTION = {"role": "user", "content": "Is it warmer in Rome or in Oslo?"}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("weather", "compare")
]

Part = dict[str, Any]


def call(name: str, args: Mapping[str, Any], call_id: str, signature: str = "") -> Part:
    """Return the part of a call, as Gemini sends it."""
    part: Part = {"functionCall": {"id": call_id, "name": name, "args": args}}
    return {**part, "thoughtSignature": signature} if signature else part


def gave(name: str, response: Mapping[str, Any], call_id: str = "") -> Part:
    """Return the part of a result, as Gemini requires it."""
    named = {"id": call_id} if call_id else {}
    return {"functionResponse": {**named, "name": name, "response": response}}


def says(*parts: Part) -> Script:
    """Return the script of an answer with these parts, each in a chunk of its own."""
    frames = [GEMINI.candidate(content={"role": "model", "parts": [part]}) for part in parts]
    return (raw(b"".join(frames)), finish())


def user(*parts: Part) -> dict[str, Any]:
    return {"parts": list(parts), "role": "user"}


def model(*parts: Part) -> dict[str, Any]:
    return {"parts": list(parts), "role": "model"}


ROME = call("weather", {"city": "Rome"}, "fc-1", "c2ln+/8=")
OSLO = call("weather", {"city": "Oslo"}, "fc-2")
COMPARE = call("compare", {"by": "degrees", "limits": [1, 2.5]}, "fc-3", "c2lnLTI=")
ANSWER = {"text": "Rome is "}, {"text": "warmer."}, {"text": "", "thoughtSignature": "c2lnLTM="}

ASKED = user({"text": QUESTION["content"]})
WEATHER = user(gave("weather", {"degrees": 21}, "fc-1"), gave("weather", {"result": "cold"}, "fc-2"))  # fmt: skip
COMPARED = user(gave("compare", {"result": [21, 5]}, "fc-3"))
SAID = model({"text": "Rome is warmer."}, {"text": "", "thoughtSignature": "c2lnLTM="})

RESULTS = {"Rome": '{"degrees": 21}', "Oslo": "cold", None: "[21, 5]"}
"""The results of the tools, by the city that is asked for."""


@dataclass(frozen=True)
class Stage:
    """A process, and its upstreams."""

    process: Running
    gemini: Upstream
    openai: Upstream

    def client(self) -> AsyncOpenAI:
        url = f"http://127.0.0.1:{self.process.port}/v1"
        return AsyncOpenAI(base_url=url, api_key="none", max_retries=0)


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    directory = tmp_path_factory.mktemp("serve")
    async with upstream() as gemini, upstream() as other:
        usual = {"api_key_env": "", "attempts": 2, "backoff_seconds": 0.01, "circuit_failures": 0}
        url = f"{other.url}/v1"
        entries = {
            "providers.gemini": {"kind": "gemini", "model": MODEL, "base_url": gemini.url, **usual},
            "providers.openai": {"kind": "openai", "model": "gpt", "base_url": url, **usual},
        }
        write_config(directory, entries)
        async with serve(directory, {"PROVIDER": "gemini"}) as running:
            yield Stage(running, gemini, other)
            assert await running.terminate() == 0


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """Yield the module's process, with upstreams that have not been called."""
    shared.gemini.calls.clear()
    shared.openai.calls.clear()
    since = len(shared.process.output)
    yield shared
    shared.process.assert_quiet(r"call\.failed ", since=since)
    assert "c2ln" not in shared.process.output


def sent(api: Upstream) -> Any:
    """Return the turns of the latest request, after the SDK has checked their names."""
    contents = api.calls[-1].body["contents"]
    for turn in contents:
        types.Content.model_validate(turn)
    return contents


def results(calls: list[dict[str, Any]], id_field: str = "id") -> list[dict[str, Any]]:
    """Return the messages with the results of calls."""
    return [
        {
            "role": "tool",
            "tool_call_id": it[id_field],
            "content": RESULTS[json.loads(it["function"]["arguments"]).get("city")],
        }
        for it in calls
    ]


async def complete(
    stage: Stage, how: str, messages: list[Any], provider: str = "gemini", **fields: Any
) -> dict[str, Any]:
    """Ask with the official client; return the message as an application keeps it."""
    body: Any = {"model": provider, "messages": messages, "tools": TOOLS, **fields}
    async with stage.client() as client:
        if how == "create":
            completion = await client.chat.completions.create(**body)
        else:
            async with client.chat.completions.stream(**body) as stream:
                completion = await stream.get_final_completion()
    message: dict[str, Any] = completion.choices[0].message.model_dump(
        exclude_none=True, exclude_unset=True
    )
    for it in message.get("tool_calls", []):
        it["function"].pop("parsed_arguments", None)
        it.pop("index", None)
    message.pop("parsed", None)
    return message


@pytest.mark.promise("content:exact")
@pytest.mark.parametrize("how", ["create", "stream"])
async def test_signatures_survive_chat_completions(stage: Stage, how: str) -> None:
    """Two steps and a further question; parallel calls, of which the first is signed."""
    stage.gemini.script(says(ROME, OSLO), says(COMPARE), says(*ANSWER), says({"text": "Bye."}))
    messages: list[Any] = [QUESTION]
    for _ in range(2):
        message = await complete(stage, how, messages)
        messages += [message, *results(message["tool_calls"])]
    answer = await complete(stage, how, messages)
    assert answer["content"] == "Rome is warmer."
    await complete(stage, how, [*messages, answer, {"role": "user", "content": "Bye!"}])
    assert sent(stage.gemini) == [
        ASKED,
        model(ROME, OSLO),
        WEATHER,
        model(COMPARE),
        COMPARED,
        SAID,
        user({"text": "Bye!"}),
    ]


@pytest.mark.promise("content:exact")
async def test_signature_survives_with_the_least_thinking(stage: Stage) -> None:
    stage.gemini.script(says(ROME), says({"text": "Warm."}))
    asked = {"provider": "gemini/gemini-3.6-flash", "reasoning_effort": "minimal"}
    message = await complete(stage, "stream", [QUESTION], **asked)
    messages = [QUESTION, message, *results(message["tool_calls"])]
    await complete(stage, "stream", messages, **asked)
    body = stage.gemini.calls[-1].body
    assert body["generationConfig"]["thinkingConfig"]["thinkingLevel"] == "MINIMAL"
    assert sent(stage.gemini)[1] == model(ROME)


async def ask_native(stage: Stage, messages: list[Any]) -> dict[str, Any]:
    """Ask in the native API; return the assistant's message, made from its events."""
    body = {"provider": "gemini", "messages": messages, "tools": TOOLS}
    accept = {"Accept": "text/event-stream"}
    response = await stage.process.client.post("/v1/generations", json=body, headers=accept)
    assert response.status_code == 200, response.text
    events = [it.json for it in parse(response.content)]
    calls = [it for it in events if it.get("type") == "tool_call"]
    done = events[-1]
    data = {"provider_data": done["provider_data"]} if "provider_data" in done else {}
    tool_calls = [
        {
            "id": it["id"],
            "type": "function",
            "function": {"name": it["name"], "arguments": it["arguments"]},
            "provider_data": it["provider_data"],
        }
        for it in calls
    ]
    words = "".join(
        it["text"] for it in events if it.get("type", "text") == "text" and "text" in it
    )
    called = {"tool_calls": tool_calls} if calls else {}
    return {"role": "assistant", "content": words, **called, **data}


@pytest.mark.promise("content:exact")
async def test_signatures_survive_the_native_api(stage: Stage) -> None:
    stage.gemini.script(says({"text": "Hm. "}, ROME, OSLO), says(*ANSWER), says({"text": "Bye."}))
    messages: list[Any] = [QUESTION]
    message = await ask_native(stage, messages)
    messages += [message, *results(message["tool_calls"])]
    messages += [await ask_native(stage, messages), {"role": "user", "content": "Bye!"}]
    await ask_native(stage, messages)
    assert sent(stage.gemini) == [
        ASKED,
        model({"text": "Hm. "}, ROME, OSLO),
        WEATHER,
        SAID,
        user({"text": "Bye!"}),
    ]


@pytest.mark.node
@pytest.mark.promise("content:exact")
@pytest.mark.parametrize("library", ["ai6", "ai7"])
async def test_signatures_survive_use_chat(stage: Stage, library: str) -> None:
    """The page runs the tools, and sends the results by itself."""
    stage.gemini.script(says(ROME, OSLO), says(COMPARE), says(*ANSWER), says({"text": "Bye."}))
    outputs = {"weather": {"output": {"degrees": 21}}, "compare": {"output": [21, 5]}}
    async with ai_sdk_chat(library, stage.process.port, f"chat-{library}") as chat:
        await chat("use", {"body": {"tools": TOOLS}, "outputs": outputs, "isAutomatic": True})
        await chat("begin", QUESTION["content"])
        await chat("finishes", 3)
        await chat("begin", "Bye!")
        await chat("finishes", 4)
        await chat("end")
    assert sent(stage.gemini) == [
        ASKED,
        model(ROME, OSLO),
        user(*(gave("weather", {"degrees": 21}, it) for it in ("fc-1", "fc-2"))),
        model(COMPARE),
        COMPARED,
        SAID,
        user({"text": "Bye!"}),
    ]


@pytest.mark.promise("content:exact")
async def test_another_provider_in_the_middle_gets_no_signature(stage: Stage) -> None:
    """Its own calls have none, so Gemini is asked not to check them, and does not get its ids."""
    stage.gemini.script(says(ROME, OSLO), says(*ANSWER))
    function = {"name": "compare", "arguments": '{"by":"degrees"}'}
    piece = {"index": 0, "id": "call_x", "type": "function", "function": function}
    stage.openai.script((raw(OPENAI.choice({"tool_calls": [piece]})), finish("tool_calls")))
    messages: list[Any] = [QUESTION]
    for provider in ("gemini", "openai"):
        message = await complete(stage, "stream", messages, provider)
        messages += [message, *results(message["tool_calls"])]
    await complete(stage, "stream", messages)
    assert "c2ln" not in json.dumps(stage.openai.calls[-1].body)
    called = {"functionCall": {"name": "compare", "args": {"by": "degrees"}}}
    assert sent(stage.gemini) == [
        ASKED,
        model(ROME, OSLO),
        WEATHER,
        model({**called, "thoughtSignature": SKIP}),
        user(gave("compare", {"result": [21, 5]})),
    ]


async def test_another_model_gets_no_signature(stage: Stage) -> None:
    stage.gemini.script(says(ROME), says({"text": "Warm."}))
    message = await complete(stage, "create", [QUESTION])
    messages = [QUESTION, message, *results(message["tool_calls"])]
    await complete(stage, "create", messages, "gemini/gemini-2.5-flash")
    assert stage.gemini.calls[-1].model == "gemini-2.5-flash"
    assert sent(stage.gemini)[1] == model({"functionCall": {"name": "weather", "args": {"city": "Rome"}}})  # fmt: skip


@pytest.mark.promise("upstream:rescue")
async def test_malformed_call_is_asked_for_again(stage: Stage) -> None:
    malformed: Script = (raw(GEMINI.candidate(finishReason="MALFORMED_FUNCTION_CALL")),)
    stage.gemini.script(malformed, says(ROME))
    message = await complete(stage, "stream", [QUESTION])
    assert [it["function"]["name"] for it in message["tool_calls"]] == ["weather"]
    assert len(stage.gemini.calls) == 2


@pytest.mark.promise("end:exactly-one")
async def test_call_of_an_answer_that_broke_off_does_not_count(stage: Stage) -> None:
    """The first attempt breaks off after its call: what counts is the second one."""
    cut: Script = (raw(GEMINI.candidate(content={"parts": [ROME]})),)
    stage.gemini.script(cut, says(OSLO))
    message = await ask_native(stage, [QUESTION])
    assert [it["function"]["arguments"] for it in message["tool_calls"]] == ['{"city": "Oslo"}']


async def test_image_and_parameters_reach_gemini(stage: Stage) -> None:
    stage.gemini.script((text("A dot."), finish()))
    url = "data:image/png;base64,iVBORw0KGgo="
    parts: Any = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": url}}]
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    asked: Any = {
        "model": "gemini",
        "messages": [{"role": "user", "content": parts}],
        "top_p": 0.5,
        "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "compare"}},
    }
    async with stage.client() as client:
        await client.chat.completions.create(**asked)
    body = stage.gemini.calls[-1].body
    inline = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    assert sent(stage.gemini) == [user({"text": "See"}, inline)]
    assert body["generationConfig"] == {
        "topP": 0.5,
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
        "thinkingConfig": {"include_thoughts": True, "thinkingLevel": "HIGH"},
    }
    assert body["toolConfig"] == {
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["compare"]}
    }
    [tools] = body["tools"]
    assert [it["name"] for it in tools["functionDeclarations"]] == ["weather", "compare"]
