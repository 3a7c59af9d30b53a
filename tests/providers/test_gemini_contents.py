"""A conversation becomes the turns that Gemini requires."""

from typing import Any

import pytest
from google.genai import types

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
from streamsvc.provider_errors import ProviderRefused
from streamsvc.providers.gemini.contents import contents
from streamsvc.providers.provider_data import stamped

MODEL, OLDER = "gemini-3.8-flash", "gemini-2.5-flash"
SKIP = "skip"


def sent(*messages: Message, model: str = MODEL, skip: str = "") -> list[dict[str, Any]]:
    """Return the turns, after the SDK has checked their names."""
    turns = contents(messages, model, missing_signature=skip)
    for turn in turns:
        types.Content.model_validate(turn)
    return turns


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"parts": list(parts), "role": "user"}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"parts": list(parts), "role": "model"}


def call(number: int, *, of: str = MODEL, signature: str = "", has_id: bool = True) -> ToolCall:
    """Return a call that a model has made."""
    data = {"google": {"thought_signature": signature}} if signature else {}
    notes = {"id": f"theirs-{number}"} if has_id else {}
    return ToolCall(
        id=f"ours-{number}",
        name=f"f{number}",
        arguments=f'{{"n": {number}}}',
        provider_data=stamped(data, "gemini", of, **notes),
    )


def called(number: int, *, signature: str = "", has_id: bool = True) -> dict[str, Any]:
    """Return the part of such a call."""
    named = {"id": f"theirs-{number}"} if has_id else {}
    part = {"functionCall": {**named, "args": {"n": number}, "name": f"f{number}"}}
    return {**part, "thoughtSignature": signature} if signature else part


def result(number: int, content: str = '{"ok": true}') -> ToolMessage:
    return ToolMessage(tool_call_id=f"ours-{number}", name=f"f{number}", content=content)


def gave(number: int, response: Any = None, *, has_id: bool = True) -> dict[str, Any]:
    """Return the part of a result."""
    named = {"id": f"theirs-{number}"} if has_id else {}
    return {
        "functionResponse": {**named, "name": f"f{number}", "response": response or {"ok": True}}
    }


def step(*calls: ToolCall, text: str = "", **data: Any) -> AssistantMessage:
    return AssistantMessage(text, tool_calls=calls, **data)


ASKED = UserMessage("Q")
Q = user({"text": "Q"})


# What the user says


def test_images_and_files_are_sent_inline() -> None:
    picture = ImagePart(url="data:image/png;charset=x;base64,aQ==", detail="high")
    document = FilePart(url="data:application/pdf;base64,cA==", filename="a.pdf")
    assert sent(UserMessage((TextPart("See"), picture, document))) == [
        user(
            {"text": "See"},
            {"inlineData": {"mimeType": "image/png", "data": "aQ=="}},
            {"inlineData": {"mimeType": "application/pdf", "data": "cA=="}},
        )
    ]


def test_address_that_google_knows_is_passed_on() -> None:
    url = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    assert sent(UserMessage((ImagePart(url=url),))) == [user({"fileData": {"fileUri": url}})]


# Calls and results


def test_calls_of_a_step_follow_its_text() -> None:
    assert sent(ASKED, step(call(1), call(2), text="Hm")) == [
        Q,
        model({"text": "Hm"}, called(1), called(2)),
    ]


