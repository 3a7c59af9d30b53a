"""The messages of a page: which turns the model gets, and what a replay repeats of a message."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.config.settings import AISDKSettings, GenerationSettings, LimitSettings
from streamsvc.dialects.ai_sdk.request import ChatRequest, UIMessageParser
from streamsvc.dialects.json_body import Body
from streamsvc.dialects.request import RequestBuilder
from streamsvc.errors import InvalidField, MalformedRequest, RequestError, RequestTooLarge
from streamsvc.messages import (
    AssistantMessage,
    FilePart,
    ImagePart,
    Message,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from support.eventstream import parse as events_of

LIMITS = LimitSettings(max_images=2)
BUILDER = RequestBuilder(
    default_provider="fake", models={}, limits=LIMITS, generations=GenerationSettings()
)
PARSER = UIMessageParser(BUILDER, AISDKSettings(), GenerationSettings())

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
ASKED = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
NEXT = {"id": "m3", "role": "user", "parts": [{"type": "text", "text": "And now?"}]}
STEP = {"type": "step-start"}


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, "state": "done", **fields}


def tool(state: str, call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    """Return the part of a call of the tool `weather`."""
    call = {"type": "tool-weather", "toolCallId": call_id, "state": state}
    return {**call, "input": {"city": "Paris"}, **fields}


def answer(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "m2", "role": "assistant", "parts": [*parts], **fields}


def parse(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    body = msgspec.json.encode({"id": "chat", "messages": messages, **fields})
    return PARSER.parse(Body(body), may_come_back=True)


def turns(*messages: dict[str, Any]) -> list[Message]:
    """Return what the model gets after the first question."""
    return list(parse(*messages).generation.prompt.messages[1:])


def refusal(*messages: dict[str, Any]) -> tuple[str | None, str]:
    """Return the field and the sentence of a refusal."""
    with pytest.raises(RequestError) as caught:
        parse(*messages)
    return caught.value.field, caught.value.message


def call(call_id: str = "c1", arguments: str = '{"city":"Paris"}', **fields: Any) -> ToolCall:
    return ToolCall(id=call_id, name="weather", arguments=arguments, **fields)


def result(content: str, call_id: str = "c1") -> ToolMessage:
    return ToolMessage(tool_call_id=call_id, name="weather", content=content)


RESULTS: dict[str, tuple[dict[str, Any], str]] = {
    "text": (tool("output-available", output="Sunny."), "Sunny."),
    "empty-text": (tool("output-available", output=""), ""),
    "object": (tool("output-available", output={"sky": ["é"]}), '{"sky":["é"]}'),
    "number": (tool("output-available", output=21.50), "21.5"),
    "null": (tool("output-available", output=None), "null"),
    "undefined": (tool("output-available"), "null"),
    "error": (tool("output-error", errorText="No such city."), "No such city."),
    "denied": (tool("output-denied", approval={"id": "a", "approved": False, "reason": "No."}), "No."),
    "denied-without-reason": (tool("output-denied"), "Tool call execution denied."),
    "just-denied": (tool("approval-responded", approval={"id": "a", "approved": False}), "Tool call execution denied."),
    "dynamic": ({**tool("output-available", output="Sunny."), "type": "dynamic-tool", "toolName": "weather"}, "Sunny."),
}  # fmt: skip


@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("name", RESULTS)
def test_call_with_an_end_is_a_call_and_its_result(name: str) -> None:
    part, content = RESULTS[name]
    expected = [AssistantMessage("Let me look.", tool_calls=(call(),)), result(content)]
    assert turns(ASKED, answer(STEP, text("Let me look."), part)) == expected


WITHOUT_RESULT: dict[str, dict[str, Any]] = {
    "draft": tool("input-streaming", rawInput='{"ci'),
    "not-answered": tool("input-available"),
    "approval-requested": tool("approval-requested", approval={"id": "a"}),
    "approved": tool("approval-responded", approval={"id": "a", "approved": True}),
    "preliminary": tool("output-available", output="Sun", preliminary=True),
    "run-by-the-provider": tool("output-available", output="Sun", providerExecuted=True),
}


@pytest.mark.parametrize("name", WITHOUT_RESULT)
def test_call_without_a_result_is_left_out_later(name: str) -> None:
    message = answer(STEP, text("Let me look."), WITHOUT_RESULT[name])
    expected = [AssistantMessage("Let me look."), UserMessage("And now?")]
    assert turns(ASKED, message, NEXT) == expected


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", WITHOUT_RESULT)
def test_last_step_is_not_continued_before_its_outputs(name: str) -> None:
    """A draft and a tool of the provider never get an output from the page."""
    message = answer(STEP, tool("output-available", "c0", output=1), WITHOUT_RESULT[name])
    if name in ("draft", "run-by-the-provider"):
        assert len(turns(ASKED, message)) == 2
    else:
        sentence = "Invalid 'messages[1].parts[2]': the call 'c1' has no output yet."
        assert refusal(ASKED, message) == ("messages[1].parts[2]", sentence)


@pytest.mark.promise("content:whole")
def test_each_step_is_a_turn_and_its_results() -> None:
    message = answer(
        STEP,
        {"type": "reasoning", "text": "Hm.", "state": "done"},
        text("Two "),
        text("cities."),
        tool("output-available", "c1", output=1),
        tool("output-error", "c2", errorText="No."),
        {"type": "source-url", "sourceId": "s", "url": "https://a.test"},
        STEP,
        tool("output-available", "c3", output=3),
        STEP,
        {"type": "file", "mediaType": "image/gif", "url": PIXEL},
        {"type": "data-note", "data": 1},
        text("Done."),
        STEP,
    )
    assert turns(ASKED, message, NEXT) == [
        AssistantMessage("Two cities.", tool_calls=(call("c1"), call("c2"))),
        result("1", "c1"),
        result("No.", "c2"),
        AssistantMessage(tool_calls=(call("c3"),)),
        result("3", "c3"),
        AssistantMessage("Done."),
        UserMessage("And now?"),
    ]


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"input": None, "rawInput": '{"ci'}, "{}"),
        ({"input": "Paris"}, "{}"),
        ({"input": None, "rawInput": {"city": 1}}, '{"city":1}'),
        ({}, '{"city":"Paris"}'),
    ],
)
def test_failed_call_may_have_an_invalid_input(given: dict[str, Any], arguments: str) -> None:
    message = answer(tool("output-error", errorText="Invalid input.", **given))
    assert turns(ASKED, message)[0] == AssistantMessage(tool_calls=(call(arguments=arguments),))


@pytest.mark.promise("content:exact")
def test_provider_data_comes_back_to_its_turn_and_call() -> None:
    signed = {"google": {"thought_signature": "a"}, "streamsvc": {"kind": "gemini", "model": "b"}}
    message = answer(
        STEP,
        {"type": "reasoning", "text": "Hm.", "providerMetadata": {"other": {"a": 1}}},
        text("Look.", providerMetadata=signed),
        tool("output-available", output=1, callProviderMetadata=signed),
        STEP,
        text("Done.", providerMetadata={"google": {"thought_signature": "c"}}),
    )
    said, _, last = turns(ASKED, message)
    assert isinstance(said, AssistantMessage)
    assert said.provider_data == {"other": {"a": 1}, **signed}
    assert said.tool_calls == (call(provider_data=signed),)
    assert last == AssistantMessage("Done.", provider_data={"google": {"thought_signature": "c"}})


def test_id_that_a_server_repeats_is_unique_in_the_page() -> None:
    """The model gets its own id back."""
    generation = "gen_abc"
    asked = parse(ASKED, answer(tool("output-available", "0", output=1)))
    assert asked.context.call_ids == {"0"}
    own = asked.context.id_in_page("0", generation)
    assert own == "0~gen_abc"
    assert asked.context.id_in_page("1", generation) == "1"
    again = answer(tool("output-available", own, output=1))
    assert turns(ASKED, again) == turns(ASKED, answer(tool("output-available", "0", output=1)))


def test_files_of_the_user_are_images_and_documents() -> None:
    pdf = "data:application/pdf;base64,JVBERi0xLjc="
    question = {
        "role": "user",
        "parts": [
            {"type": "file", "mediaType": "image/gif", "url": PIXEL, "filename": "a.gif"},
            {"type": "file", "mediaType": "application/pdf", "url": pdf, "filename": "a.pdf"},
            text("What?"),
        ],
    }
    (asked,) = parse(question).generation.prompt.messages
    parts = (ImagePart(url=PIXEL), FilePart(url=pdf, filename="a.pdf"), TextPart("What?"))
    assert asked == UserMessage(parts)
    (asked,) = parse({"role": "user", "parts": [{"type": "file", "mediaType": "image", "url": "https://a.test/b"}]}).generation.prompt.messages  # fmt: skip
    assert asked == UserMessage((ImagePart(url="https://a.test/b"),))


REFUSED: dict[str, tuple[tuple[dict[str, Any], ...], str, str]] = {
    "state": (
        (ASKED, answer(tool("done"))),
        "messages[1].parts[0].state",
        "Invalid 'messages[1].parts[0].state': 'done' is unknown; accepted: input-streaming, ",
    ),
    "input": (
        (ASKED, answer(STEP, tool("output-available", input=[1]))),
        "messages[1].parts[1].input",
        "Invalid 'messages[1].parts[1].input': the input of a call is an object.",
    ),
    "name": (
        (ASKED, answer({**tool("output-error"), "type": "tool-a b"})),
        "messages[1].parts[0].type",
        "Invalid 'messages[1].parts[0].type': a name has 1 to 64 letters, digits, '_' or '-'.",
    ),
    "dynamic-name": (
        (ASKED, answer({**tool("output-error"), "type": "dynamic-tool"})),
        "messages[1].parts[0].toolName",
        "Invalid 'messages[1].parts[0].toolName': a name has 1 to 64 ",
    ),
    "id": (
        (ASKED, answer(tool("output-error", ""))),
        "messages[1].parts[0].toolCallId",
        "Invalid 'messages[1].parts[0].toolCallId': it is empty.",
    ),
    "same-id": (
        (ASKED, answer(tool("output-error"), tool("output-error"))),
        "messages[1].parts[1].toolCallId",
        "Invalid 'messages[1].parts[1].toolCallId': another call of the same message has it.",
    ),
    "part-of-an-answer": (
        (ASKED, answer(STEP, {"type": "audio"})),
        "messages[1].parts[1]",
        "Parts of type 'audio' are not supported.",
    ),
    "file-of-the-system": (
        ({"role": "system", "parts": [{"type": "file", "mediaType": "image/gif", "url": PIXEL}]}, ASKED),
        "messages[0].parts[0].type",
        "Invalid 'messages[0].parts[0].type': system messages have only parts of the type 'text'.",
    ),
    "too-many-files": (
        (ASKED, {"role": "user", "parts": [text("a"), *[{"type": "file", "mediaType": "image/gif", "url": PIXEL}] * 3]}),
        "messages[1].parts[3].url",
        "The messages have more than 2 images and files (limits.max_images).",
    ),
}  # fmt: skip


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", REFUSED)
def test_refusal_names_the_part(name: str) -> None:
    messages, field, sentence = REFUSED[name]
    assert refusal(*messages)[0] == field
    assert refusal(*messages)[1].startswith(sentence)
    kind = RequestTooLarge if name == "too-many-files" else InvalidField
    with pytest.raises(kind):
        parse(*messages)


@pytest.mark.promise("input:clear-error")
def test_input_that_is_not_utf_8_is_refused() -> None:
    body = json.dumps(
        {"id": "a", "messages": [ASKED, answer(tool("output-available", output="?"))]}
    )
    with pytest.raises(MalformedRequest, match=r"The body is not UTF-8 at line 1, column \d+\."):
        PARSER.parse(Body(body.encode().replace(b"?", b"\xff")), may_come_back=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
STATES = (*RESULTS.keys(), "output-available", "output-error", "output-denied", "input-streaming")
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["tool-a", "dynamic-tool", "text", "reasoning", "file", "data-a", "step-start", "custom"])},
    optional={
        "state": st.sampled_from(STATES),
        "toolCallId": st.sampled_from(["1", "2", "3", "", "1~gen_a"]),
        "toolName": st.just("a"),
        "text": st.text(),
        "url": st.sampled_from([PIXEL, "https://a.test", ""]),
        "mediaType": st.just("image/gif"),
        "input": JSON | st.just({}),
        "output": JSON,
        "data": JSON,
        "errorText": st.text(),
        "approval": st.fixed_dictionaries({"approved": st.booleans()}),
        "providerMetadata": st.dictionaries(st.text(), JSON, max_size=2),
        "callProviderMetadata": st.dictionaries(st.text(), JSON, max_size=2),
    },
)  # fmt: skip


def attempt(*messages: dict[str, Any]) -> ChatRequest | RequestError:
    """Return what a body asks for, or its refusal."""
    try:
        return parse(*messages)
    except RequestError as exc:
        return exc


@pytest.mark.promise("input:clear-error")
@settings(deadline=None)
@given(said=st.lists(PARTS, max_size=5), asked=st.lists(PARTS, max_size=2))
def test_any_message_is_read_or_refused_by_name(
    said: list[dict[str, Any]], asked: list[dict[str, Any]]
) -> None:
    """Whatever a replay repeats is JSON, in one block for each chunk."""
    request = attempt(ASKED, {"role": "user", "parts": asked}, answer(*said))
    if isinstance(request, RequestError):
        assert isinstance(request, InvalidField | RequestTooLarge)
        assert (request.field or "").startswith(("messages[1].", "messages[2]."))
        return
    blocks = request.context.earlier.split(b"\n\n")[:-1]
    assert all(json.loads(block.removeprefix(b"data: "))["type"] for block in blocks)
    assert all(len(block.decode().splitlines()) == 1 for block in blocks)


def test_answer_continues_the_message_that_the_hook_continues() -> None:
    earlier, last = answer(text("a")), {**answer(text("b")), "id": "m4"}
    assert parse(ASKED).context.message == ""
    assert parse(ASKED, earlier, NEXT).context.message == ""
    assert parse(ASKED, earlier).context.message == "m2"
    assert parse(ASKED, earlier, NEXT, last).context.message == "m4"
    assert parse(ASKED, earlier, NEXT, last, messageId="m4").context.message == "m4"
    assert parse(ASKED, earlier, NEXT, messageId="m2").context.message == "m2"
    assert parse(ASKED, earlier, NEXT, messageId="m3").context.message == ""
    assert parse(ASKED, earlier, trigger="regenerate-message", messageId="m2").context.message == ""
    assert parse(ASKED, {**earlier, "id": ""}).context.message == ""


def repeated(*parts: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """Return the chunks of a message that a replay of its next step repeats."""
    earlier = parse(ASKED, answer(*parts, **fields)).context.earlier
    return [json.loads(event.data) for event in events_of(earlier)]


START = {"type": "tool-input-start", "toolCallId": "c1", "toolName": "weather"}
DELTA = {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"city":"Paris"}'}
ENDED = {"toolCallId": "c1", "type": "tool-output-error"}

REPEATED: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "text": (
        text("a\u2028", providerMetadata={"a": {"b": None}}),
        [
            {"type": "text-start", "id": "earlier-1", "providerMetadata": {"a": {"b": None}}},
            {"type": "text-delta", "id": "earlier-1", "delta": "a\u2028"},
            {"type": "text-end", "id": "earlier-1"},
        ],
    ),
    "reasoning": (
        {"type": "reasoning", "id": "1", "text": "Hm."},
        [
            {"type": "reasoning-start", "id": "1"},
            {"type": "reasoning-delta", "id": "1", "delta": "Hm."},
            {"type": "reasoning-end", "id": "1"},
        ],
    ),
    "output": (
        tool("output-available", output={"a": [1]}, callProviderMetadata={"a": {"b": 1}}, title="W", preliminary=False),
        [
            {**START, "title": "W", "providerMetadata": {"a": {"b": 1}}},
            DELTA,
            {"type": "tool-output-available", "toolCallId": "c1", "output": {"a": [1]}, "preliminary": False},
        ],
    ),
    "undefined-output": (tool("output-available"), [START, DELTA, {"type": "tool-output-available", "toolCallId": "c1", "output": None}]),
    "error": (
        tool("output-error", errorText="No.", resultProviderMetadata={"a": {"b": 1}}),
        [START, DELTA, {**ENDED, "errorText": "No.", "providerMetadata": {"a": {"b": 1}}}],
    ),
    "without-input": (
        {"type": "tool-weather", "toolCallId": "c1", "state": "output-error", "errorText": "No."},
        [START, {**ENDED, "errorText": "No."}],
    ),
    "denied": (tool("output-denied"), [START, DELTA, {"type": "tool-output-denied", "toolCallId": "c1"}]),
    "just-denied": (
        tool("approval-responded", approval={"id": "a", "approved": False, "reason": "No."}),
        [START, DELTA, {**ENDED, "errorText": "No."}],
    ),
    "draft": ({**tool("input-streaming"), "input": {}}, [START, {**DELTA, "inputTextDelta": "{}"}]),
    "dynamic": (
        {**tool("output-denied"), "type": "dynamic-tool", "toolName": "weather", "providerExecuted": False},
        [
            {**START, "dynamic": True, "providerExecuted": False},
            DELTA,
            {"type": "tool-output-denied", "toolCallId": "c1"},
        ],
    ),
    "file": (
        {"type": "file", "mediaType": "image/gif", "url": PIXEL},
        [{"type": "file", "mediaType": "image/gif", "url": PIXEL}],
    ),
    "source": (
        {"type": "source-document", "sourceId": "s", "mediaType": "a/b", "title": "T"},
        [{"type": "source-document", "sourceId": "s", "mediaType": "a/b", "title": "T"}],
    ),
    "data": ({"type": "data-note", "id": "n", "data": [1]}, [{"type": "data-note", "id": "n", "data": [1]}]),
    "data-without-id": ({"type": "data-note"}, [{"type": "data-note", "data": None}]),
}  # fmt: skip


@pytest.mark.promise("resume:no-gap")
@pytest.mark.parametrize("name", REPEATED)
def test_replay_repeats_a_part(name: str) -> None:
    part, chunks = REPEATED[name]
    assert repeated(STEP, part) == [{"type": "start-step"}, *chunks, {"type": "finish-step"}]


def test_replay_repeats_steps_and_metadata() -> None:
    chunks = repeated(text("a"), STEP, STEP, metadata={"a": 1})
    assert chunks[0] == {"type": "message-metadata", "messageMetadata": {"a": 1}}
    assert [chunk["type"] for chunk in chunks[1:]] == [
        "text-start", "text-delta", "text-end", "start-step", "finish-step", "start-step", "finish-step",
    ]  # fmt: skip
