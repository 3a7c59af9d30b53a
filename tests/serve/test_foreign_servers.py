"""Servers that others wrote as providers, each in its own process, behind `python -m streamsvc serve`.

Two mocks of models' APIs with tools: aimock (Node.js) and llmock (Python). Both speak OpenAI's API and Gemini's.
"""

import json
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest

from support import parts
from support.eventstream import parse
from support.process import START_SECONDS, Running, serve, write_config

pytestmark = pytest.mark.needs("node", "clients")

CALLS = [{"city": "Paris"}, {"city": "Oslo"}]
QUESTION = {"role": "user", "content": "What is the weather in Paris and Oslo?"}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA, "strict": True}}
]
PLACE: Any = {
    "type": "json_schema",
    "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
}
FIXTURES = {
    "fixtures": [
        {
            "match": {"userMessage": "weather", "hasToolResult": False},
            "response": {
                "content": "Let me see.",
                "toolCalls": [
                    {"name": "get_weather", "arguments": json.dumps(call)} for call in CALLS
                ],
            },
        },
        {
            "match": {"userMessage": "weather", "hasToolResult": True},
            "response": {"content": "It is 18 degrees in both."},
        },
        {"match": {"userMessage": "place"}, "response": {"content": '{"city": "Paris"}'}},
    ]
}
"""What aimock answers; it refuses everything else."""

ENTRIES = ("aimock-openai", "aimock-gemini", "llmock-openai", "llmock-gemini")
every_server = pytest.mark.parametrize("entry", ENTRIES)


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[str]:
    """Run a server, and yield its URL once it listens."""
    async with await anyio.open_process(command, stderr=-2) as process:
        assert process.stdout is not None
        try:
            output = ""
            with anyio.fail_after(START_SECONDS):
                while not (
                    found := re.search(r"(?:listening|running) on (http://[\d.:]+)", output)
                ):
                    output += (await process.stdout.receive()).decode(errors="replace")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_read_on, process.stdout)
                yield found[1]
                tasks.cancel_scope.cancel()
        finally:
            process.kill()


async def _read_on(output: anyio.abc.ByteReceiveStream) -> None:
    """Read what a server logs, so that its pipe never fills up."""
    async for _ in output:
        pass


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    directory = tmp_path_factory.mktemp("foreign")
    fixtures = directory / "fixtures.json"
    fixtures.write_text(json.dumps(FIXTURES))
    aimock = Path(parts.find("clients"), "@copilotkit/aimock/dist/cli.js")
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            running(parts.find("node"), str(aimock), "-p", "0", "-f", str(fixtures), "--strict")
        )
        python = await stack.enter_async_context(
            running(str(Path(sys.executable).with_name("llmock")), "serve", "-p", "0")
        )
        gemini = {"kind": "gemini", "model": "gemini-3-flash-preview"}
        chat = {"kind": "openai", "model": "gpt-5.4-mini"}
        write_config(
            directory,
            {
                "providers.aimock-openai": {**chat, "base_url": f"{node}/v1"},
                "providers.aimock-gemini": {**gemini, "base_url": f"{node}/v1beta"},
                "providers.llmock-openai": {**chat, "base_url": f"{python}/v1"},
                "providers.llmock-gemini": {**gemini, "base_url": f"{python}/gemini/v1beta"},
            },
        )
        running_service = await stack.enter_async_context(serve(directory, {}))
        yield running_service
        running_service.assert_quiet()
        assert await running_service.terminate() == 0


async def complete(service: Running, entry: str, messages: Sequence[Any], **fields: Any) -> Any:
    """Ask with openai-python, and return the message of the answer."""
    url = f"http://127.0.0.1:{service.port}/v1"
    async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:
        answer = await client.chat.completions.create(model=entry, messages=[*messages], **fields)
    return answer.choices[0].message


def answer_and_results(message: Any) -> list[Any]:
    """Return the turns that follow an answer with calls: itself, and a result for each."""
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 18}'}
        for call in message.tool_calls
    ]
    return [message.model_dump(exclude_none=True), *results]


@every_server
@pytest.mark.promise("content:whole")
async def test_a_tool_round_trip_is_complete(service: Running, entry: str) -> None:
    message = await complete(service, entry, [QUESTION], tools=TOOLS)
    assert {call.function.name for call in message.tool_calls} == {"get_weather"}
    called = [json.loads(call.function.arguments) for call in message.tool_calls]
    assert called == CALLS if entry.startswith("aimock") else [*called[0]] == ["city"]
    turns = [QUESTION, *answer_and_results(message)]
    answer = await complete(service, entry, turns, tools=TOOLS)
    assert answer.content
    assert not answer.tool_calls


@every_server
@pytest.mark.promise("content:whole")
async def test_a_structured_answer_fits_its_schema(service: Running, entry: str) -> None:
    question = {"role": "user", "content": "Which place?"}
    message = await complete(service, entry, [question], response_format=PLACE)
    value = json.loads(message.content)
    assert value.keys() == {"city"}
    assert isinstance(value["city"], str)


@every_server
async def test_a_page_gets_drafts_and_then_whole_calls(service: Running, entry: str) -> None:
    body = {"provider": entry, "messages": [QUESTION], "tools": TOOLS}
    accepts = {"Accept": "text/event-stream"}
    answer = await service.client.post("/v1/generations", json=body, headers=accepts)
    events = [json.loads(event.data) for event in parse(answer.content)]
    calls = [event for event in events if event["type"] == "tool_call"]
    assert calls
    *before, done = events
    assert before[-len(calls) :] == calls
    assert (done["status"], done["finish_reason"]) == ("completed", "tool_calls")
    begun = [event["id"] for event in events if event["type"] == "tool_call_begun"]
    assert begun == [call["id"] for call in calls]


@pytest.mark.promise("content:exact")
async def test_one_conversation_moves_from_server_to_server(service: Running) -> None:
    """Each answers a question with calls, and gets the turns of all that came before."""
    turns: list[Any] = []
    for entry in (*ENTRIES, ENTRIES[0]):
        turns.append(QUESTION)
        message = await complete(service, entry, turns, tools=TOOLS)
        if not message.tool_calls:  # llmock calls a tool once in a conversation
            assert entry.startswith("llmock")
            turns.append({"role": "assistant", "content": message.content})
            continue
        turns += answer_and_results(message)
        answer = await complete(service, entry, turns, tools=TOOLS)
        turns.append({"role": "assistant", "content": answer.content})
    assert len(turns) > 10