@pytest.mark.parametrize(
    ("content", "response"),
    [
        ('{"a": 1}', {"a": 1}),
        ("{}", {}),
        ("sunny", {"result": "sunny"}),
        ("", {"result": ""}),
        ("[1, 2]", {"result": [1, 2]}),
        ("21.5", {"result": 21.5}),
        ('"quoted"', {"result": "quoted"}),
        ("null", {"result": None}),
        ("{broken", {"result": "{broken"}),
        ("NaN", {"result": "NaN"}),
        ("[1e999]", {"result": "[1e999]"}),
        ("[" * 100_000, {"result": "[" * 100_000}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_result_is_an_object_or_within_one(content: str, response: dict[str, Any]) -> None:
    turns = sent(ASKED, step(call(1)), result(1, content))
    assert turns[-1]["parts"][0]["functionResponse"]["response"] == response


def test_results_are_one_turn_in_the_order_of_the_calls() -> None:
    turns = sent(ASKED, step(call(1), call(2), call(3)), result(3), result(1), result(2))
    assert turns == [Q, model(called(1), called(2), called(3)), user(gave(1), gave(2), gave(3))]


def test_results_follow_their_calls_directly() -> None:
    """The API refuses anything between them."""
    turns = sent(ASKED, step(call(1), call(2)), result(2), UserMessage("And?"), result(1))
    assert turns == [
        Q,
        model(called(1), called(2)),
        user(gave(1), gave(2)),
        user({"text": "And?"}),
    ]


def test_calls_after_a_text_of_the_model_join_its_turn() -> None:
    """The API refuses calls that do not follow the user."""
    turns = sent(ASKED, AssistantMessage("Hm"), step(call(1)), step(call(2)), result(2), result(1))
    assert turns == [Q, model({"text": "Hm"}, called(1), called(2)), user(gave(1), gave(2))]


def test_result_without_a_call_comes_last() -> None:
    turns = sent(ASKED, step(call(1)), result(7), result(1))
    assert turns[-1] == user(gave(1), gave(7, has_id=False))


def test_texts_of_one_role_stay_apart() -> None:
    turns = sent(ASKED, ASKED, AssistantMessage("A"), AssistantMessage("B"))
    assert turns == [Q, Q, model({"text": "A"}), model({"text": "B"})]


def test_refusal_is_what_the_model_said() -> None:
    assert sent(ASKED, AssistantMessage(refusal="No.")) == [Q, model({"text": "No."})]


@pytest.mark.parametrize("arguments", ["", "[]", "{", '{"a": NaN}', '{"a": 1e999}', "[" * 100_000])
def test_arguments_that_are_not_an_object_are_refused(arguments: str) -> None:
    broken = ToolCall(id="1", name="f", arguments=arguments)
    with pytest.raises(ProviderRefused):
        sent(ASKED, AssistantMessage(tool_calls=(broken,)))


# Ids and signatures


def test_ids_go_back_only_where_gemini_gave_them() -> None:
    """It does not know generated ids, nor those of another model."""
    mine, bare, foreign = call(1), call(2, has_id=False), call(3, of=OLDER)
    turns = sent(ASKED, step(mine, bare, foreign), result(1), result(2), result(3))
    assert turns[1:] == [
        model(called(1), called(2, has_id=False), called(3, has_id=False)),
        user(gave(1), gave(2, has_id=False), gave(3, has_id=False)),
    ]


def test_id_that_a_client_has_broken_is_left_out() -> None:
    data = stamped({}, "gemini", MODEL, id=["x"])
    broken = ToolCall(id="1", name="f1", arguments='{"n": 1}', provider_data=data)
    assert sent(ASKED, step(broken))[1] == model(called(1, has_id=False))


def test_signature_goes_back_in_the_call_that_had_it() -> None:
    turns = sent(ASKED, step(call(1, signature="c2ln"), call(2)), result(1), result(2), skip=SKIP)
    assert turns[1] == model(called(1, signature="c2ln"), called(2))


def test_each_step_has_its_own_signature() -> None:
    first, second = call(1, signature="QQ=="), call(2, signature="Qg==")
    turns = sent(ASKED, step(first), result(1), step(second), result(2), skip=SKIP)
    assert turns == [
        Q,
        model(called(1, signature="QQ==")),
        user(gave(1)),
        model(called(2, signature="Qg==")),
        user(gave(2)),
    ]


def test_first_call_without_a_signature_skips_the_check() -> None:
    turns = sent(ASKED, step(call(1), call(2), text="Hm"), result(1), result(2), skip=SKIP)
    assert turns[1] == model({"text": "Hm"}, called(1, signature=SKIP), called(2))


def test_signature_of_another_model_is_dropped() -> None:
    foreign = call(1, of=OLDER, signature="c2ln")
    turns = sent(ASKED, step(foreign), skip=SKIP)
    assert turns[1] == model(called(1, signature=SKIP, has_id=False))


@pytest.mark.parametrize(("asked", "skip"), [(OLDER, SKIP), (MODEL, "")])
def test_nothing_stands_in_where_none_is_wanted(asked: str, skip: str) -> None:
    turns = sent(ASKED, step(call(1, of=asked)), model=asked, skip=skip)
    assert turns[1] == model(called(1))


def test_signature_of_another_bridge_is_used() -> None:
    """Google's own OpenAI-compatible API carries it under this name, without a stamp."""
    data = {"google": {"thought_signature": "c2ln"}}
    theirs = ToolCall(id="x", name="f1", arguments='{"n": 1}', provider_data=data)
    turns = sent(ASKED, AssistantMessage(tool_calls=(theirs,)), skip=SKIP)
    assert turns[1] == model(called(1, signature="c2ln", has_id=False))


@pytest.mark.parametrize("broken", [None, 7, "", [], {"a": 1}])
def test_signature_that_is_not_text_is_ignored(broken: object) -> None:
    data = {"google": {"thought_signature": broken}}
    theirs = ToolCall(id="x", name="f1", arguments='{"n": 1}', provider_data=data)
    turns = sent(ASKED, AssistantMessage("Hm", tool_calls=(theirs,), provider_data=data))
    assert turns[1] == model({"text": "Hm"}, called(1, has_id=False))
