"""The shapes of chunks: needed fields are read, and the rest is skipped."""

import json
from typing import Any

import pytest
from provider import UPSTREAMS, UpstreamSubject, end_of, every_upstream, finishes, texts, thoughts

from streamsvc.provider_errors import UpstreamInvalid
from support.upstreams import DONE, GEMINI, OPENAI, USAGE, Wire, finish, frame, raw, text

pytestmark = pytest.mark.usefixtures("no_certificates")

ODD: tuple[object, ...] = (
    None, 7, 0, True, [], {}, "", "ping", [None], [[]], {"id": "x"},
    {"choices": None, "candidates": None},
    {"choices": {}, "candidates": {}},
    {"choices": 7, "candidates": 7},
    {"choices": [None, 7, []], "candidates": [None, 7, []]},
    {"choices": [{}], "candidates": [{}]},
    {"choices": [{"delta": []}], "candidates": [{"content": []}]},
    {"choices": [{"delta": None}], "candidates": [{"content": None}]},
    {"choices": [{"delta": 7}], "candidates": [{"content": False}]},
    {"choices": [{"delta": {"content": []}}], "candidates": [{"content": {"parts": {}}}]},
    {"choices": [{"delta": {"content": {}}}], "candidates": [{"content": {"parts": [None]}}]},
    {"choices": [{"delta": {"role": 7}, "logprobs": "x"}], "candidates": [{"safetyRatings": 7}]},
    {"choices": [{"delta": {"tool_calls": "x", "reasoning": {"effort": "low"}}}]},
    {"choices": [{"delta": {"content": [{"type": "reference", "reference_ids": [1]}]}}]},
    {"choices": [{"finish_reason": False}], "candidates": [{"finishReason": 0}]},
    {"candidates": [{"content": {"parts": [{"functionCall": 7}, {"thoughtSignature": 8}]}}]},
    {"usage": "none", "usageMetadata": "none"},
    {"usage": [], "usageMetadata": []},
    {"usage": {"prompt_tokens": {}}, "usageMetadata": {"promptTokenCount": {}}},
    {"model": 7, "modelVersion": 7, "created": "yesterday", "promptFeedback": 7},
    {"error": None}, {"error": ""}, {"error": {}}, {"error": []}, {"error": False},
)  # fmt: skip
"""Chunks without text."""


@every_upstream
@pytest.mark.parametrize("odd", ODD, ids=lambda value: json.dumps(value)[:60])
async def test_unneeded_fields_may_hold_anything(subject: UpstreamSubject, odd: object) -> None:
    script = raw(frame(odd)), text("One "), raw(frame(odd)), text("two"), finish()
    deltas, error = await end_of(subject, *script)
    assert (texts(deltas), error) == (["One ", "two"], None)
    assert [(end.reason, end.usage) for end in finishes(deltas)] == [("stop", USAGE)]


@every_upstream
@pytest.mark.parametrize("payload", [b"", b" ", b'"[DONE]"', b" [DONE] "], ids=repr)
async def test_payload_may_be_blank_and_done_padded(
    subject: UpstreamSubject, payload: bytes
) -> None:
    wire = subject.wire
    script = raw(b"data:\n\n" + wire.token("One") + wire.reason() + b"data: %b\n\n" % payload)
    deltas, error = await end_of(subject, script)
    assert (texts(deltas), error) == (["One"], None)


def _openai(**choice: Any) -> bytes:
    return frame({"choices": [choice]})


def _gemini(content: object, **fields: Any) -> bytes:
    return frame({"candidates": [{"content": content, **fields}]})


def _says(content: object) -> bytes:
    return _openai(delta={"content": content})


