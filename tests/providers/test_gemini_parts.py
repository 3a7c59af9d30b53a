"""What is noted of an answer's parts, and where signatures go back.

That every answer goes back to the letter is in `test_gemini_round_trip`.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.messages import ProviderData, ToolCall
from streamsvc.providers.gemini.parts import MOST_PARTS, AnswerParts, answer_parts, call_part

MODEL = "gemini-3.8-flash"

Seen = dict[str, Any]


class Answer:
    """Takes the parts of an answer, and makes the message that a client sends back."""

    def __init__(self, *parts: Seen) -> None:
        self.text = ""
        self.calls: list[ToolCall] = []
        self.data: ProviderData = {}
        noted = AnswerParts(MODEL, self._keep)
        for part in parts:
            signature = part.get("thoughtSignature", "")
            if function := part.get("functionCall"):
                data = noted.take_call(function.get("id"), signature)
                self.calls.append(
                    ToolCall(id="ours", name=function["name"], arguments="{}", provider_data=data)
                )
            else:
                noted.take_text(part["text"], signature)
                self.text += part["text"]

    def _keep(self, data: ProviderData) -> None:
        self.data = data

    def back(self, text: str | None = None, model: str = MODEL) -> list[Seen]:
        """Return the parts that go back."""
        calls = [call_part(call, {}, model) for call in self.calls]
        return answer_parts(self.text if text is None else text, calls, self.data, model)


def text(words: str, signature: str = "") -> Seen:
    return {"text": words, "thoughtSignature": signature} if signature else {"text": words}


def call(call_id: str = "", signature: str = "") -> Seen:
    named = {"id": call_id} if call_id else {}
    part: Seen = {"functionCall": {**named, "args": {}, "name": "f"}}
    return {**part, "thoughtSignature": signature} if signature else part


SIGNATURES = st.sampled_from(["", "", "c2ln", "YWJj+/8="])
PARTS = st.one_of(
    st.builds(text, st.text(max_size=3), SIGNATURES),
    st.builds(call, st.sampled_from(["", "id-1"]), SIGNATURES),
)


@given(st.lists(PARTS, max_size=8))
def test_nothing_goes_back_to_another_model(parts: list[Seen]) -> None:
    back = Answer(*parts).back(model="gemini-3.1-pro")
    assert not any("thoughtSignature" in part for part in back)
    assert not any("id" in part.get("functionCall", {}) for part in back)


@given(st.lists(PARTS, max_size=8), st.text(max_size=4))
def test_changed_text_is_sent_as_it_is(parts: list[Seen], changed: str) -> None:
    """A client may have cut or edited it; calls and their signatures stay."""
    answer = Answer(*parts)
    back = answer.back(changed)
    assert "".join(part.get("text", "") for part in back) == changed
    assert [part for part in back if "functionCall" in part] == [
        part for part in parts if "functionCall" in part
    ]


def test_plain_answer_has_no_data() -> None:
    assert Answer(text("A"), text("B"), call()).data == {}


def test_signature_of_a_whole_text_needs_no_note() -> None:
    assert Answer(text("AB", "S"), call("1")).data == {
        "google": {"thought_signature": "S"},
        "streamsvc": {"kind": "gemini", "model": MODEL},
    }


def test_signature_of_an_empty_text_notes_where_it_stands() -> None:
    assert Answer(text("A"), text("B"), text("", "S")).data == {
        "google": {"thought_signature": "S"},
        "streamsvc": {"kind": "gemini", "model": MODEL, "parts": [[2], [0, True]]},
    }


@pytest.mark.parametrize(
    "notes",
    [
        [[1], [0, True], "call"],
        [[9]],
        [[-1], [0, True]],
        [[1.5]],
        [["1"]],
        [[1, True, 2]],
        ["text"],
        [None],
        [[]],
    ],
    ids=str,
)
def test_notes_that_do_not_fit_are_dropped(notes: list[Any]) -> None:
    data = {
        "google": {"thought_signature": "S"},
        "streamsvc": {"kind": "gemini", "model": MODEL, "parts": notes},
    }
    assert answer_parts("AB", [], data, MODEL) == [text("AB", "S")]


def test_notes_have_a_limit() -> None:
    """An upstream that signs every word costs no more than one that does not."""
    signed = [text("A", f"c2ln{at:04}") for at in range(MOST_PARTS)]
    assert Answer(*signed).back() == signed
    assert Answer(*signed, text("B", "Qg==")).back() == [text("A" * MOST_PARTS + "B", "Qg==")]


def test_notes_without_a_call_are_dropped() -> None:
    data = {"streamsvc": {"kind": "gemini", "model": MODEL, "parts": [[2]]}}
    assert answer_parts("AB", [call()], data, MODEL) == [text("AB"), call()]
