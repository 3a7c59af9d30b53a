"""An answer of Gemini, read into events and sent back as history, is the same to the letter."""

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.events import Delta, Text
from streamsvc.messages import AssistantMessage, ToolCall, UserMessage
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.base import Finish
from streamsvc.providers.gemini.chunks import ChunkReader
from streamsvc.providers.gemini.contents import contents

MODEL = "gemini-3.8-flash"

Part = dict[str, Any]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
ARGUMENTS = st.dictionaries(st.text(max_size=3), VALUES, max_size=3)
SIGNATURES = st.sampled_from(["", "", "c2ln", "YWJj+/8="])
TEXTS = st.builds(
    lambda words, signature: signed({"text": words}, signature), st.text(max_size=3), SIGNATURES
)
CALLS = st.builds(
    lambda args, has_id, signature: signed({"functionCall": {"args": args, "id": has_id, "name": "f"}}, signature),
    ARGUMENTS, st.booleans(), SIGNATURES,
)  # fmt: skip


def signed(part: Part, signature: str) -> Part:
    return {**part, "thoughtSignature": signature} if signature else part


def with_ids(parts: list[Part]) -> list[Part]:
    """Return parts whose calls have ids of their own where they should have one."""
    numbers = count(1)
    for part in parts:
        if function := part.get("functionCall"):
            has_id = function.pop("id")
            function |= {"id": f"theirs-{next(numbers)}"} if has_id else {}
    return parts


def joined(parts: list[Part]) -> list[Part]:
    """Return parts with neighbouring texts joined that have no signature; empty ones are nothing."""
    whole: list[Part] = []
    for part in parts:
        if part == {"text": ""}:
            continue
        if whole and part.keys() == whole[-1].keys() == {"text"}:
            whole[-1] = {"text": whole[-1]["text"] + part["text"]}
        else:
            whole.append(part)
    return whole or [{"text": ""}]


def answer(chunks: list[list[Part]]) -> tuple[str, Finish]:
    """Return the text and the end of an answer that arrives in these chunks."""
    deltas: list[Delta] = []
    so_far = AnswerSoFar(lambda it: None if isinstance(it, Finish) else deltas.append(it))
    reader = ChunkReader(so_far, MODEL)
    for parts in chunks:
        candidate = {"content": {"role": "model", "parts": parts}}
        reader.take(json.dumps({"candidates": [candidate]}).encode())
    reader.take(b'{"candidates": [{"finishReason": "STOP"}]}')
    return "".join(it.text for it in deltas if isinstance(it, Text)), so_far.finish()


def through_a_client(text: str, end: Finish) -> AssistantMessage:
    """Return the message that a client keeps and sends, as JSON."""
    calls = [
        ToolCall(
            id=it.id,
            name=it.name,
            arguments=it.arguments,
            provider_data=json.loads(json.dumps(it.provider_data)),
        )
        for it in end.tool_calls
    ]
    data = json.loads(json.dumps(end.provider_data))
    return AssistantMessage(text, tool_calls=tuple(calls), provider_data=data)


@pytest.mark.promise("content:exact")
@given(st.lists(st.lists(TEXTS | CALLS, max_size=3), max_size=4))
async def test_answer_goes_back_to_the_letter(chunks: list[list[Part]]) -> None:
    parts = with_ids([part for chunk in chunks for part in chunk])
    message = through_a_client(*answer(chunks))
    [_, turn] = contents((UserMessage("Q"), message), MODEL)
    assert turn["role"] == "model"
    assert json.dumps(turn["parts"], sort_keys=True) == json.dumps(joined(parts), sort_keys=True)
