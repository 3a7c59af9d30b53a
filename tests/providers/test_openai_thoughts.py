"""The reasoning before tool calls goes back with them, to the servers that want it."""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from streamsvc.config.provider_settings import OpenAISettings
from streamsvc.events import Reasoning
from streamsvc.messages import (
    AssistantMessage,
    Message,
    Prompt,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from streamsvc.provider_errors import ProviderRefused
from streamsvc.providers.base import Finish, Provider
from streamsvc.providers.openai import provider as adapter
from streamsvc.providers.openai.body import BodyWriter
from streamsvc.providers.openai.thoughts import MOST_CHARS
from streamsvc.providers.provider_data import stamped
from support.answering import Piece, answering
from support.upstreams import OPENAI, Step, Upstream, finish, raw, status, text, upstream

pytestmark = pytest.mark.usefixtures("no_certificates")

QUESTION = UserMessage("What time is it?")
TOOLS = (Tool(name="now"),)
CALL = OPENAI.calls(ToolCall(id="call_n", name="now", arguments="{}"))
RESULT = ToolMessage(tool_call_id="call_n", name="now", content="12:00")
STAMP = {"kind": "openai", "model": "gpt-test"}


async def ask(provider: Provider, *messages: Message, tools: Sequence[Tool] = TOOLS) -> list[Piece]:
    prompt = Prompt(messages=messages or (QUESTION,), tools=tuple(tools))
    with anyio.fail_after(10):
        async with answering(provider, prompt) as deltas:
            return [delta async for delta in deltas]


async def turn(api: Upstream, provider: Provider, *steps: Step) -> AssistantMessage:
    """Ask, and return the answer as a client sends it back."""
    api.script((*steps, finish("tool_calls")))
    *_, end = await ask(provider)
    assert isinstance(end, Finish)
    calls = tuple(
        ToolCall(
            id=call.id, name=call.name, arguments=call.arguments, provider_data=call.provider_data
        )
        for call in end.tool_calls
    )
    return AssistantMessage(tool_calls=calls, provider_data=end.provider_data)


async def sent_back(*steps: Step) -> dict[str, Any]:
    """Return the reasoning in the second request, after an answer with these steps."""
    async with upstream() as api, adapter.open_provider(OPENAI.entry(api.url), "") as provider:
        answer = await turn(api, provider, *steps)
        api.script((text("Noon."), finish()))
        await ask(provider, QUESTION, answer, RESULT)
        sent = api.calls[-1].body["messages"][1]
    assert "extra_content" not in sent
    return {name: value for name, value in sent.items() if name.startswith("reasoning")}


def deltas(*fields: Mapping[str, Any]) -> Step:
    return raw(b"".join(OPENAI.choice(dict(it)) for it in fields))


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_goes_back_under_the_name_it_came_with(name: str) -> None:
    steps = (
        deltas({name: "Hm. "}, {name: "The clock."}, {"content": "Wait.", name: None}),
        raw(CALL),
    )
    assert await sent_back(*steps) == {name: "Hm. The clock."}


async def test_empty_reasoning_goes_back_too() -> None:
    """DeepSeek refuses a call without the field, even where there was no reasoning."""
    assert await sent_back(deltas({"reasoning_content": ""}), raw(CALL)) == {
        "reasoning_content": ""
    }


async def test_server_without_reasoning_gets_none() -> None:
    assert await sent_back(raw(CALL)) == {}


async def test_reasoning_after_the_call_goes_back_as_well() -> None:
    steps = (
        deltas({"reasoning": "a"}),
        raw(CALL),
        deltas({"reasoning": "b\ud83d"}, {"reasoning": "\ude42"}),
    )
    assert await sent_back(*steps) == {"reasoning": "ab🙂"}


async def test_reasoning_details_are_joined_by_type_and_index() -> None:
    kind = {"type": "reasoning.text", "format": "a-v1", "index": 0}
    secret = {"type": "reasoning.encrypted", "data": "c2Vj", "index": 1}
    pieces = (
        {"reasoning_details": [{**kind, "text": "Hm. "}]},
        {"reasoning_details": [{**kind, "text": "Ha."}, 7]},
        {
            "reasoning_details": [
                {"type": "reasoning.text", "index": 0, "signature": "c2ln", "text": None}
            ]
        },
        {"reasoning_details": [secret]},
        {"reasoning_details": "odd"},
    )
    whole = {**kind, "text": "Hm. Ha.", "signature": "c2ln"}
    assert await sent_back(deltas(*pieces), raw(CALL)) == {"reasoning_details": [whole, secret]}


async def test_more_reasoning_than_fits_into_a_request_is_not_carried() -> None:
    assert await sent_back(deltas({"reasoning": "x" * (MOST_CHARS + 1)}), raw(CALL)) == {}


async def test_reasoning_is_carried_by_the_first_call_only() -> None:
    calls = [ToolCall(id=f"call_{at}", name="now", arguments="{}") for at in range(2)]
    async with upstream() as api, adapter.open_provider(OPENAI.entry(api.url), "") as provider:
        steps = deltas({"reasoning": "Hm."}), raw(OPENAI.calls(*calls))
        answer = await turn(api, provider, *steps)
    first, second = (call.provider_data for call in answer.tool_calls)
    assert first == {"compatible": {"reasoning": "Hm."}, "streamsvc": STAMP}
    assert second == answer.provider_data == {}


async def test_answer_without_calls_carries_no_reasoning() -> None:
    script = deltas({"reasoning": "Hm."}), text("Noon."), finish()
    async with (
        upstream(*script) as api,
        adapter.open_provider(OPENAI.entry(api.url), "") as provider,
    ):
        said = await ask(provider)
    assert said[0] == Reasoning("Hm.")
    assert isinstance(said[-1], Finish)
    assert (said[-1].tool_calls, said[-1].provider_data) == ((), {})


# Servers that refuse calls without reasoning

REFUSED = status(
    400, {"error": {"message": "The `reasoning_content` in the thinking mode must be passed back."}}
)
WELL = (text("Noon."), finish())


def calling(data: Mapping[str, Any] | None = None) -> AssistantMessage:
    call = ToolCall(id="call_n", name="now", arguments="{}", provider_data=data or {})
    return AssistantMessage(tool_calls=(call,))


@pytest.mark.parametrize(
    "data",
    [
        {},
        stamped({"compatible": {"reasoning_content": "Hm."}}, "openai", "other"),
        {"compatible": {"reasoning": 7}},
    ],
    ids=["none", "of another model", "odd"],
)
async def test_missing_reasoning_is_filled_in_after_a_refusal(data: Mapping[str, Any]) -> None:
    """The calls came from another provider, or a client has lost it; from then on it is filled in at once."""
    async with upstream() as api, adapter.open_provider(OPENAI.entry(api.url), "") as provider:
        api.script((REFUSED,), WELL)
        for _ in range(2):
            await ask(provider, QUESTION, calling(data), RESULT)
    turns = [call.body["messages"][1].get("reasoning_content") for call in api.calls]
    assert turns == [None, " ", " "]
    assert all("stream_options" in call.body for call in api.calls)


async def test_refusal_that_filling_in_does_not_help_is_an_error() -> None:
    async with upstream() as api, adapter.open_provider(OPENAI.entry(api.url), "") as provider:
        api.script((REFUSED,), (REFUSED,), WELL)
        with pytest.raises(ProviderRefused):
            await ask(provider, QUESTION, calling(), RESULT)
        await ask(provider, QUESTION, calling(), RESULT)
    turns = [call.body["messages"][1].get("reasoning_content") for call in api.calls]
    assert turns == [None, " ", None]


async def test_refusal_of_a_question_without_calls_is_not_repeated() -> None:
    async with (
        upstream(REFUSED) as api,
        adapter.open_provider(OPENAI.entry(api.url), "") as provider,
    ):
        with pytest.raises(ProviderRefused):
            await ask(provider)
    assert len(api.calls) == 1


async def test_server_may_refuse_options_and_missing_reasoning() -> None:
    odd = status(422, {"detail": "stream_options: extra fields not permitted"})
    async with upstream() as api, adapter.open_provider(OPENAI.entry(api.url), "") as provider:
        api.script((odd,), (REFUSED,), WELL)
        await ask(provider, QUESTION, calling(), RESULT)
    assert ["stream_options" in call.body for call in api.calls] == [True, False, False]


async def test_openai_gets_no_reasoning_back() -> None:
    """Its API has no field for it."""
    data = {"compatible": {"reasoning_content": "Hm."}}
    for base_url, fields in (("", {}), ("http://a.test/v1", data["compatible"])):
        writer = BodyWriter(OpenAISettings(model="gpt-test", base_url=base_url))
        _, sent = writer.body(Prompt(messages=(QUESTION, calling(data))))["messages"]
        assert {name: value for name, value in sent.items() if "reasoning" in name} == fields