WORDS: tuple[tuple[str, Wire, bytes, str, str], ...] = (
    ("text parts", OPENAI, _says([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "", "ab"),
    ("bare parts", OPENAI, _says(["a", "b"]), "", "ab"),
    ("one part", OPENAI, _says({"type": "text", "text": "a"}), "", "a"),
    ("a part with a value", OPENAI, _says({"type": "text", "text": {"value": "a"}}), "", "a"),
    ("output text", OPENAI, _says([{"type": "output_text", "text": "a"}]), "", "a"),
    (
        "Mistral's thinking", OPENAI,
        _says([{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}, {"type": "text", "text": "a"}]),
        "h", "a",
    ),
    ("thinking as text", OPENAI, _says([{"type": "thinking", "thinking": "h"}]), "h", ""),
    ("reasoning part", OPENAI, _says([{"type": "reasoning", "text": "h"}]), "h", ""),
    ("a number", OPENAI, _says(42), "", "42"),
    ("an index as text", OPENAI, _openai(index="0", delta={"content": "a"}), "", "a"),
    ("an odd index", OPENAI, _openai(index=[], delta={"content": "a"}), "", "a"),
    ("another choice", OPENAI, _openai(index="1", delta={"content": "a"}), "", ""),
    ("one choice, not a list", OPENAI, frame({"choices": {"delta": {"content": "a"}}}), "", "a"),
    ("a list of chunks", OPENAI, frame([{"choices": [{"delta": {"content": "a"}}]}]), "", "a"),
    ("a message", OPENAI, _openai(message={"content": "a"}), "", "a"),
    ("a message beside null", OPENAI, _openai(delta=None, message={"content": "a"}), "", "a"),
    ("a message beside nothing", OPENAI, _openai(delta={}, message={"content": "a"}), "", "a"),
    ("a message of parts", OPENAI, _openai(message={"content": [{"type": "text", "text": "a"}]}), "", "a"),
    ("a delta that is text", OPENAI, _openai(delta="a"), "", "a"),
    ("text as of old", OPENAI, _openai(text="a"), "", "a"),
    ("reasoning of parts", OPENAI, _openai(delta={"reasoning": [{"text": "h"}]}), "h", ""),
    ("odd beside words", OPENAI, frame({"model": [], "choices": [{"delta": {"content": "a", "role": {}}}]}), "", "a"),
    ("one part", GEMINI, _gemini({"parts": {"text": "a"}}), "", "a"),
    ("bare parts", GEMINI, _gemini({"parts": ["a", "b"]}), "", "ab"),
    ("content that is text", GEMINI, _gemini("a"), "", "a"),
    ("content that is parts", GEMINI, _gemini([{"text": "a"}]), "", "a"),
    ("odd parts between", GEMINI, _gemini({"parts": [None, False, {"text": "a"}, {"inlineData": 7}]}), "", "a"),
    ("a thought as text", GEMINI, _gemini({"parts": [{"text": "h", "thought": "true"}]}), "h", ""),
    ("an index as text", GEMINI, _gemini({"parts": [{"text": "a"}]}, index="0"), "", "a"),
    ("another candidate", GEMINI, _gemini({"parts": [{"text": "a"}]}, index="1"), "", ""),
    ("one candidate, not a list", GEMINI, frame({"candidates": {"content": {"parts": [{"text": "a"}]}}}), "", "a"),
    ("a list of chunks", GEMINI, frame([{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}]), "", "a"),
    ("an odd part of the count", GEMINI, _gemini({"parts": [{"text": "a"}]}, tokenCount="x"), "", "a"),

)  # fmt: skip
"""A name, the API, a chunk, and its reasoning and text."""


@pytest.mark.parametrize(
    ("wire", "data", "thought", "said"),
    [
        pytest.param(*row, id=f"{'openai' if row[0] is OPENAI else 'gemini'}-{name}")
        for name, *row in WORDS
    ],
)
async def test_words_are_read_in_any_known_shape(
    wire: Wire, data: bytes, thought: str, said: str
) -> None:
    subject = UPSTREAMS[wire is GEMINI]
    deltas, error = await end_of(subject, raw(data), finish())
    assert ("".join(thoughts(deltas)), "".join(texts(deltas)), error) == (thought, said, None)


@every_upstream
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    "odd",
    [{"words": "One"}, [[[[["One"]]]]], {"text": {"text": {"text": {"text": {"text": "One"}}}}}],
)
async def test_words_of_unknown_shape_are_an_error(subject: UpstreamSubject, odd: object) -> None:
    chunk = {
        "choices": [{"delta": {"content": odd}}],
        "candidates": [{"content": {"parts": [{"text": odd}]}}],
    }
    deltas, error = await end_of(subject, raw(frame(chunk)), finish())
    assert (deltas, type(error)) == ([], UpstreamInvalid)


async def test_message_that_repeats_the_deltas_is_skipped() -> None:
    """MiniMax ends a stream with such a message, and Perplexity sends one in each chunk."""
    beside = _openai(delta={"content": "b"}, message={"content": "ab"})
    end = _openai(message={"content": "ab"}, finish_reason="stop")
    deltas, error = await end_of(UPSTREAMS[0], text("a"), raw(beside + end + DONE))
    assert (texts(deltas), error) == (["a", "b"], None)


async def test_messages_instead_of_deltas_are_all_emitted() -> None:
    data = b"".join(_openai(message={"content": word}) for word in "abc")
    deltas, error = await end_of(UPSTREAMS[0], raw(data), finish())
    assert (texts(deltas), error) == (["a", "b", "c"], None)


@every_upstream
@pytest.mark.parametrize("value", [1, 2.5, True, ["stop"], {"type": "stop"}], ids=repr)
async def test_finish_reason_of_another_type_is_a_reason(
    subject: UpstreamSubject, value: object
) -> None:
    end = {"choices": [{"finish_reason": value}], "candidates": [{"finishReason": value}]}
    deltas, error = await end_of(subject, text("One"), raw(frame(end)))
    assert error is None
    assert [end.reason for end in finishes(deltas)] == ["other"]


@every_upstream
async def test_token_counts_may_be_strings(subject: UpstreamSubject) -> None:
    counted = {
        "usage": {"prompt_tokens": "3", "completion_tokens": 5.0},
        "usageMetadata": {"promptTokenCount": "3", "candidatesTokenCount": 5.0},
    }
    deltas, _ = await end_of(subject, text("One"), raw(frame(counted)), raw(subject.wire.reason()))
    [end] = finishes(deltas)
    assert end.usage is not None
    assert (end.usage.input_tokens, end.usage.output_tokens) == (3, 5)


@every_upstream
async def test_half_an_emoji_outside_of_text_is_replaced(subject: UpstreamSubject) -> None:
    odd = b'{"model":"\\ud83d","modelVersion":"\\ud83d"}'
    deltas, error = await end_of(
        subject, text("One"), raw(b"data: %b\n\n" % odd), raw(subject.wire.reason())
    )
    assert error is None
    for end in finishes(deltas):
        (end.model or "").encode()
