"""Tools that run in the page: the `useChat` of both versions, unmodified, and the service in its own process."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import chain, count, repeat
from typing import Any

import anyio
import pytest

from streamsvc.dialects.ai_sdk.frames import RESTARTED
from streamsvc.provider_errors import UpstreamCut
from support.ai_sdk import Chat, Seen, ai_sdk_chat
from support.process import Running, serve, write_config
from support.proxy import Cut, after_events, breaking_proxy, never
from support.tool_calls import CLOCK, WEATHER, begun, calls, piece
from support.upstreams import (
    CLOSE,
    GEMINI,
    HOLD,
    OPENAI,
    Script,
    Upstream,
    finish,
    raw,
    reasoning,
    status,
    text,
    until,
    upstream,
)

pytestmark = pytest.mark.node
libraries = pytest.mark.parametrize("library", ["ai6", "ai7"])

PARIS = '{"city": "Paris"}'
ROME = '{"city": "Rome"}'
SUN = {"sky": "clear", "degrees": [21.5]}
USE: dict[str, Any] = {
    "body": {"tools": [WEATHER, CLOCK]},
    "outputs": {"get_weather": {"output": SUN}, "get_time": {"output": "noon"}},
    "isAutomatic": True,
}
"""The page runs both tools at once, and sends the outputs by itself."""

ASKS: Script = (reasoning("Hm."), text("Let me look."), calls(("c1", "get_weather", PARIS)), finish("tool_calls"))  # fmt: skip
SAYS: Script = (text("It is ", "sunny."), finish())

CALL_C1 = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}  # fmt: skip


@dataclass
class Stage:
    """The service, and the upstreams of its two entries."""

    process: Running
    api: Upstream
    other: Upstream
    chats: Iterator[int] = field(default_factory=lambda: count(1))

    def script(self, *scripts: Script) -> None:
        self.api.calls.clear()
        self.other.calls.clear()
        self.api.script(*scripts)

    def chat(self, library: str, port: int = 0, *, transport: str = "default") -> Any:
        """Open a new chat."""
        name = f"chat-{next(self.chats)}"
        return ai_sdk_chat(library, port or self.process.port, name, transport=transport)


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    directory = tmp_path_factory.mktemp("serve")
    async with upstream() as api, upstream() as other:
        usual = {"model": "test", "api_key_env": "TEST_KEY", "attempts": 1, "circuit_failures": 0}
        openai = {**usual, "kind": "openai"}
        entries: dict[str, dict[str, object]] = {
            "providers.api": {**openai, "base_url": f"{api.url}/v1", "fallbacks": ["other"]},
            "providers.other": {**openai, "base_url": f"{other.url}/v1"},
            "providers.gemini": {**usual, "kind": "gemini", "base_url": api.url},
        }
        write_config(directory, entries)
        async with serve(directory, {"PROVIDER": "api"}, environ={"TEST_KEY": "key"}) as process:
            yield Stage(process, api, other)
            assert await process.terminate() == 0


async def asked(chat: Chat, question: str, finishes: int, use: dict[str, Any] = USE) -> Seen:
    """Ask, and wait until the page has *finishes* answers."""
    await chat("use", use)
    await chat("begin", question)
    await chat("finishes", finishes)
    seen = await chat("end")
    assert len(seen.finishes) == finishes
    return seen


@libraries
@pytest.mark.promise("content:whole")
async def test_output_continues_the_message_with_the_call(stage: Stage, library: str) -> None:
    stage.script(ASKS, SAYS)
    async with stage.chat(library) as chat:
        seen = await asked(chat, "How is the weather in Paris?", 2)
    assert (seen.status, seen.error, len(seen.messages)) == ("ready", None, 2)
    assert seen.texts() == ["Let me look.It is sunny."]
    assert seen.tools() == [("c1", "output-available", {"city": "Paris"}, SUN)]
    kinds = [part["type"] for part in seen.answers[0]["parts"]]
    assert kinds == ["step-start", "reasoning", "text", "tool-get_weather", "step-start", "text"]
    assert [it["finishReason"] for it in seen.finishes] == ["tool-calls", "stop"]
    assert [it["toolName"] for it in seen.tool_calls] == ["get_weather"]
    first, second = stage.api.calls
    assert first.body["tools"] == [WEATHER, CLOCK]
    assert second.body["messages"] == [
        {"role": "user", "content": "How is the weather in Paris?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [CALL_C1],
            "reasoning_content": "Hm.",  # the adapter keeps it in the call's metadata
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"sky":"clear","degrees":[21.5]}'},
    ]


@libraries
@pytest.mark.promise("content:whole")
async def test_parallel_calls_errors_and_empty_arguments(stage: Stage, library: str) -> None:
    """The drafts take turns; nothing is sent before both calls have an output."""
    drafts = (
        begun(0, "c1", "get_weather"),
        begun(1, "c2", "get_time"),
        piece(0, '{"city"'),
        piece(0, ': "Paris"}'),
    )
    stage.script((raw(b"".join(drafts)), finish("tool_calls")), SAYS)
    failing = {**USE["outputs"], "get_time": {"errorText": "The clock stands still."}}
    async with stage.chat(library) as chat:
        seen = await asked(chat, "Weather and time?", 2, {**USE, "outputs": failing})
    assert seen.tools() == [
        ("c1", "output-available", {"city": "Paris"}, SUN),
        ("c2", "output-error", {}, "The clock stands still."),
    ]
    assert seen.texts() == ["It is sunny."]
    _, second = stage.api.calls
    assert second.body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                CALL_C1,
                {"id": "c2", "type": "function", "function": {"name": "get_time", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"sky":"clear","degrees":[21.5]}'},
        {"role": "tool", "tool_call_id": "c2", "content": "The clock stands still."},
    ]  # fmt: skip


@libraries
@pytest.mark.promise("content:whole")
async def test_steps_and_turns_go_to_the_model_in_order(stage: Stage, library: str) -> None:
    again: Script = (text("And now?"), calls(("c2", "get_weather", ROME)), finish("tool_calls"))
    third: Script = (calls(("c3", "get_time", "{}")), finish("tool_calls"))
    stage.script(ASKS, again, SAYS, third, SAYS)
    async with stage.chat(library) as chat:
        first = await asked(chat, "Paris, then Rome?", 3)
        seen = await asked(chat, "And again?", 5)
    assert first.texts() == ["Let me look.And now?It is sunny."]
    assert seen.texts() == [*first.texts(), "It is sunny."]
    assert [it["toolCallId"] for it in seen.tool_calls] == ["c1", "c2", "c3"]
    roles = [message["role"] for message in stage.api.calls[-1].body["messages"]]
    steps = ["assistant", "tool"]
    assert roles == ["user", *steps, *steps, "assistant", "user", *steps]
    words = [it["content"] for it in stage.api.calls[-1].body["messages"] if it["role"] == "assistant"]  # fmt: skip
    assert words == ["Let me look.", "And now?", "It is sunny.", None]


@libraries
@pytest.mark.promise("content:whole")
async def test_ids_that_a_server_repeats_name_one_call_each(stage: Stage, library: str) -> None:
    """The hook finds a call by its id, in any message."""
    rome: Script = (calls(("c1", "get_weather", ROME)), finish("tool_calls"))
    stage.script(ASKS, rome, SAYS, ASKS, SAYS)
    async with stage.chat(library) as chat:
        await asked(chat, "Paris, then Rome?", 3)
        seen = await asked(chat, "And Paris again?", 5)
    assert len({it["toolCallId"] for it in seen.tool_calls}) == 3
    assert seen.texts() == ["Let me look.It is sunny."] * 2
    sent = stage.api.calls[-1].body["messages"]
    ids = [it["id"] for message in sent for it in message.get("tool_calls", ())]
    assert ids == ["c1"] * 3


@libraries
@pytest.mark.promise("content:exact")
async def test_what_the_provider_wants_back_comes_back(stage: Stage, library: str) -> None:
    signed = {"google": {"thought_signature": "c2lnbmVk"}}
    call = {"index": 0, **CALL_C1, "extra_content": signed}
    stage.script((raw(OPENAI.choice({"tool_calls": [call]})), finish("tool_calls")), SAYS)  # fmt: skip
    async with stage.chat(library) as chat:
        seen = await asked(chat, "How is the weather?", 2)
    metadata = seen.answers[0]["parts"][1]["callProviderMetadata"]
    assert metadata["google"] == signed["google"]
    (sent,) = stage.api.calls[1].body["messages"][1]["tool_calls"]
    assert sent["extra_content"] == signed


SIGNATURE = "c2lnbmVk"


@libraries
@pytest.mark.promise("content:exact")
@pytest.mark.promise("provider:swap")
async def test_signatures_of_gemini_come_back_to_gemini_alone(stage: Stage, library: str) -> None:
    """To their parts, in the same step and in the next turn; another provider does not get them."""
    asks = {
        "functionCall": {"name": "get_weather", "args": {"city": "Paris"}},
        "thoughtSignature": SIGNATURE,
    }
    says = {"text": "It is sunny.", "thoughtSignature": "b3RoZXI="}
    scripts = [
        (raw(GEMINI.candidate(content={"role": "model", "parts": [part]})), finish())
        for part in (asks, says, {"text": "Again."})
    ]
    stage.script(*scripts, SAYS)
    gemini = {**USE, "body": {**USE["body"], "provider": "gemini"}}
    async with stage.chat(library) as chat:
        first = await asked(chat, "How is the weather?", 2, gemini)
        assert first.tools()[0][1:] == ("output-available", {"city": "Paris"}, SUN)
        await asked(chat, "And now?", 3, gemini)
        seen = await asked(chat, "And now?", 4)
    assert seen.texts() == ["It is sunny.", "Again.", "It is sunny."]
    _, second, third, other = stage.api.calls
    for call in (second, third):
        assert call.body["contents"][1]["parts"][0]["thoughtSignature"] == SIGNATURE
    assert third.body["contents"][3]["parts"] == [says]
    assert SIGNATURE not in json.dumps(other.body)
    assert [it["role"] for it in other.body["messages"]][:4] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


@libraries
@pytest.mark.promise("upstream:rescue")
async def test_fallback_answers_the_second_step(stage: Stage, library: str) -> None:
    stage.script(ASKS, (status(500),))
    stage.other.script(SAYS)
    async with stage.chat(library) as chat:
        seen = await asked(chat, "How is the weather?", 2)
    assert seen.texts() == ["Let me look.It is sunny."]
    assert stage.other.calls[0].body["messages"] == stage.api.calls[1].body["messages"]
    assert len(seen.tool_calls) == 1


DRAFT = begun(0, "c1", "get_weather", '{"ci')
BREAKS: Script = (text("Let me look."), raw(DRAFT), CLOSE)


@libraries
@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("end:exactly-one")
async def test_cut_while_a_call_is_written_runs_nothing(stage: Stage, library: str) -> None:
    """The page has a draft and an error; a resume replaces it with the whole call of the other provider."""
    stage.script(BREAKS, SAYS)
    stage.other.script((text("Ah."), calls(("c9", "get_weather", ROME)), finish("tool_calls")))
    async with stage.chat(library) as chat:
        seen = await asked(chat, "How is the weather?", 1)
        assert (seen.status, seen.error, seen.tool_calls) == ("error", RESTARTED, [])
        assert [state for _, state, _, _ in seen.tools()] == ["input-streaming"]
        await chat("beginResume")
        await chat("finishes", 3)
        seen = await chat("end")
    assert (seen.status, seen.texts()) == ("ready", ["Ah.It is sunny."])
    assert seen.tools() == [("c9", "output-available", {"city": "Rome"}, SUN)]
    assert [it["toolCallId"] for it in seen.tool_calls] == ["c9"]


@libraries
@pytest.mark.promise("upstream:rescue")
async def test_restarted_step_keeps_the_steps_before(stage: Stage, library: str) -> None:
    """The resume has them, and the new answer in place of the one that broke off."""
    stage.script(ASKS, (text("It rains."), CLOSE))
    stage.other.script(SAYS)
    async with stage.chat(library) as chat:
        seen = await asked(chat, "How is the weather?", 2)
        assert (seen.error, seen.texts()) == (RESTARTED, ["Let me look.It rains."])
        seen = await chat("resume")
    assert (seen.status, seen.texts()) == ("ready", ["Let me look.It is sunny."])
    assert seen.tools() == [("c1", "output-available", {"city": "Paris"}, SUN)]
    assert len(seen.tool_calls) == 1


@libraries
@pytest.mark.promise("end:exactly-one")
async def test_failed_draft_is_left_out_of_the_next_question(stage: Stage, library: str) -> None:
    stage.script(BREAKS, SAYS)
    stage.other.script((status(500),))
    async with stage.chat(library) as chat:
        seen = await asked(chat, "How is the weather?", 1)
        assert (seen.status, seen.error, seen.tool_calls) == ("error", UpstreamCut.message, [])
        seen = await asked(chat, "Never mind.", 2)
    assert (seen.status, seen.texts()[-1]) == ("ready", "It is sunny.")
    assert stage.api.calls[-1].body["messages"][1:] == [
        {"role": "assistant", "content": "Let me look."},
        {"role": "user", "content": "Never mind."},
    ]


@libraries
@pytest.mark.promise("cancel:stop")
async def test_stop_while_a_call_is_written_runs_nothing(stage: Stage, library: str) -> None:
    stage.script((*BREAKS[:2], HOLD))
    async with stage.chat(library) as chat:
        await chat("use", USE)
        await chat("begin", "How is the weather?")
        await chat("drafts", 4)
        await chat("stopForReal")
        seen = await chat("end")
        await (await stage.api.call()).closed.wait()
        assert (seen.status, seen.error, seen.tool_calls) == ("ready", None, [])
        assert seen.texts() == ["Let me look."]
    assert len(stage.api.calls) == 1


@libraries
@pytest.mark.promise("cancel:stop")
async def test_stopped_step_is_not_asked_for_again(stage: Stage, library: str) -> None:
    """It has no words: without a part, the hook would take the outputs for unanswered, and send them again."""
    stage.script(ASKS, (HOLD,))
    async with stage.chat(library) as chat:
        await chat("use", USE)
        await chat("begin", "How is the weather?")
        with anyio.fail_after(10):
            await stage.api.call(1)
        await chat("stopForReal")
        seen = await chat("end")
        assert (seen.status, len(seen.finishes)) == ("ready", 2)
        assert seen.texts() == ["Let me look."]
    assert len(stage.api.calls) == 2


@libraries
@pytest.mark.parametrize("transport", ["default", "browser"])
@pytest.mark.promise("resume:no-gap")
async def test_resume_while_a_call_is_written_has_one_call(
    stage: Stage, library: str, transport: str
) -> None:
    """The hook keeps its drafts only if it knows that the network has failed, as in a browser."""
    back = anyio.Event()
    rest = (until(back), raw(piece(0, 'ty": "Paris"}')), finish("tool_calls"))
    stage.script((*BREAKS[:2], *rest), SAYS)
    async with (
        breaking_proxy(stage.process.port, chain([after_events(7)], repeat(never))) as proxy,
        stage.chat(library, proxy.port, transport=transport) as chat,
    ):
        seen = await asked(chat, "How is the weather?", 1)
        assert seen.status == "error"
        assert seen.finishes[0]["isDisconnect"] == (transport == "browser")
        assert [state for _, state, _, _ in seen.tools()] == ["input-streaming"]
        await chat("beginResume")
        back.set()
        await chat("finishes", 3)
        seen = await chat("end")
    assert (seen.status, seen.texts()) == ("ready", ["Let me look.It is sunny."])
    assert seen.tools() == [("c1", "output-available", {"city": "Paris"}, SUN)]
    assert len(seen.tool_calls) == 1
    assert len(stage.api.calls) == 2


@libraries
@pytest.mark.parametrize("reloads", [False, True], ids=["same-page", "reload"])
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
async def test_resumed_step_keeps_the_steps_before(
    stage: Stage, library: str, *, reloads: bool
) -> None:
    """The replay repeats them, runs no tool again, and gives the page exactly the message that it had."""
    back = anyio.Event()
    both = calls(("c1", "get_weather", PARIS), ("c2", "get_time", ""))
    ask: Script = (reasoning("Hm."), text("Let me look."), both, finish("tool_calls"))
    stage.script(ask, (text("It is "), until(back), text("sunny."), finish()))
    failing = {**USE["outputs"], "get_time": {"errorText": "The clock stands still."}}
    async with (
        breaking_proxy(stage.process.port, repeat(once_after(b'"It is "}\n\n'))) as proxy,
        stage.chat(library, proxy.port, transport="browser") as chat,
    ):
        await chat("use", {**USE, "outputs": failing})
        seen = await chat("send", "How is the weather?")
        assert (seen.status, seen.texts()) == ("error", ["Let me look.It is "])
        parts = seen.answers[0]["parts"]
        if reloads:
            await chat("reload")
        await chat("beginResume")
        back.set()
        seen = await chat("end")
    assert (seen.status, seen.texts(), len(seen.messages)) == (
        "ready",
        ["Let me look.It is sunny."],
        2,
    )
    again = seen.answers[0]["parts"]
    assert [shown(part) for part in again[:-1]] == [shown(part) for part in parts[:-1]]
    assert len(seen.tool_calls) == 2
    assert len(stage.api.calls) == 2


def once_after(text: bytes) -> Cut:
    """Break one connection, after this text."""
    left = [text]

    def cut(answer: bytes) -> int | None:
        if not left or text not in answer:
            return None
        return answer.index(left.pop()) + len(text)

    return cut


def shown(part: dict[str, Any]) -> dict[str, Any]:
    """Return what a page shows of a part; the hook itself keeps the text of an input, or not."""
    return {name: value for name, value in part.items() if name != "rawInput"}


@libraries
async def test_next_question_leaves_out_a_call_without_output(stage: Stage, library: str) -> None:
    stage.script(ASKS, SAYS)
    async with stage.chat(library) as chat:
        seen = await asked(chat, "How is the weather?", 1, {**USE, "outputs": {}})
        assert seen.tools() == [("c1", "input-available", {"city": "Paris"}, None)]
        seen = await asked(chat, "Never mind.", 2)
    assert (seen.status, seen.texts()) == ("ready", ["Let me look.", "It is sunny."])
    assert stage.api.calls[1].body["messages"][1:] == [
        {"role": "assistant", "content": "Let me look."},
        {"role": "user", "content": "Never mind."},
    ]


@libraries
async def test_output_that_comes_later_continues_too(stage: Stage, library: str) -> None:
    """For example after a dialog with the user, in a page that was loaded again meanwhile."""
    stage.script(ASKS, SAYS)
    async with stage.chat(library) as chat:
        await asked(chat, "How is the weather?", 1, {**USE, "outputs": {}})
        await chat("reload")
        await chat("output", {"toolName": "get_weather", "toolCallId": "c1", "output": "sun"})
        seen = await chat("finishes", 2)
    assert (seen.status, seen.texts(), len(seen.messages)) == (
        "ready",
        ["Let me look.It is sunny."],
        2,
    )
    assert stage.api.calls[1].body["messages"][2]["content"] == "sun"


@libraries
@pytest.mark.promise("content:whole")
async def test_images_of_a_question_reach_the_model(stage: Stage, library: str) -> None:
    pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
    files = [
        {"type": "file", "mediaType": "image/png", "url": pixel},
        {"type": "file", "mediaType": "image/jpeg", "url": "https://example.test/a.jpg"},
    ]
    stage.script(SAYS)
    async with stage.chat(library) as chat:
        seen = await chat("push", {"text": "What is this?", "files": files})
    assert seen.texts() == ["It is sunny."]
    assert stage.api.calls[0].body["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": pixel}},
        {"type": "image_url", "image_url": {"url": "https://example.test/a.jpg"}},
        {"type": "text", "text": "What is this?"},
    ]
