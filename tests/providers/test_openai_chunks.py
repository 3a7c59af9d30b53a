"""What chunks of OpenAI's API have besides words: refusals, log probabilities, older calls, usage, vendors' data."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from streamsvc.events import (
    Delta,
    Logprobs,
    Reasoning,
    Refusal,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    Usage,
)
from streamsvc.provider_errors import UpstreamInvalid
from streamsvc.providers.base import Finish
from streamsvc.providers.openai.rare import usage
from streamsvc.providers.tool_calls import MAX_DATA_BYTES
from support.openai_chunks import emitted, read, still_clock

__all__ = ["still_clock"]  # a fixture

pytestmark = pytest.mark.usefixtures("still_clock")

CALL = {
    "index": 0,
    "id": "i",
    "type": "function",
    "function": {"name": "a", "arguments": '{"x":1}'},
}
DRAFT: tuple[Delta, ...] = (
    ToolCallBegun(index=0, id="i", name="a"), ToolCallArguments(0, '{"x":1}'),
)  # fmt: skip


def choice(delta: object = None, **fields: Any) -> Mapping[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, **fields}]}


def called(finish: Finish) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in finish.tool_calls]


# Refusals


@pytest.mark.parametrize(
    "delta",
    [
        {"refusal": "I cannot."},
        {"content": [{"type": "refusal", "refusal": "I cannot."}]},
        {"content": {"type": "refusal", "refusal": "I cannot."}},
        {"content": [{"type": "refusal", "text": "I cannot."}]},
        {"content": [{"refusal": "I cannot."}], "refusal": None},
    ],
)
def test_refusal_may_be_a_field_or_a_part(delta: object) -> None:
    said, finish = read(choice(delta), reason="stop")
    assert (said, finish.reason) == ([Refusal("I cannot.")], "stop")


def test_refusing_part_beside_a_text_part_is_not_text() -> None:
    parts = [
        {"type": "text", "text": "Hm.", "refusal": None},
        {"type": "refusal", "refusal": "No."},
    ]
    assert read(choice({"content": parts}))[0] == [Text("Hm."), Refusal("No.")]


def test_half_an_emoji_in_a_refusal_is_joined() -> None:
    said, _ = read(choice({"refusal": "No \ud83d"}), choice({"refusal": "\ude42 \ud83d"}))
    assert "".join(it.text for it in said if isinstance(it, Refusal)) == "No 🙂 \ufffd"


# Log probabilities


def test_log_probabilities_have_the_shape_of_the_api() -> None:
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    full = {**token, "top_logprobs": [token, {"token": "Ho", "logprob": -2, "bytes": None}]}
    said, _ = read(choice({"content": "Hi"}, logprobs={"content": [full], "refusal": None}))
    assert said == [Text("Hi"), Logprobs((full,))]


def test_tokens_of_a_refusal_have_log_probabilities_too() -> None:
    token = {"token": "No", "logprob": -0.5, "bytes": None, "top_logprobs": []}
    likely = {"content": None, "refusal": [token]}
    assert read(choice({"refusal": "No"}, logprobs=likely))[0] == [
        Refusal("No"),
        Logprobs((), (token,)),
    ]


def test_log_probabilities_of_odd_shape_are_filled_in() -> None:
    odd = {"token": "\ud83d", "logprob": "x", "bytes": ["y"], "other": {}, "top_logprobs": 7}
    said, _ = read(choice({"content": "a"}, logprobs={"content": [odd, 7, None]}))
    filled: object = {"token": "\ufffd", "logprob": None, "bytes": None, "top_logprobs": []}
    assert said == [Text("a"), Logprobs((filled,))]


@pytest.mark.parametrize(
    "value", ["x", 7, {"content": None}, {"content": []}, {"content": "x"}, [1]], ids=repr
)
def test_invalid_log_probabilities_are_skipped(value: object) -> None:
    assert read(choice({"content": "a"}, logprobs=value))[0] == [Text("a")]


# Calls in other places


def test_words_come_before_the_call_in_the_same_chunk() -> None:
    delta = {"reasoning": "Hm.", "content": "Let me see.", "tool_calls": [CALL]}
    said, finish = read(choice(delta))
    assert said == [Reasoning("Hm."), Text("Let me see."), *DRAFT]
    assert finish.reason == "tool_calls"


@pytest.mark.parametrize("content", ["", None, []], ids=repr)
def test_call_beside_empty_content_is_the_answer(content: object) -> None:
    said, finish = read(choice({"role": "assistant", "content": content, "tool_calls": [CALL]}))
    assert (said, called(finish)) == ([*DRAFT], [("a", {"x": 1})])


def test_function_call_of_old_is_a_tool_call() -> None:
    """`function_call` was replaced by `tool_calls`, and some servers still send it."""
    names = (
        choice({"function_call": {"name": "a"}}),
        choice({"function_call": {"arguments": '{"x":'}}),
    )
    end = choice({"function_call": {"arguments": "1}"}}, finish_reason="function_call")
    said, finish = read(*names, end, reason="")
    assert called(finish) == [("a", {"x": 1})]
    assert (finish.reason, finish.provider_reason) == ("tool_calls", "function_call")
    assert len(said) == 3


@pytest.mark.parametrize("value", [None, {}, {"name": "", "arguments": ""}, "x", []], ids=repr)
def test_empty_function_call_is_not_a_call(value: object) -> None:
    said, finish = read(choice({"content": "a", "function_call": value}), reason="stop")
    assert (said, finish.tool_calls) == ([Text("a")], ())


def test_call_in_both_forms_is_one_call() -> None:
    delta = {"tool_calls": [CALL], "function_call": CALL["function"]}
    assert called(read(choice(delta))[1]) == [("a", {"x": 1})]


@pytest.mark.parametrize("form", ["tool_calls", "function_call"])
def test_calls_of_an_answer_that_is_not_streamed(form: str) -> None:
    calls = {"tool_calls": [CALL], "function_call": CALL["function"]}[form]
    message = {"role": "assistant", "content": None, form: calls}
    whole = {"choices": [{"message": message, "finish_reason": "stop"}]}
    _, finish = read(whole, reason="")
    assert (called(finish), finish.reason) == ([("a", {"x": 1})], "tool_calls")


def test_message_that_repeats_the_calls_of_the_deltas_is_skipped() -> None:
    message = {"content": "Hm.", "tool_calls": [CALL]}
    said, finish = read(
        choice({"content": "Hm."}), choice({"tool_calls": [CALL]}), choice(message=message)
    )
    assert (said, called(finish)) == ([Text("Hm."), *DRAFT], [("a", {"x": 1})])


@pytest.mark.parametrize("delta", [None, {}, {"content": "!"}], ids=repr)
def test_calls_that_only_the_last_message_has_are_taken(delta: object) -> None:
    message = {"content": "Hm.", "tool_calls": [CALL]}
    said, finish = read(choice({"content": "Hm."}), choice(delta, message=message))
    assert said[0] == Text("Hm.")
    assert called(finish) == [("a", {"x": 1})]


# The end of an answer with calls


@pytest.mark.promise("end:exactly-one")
def test_reason_with_the_only_chunk_announces_the_call() -> None:
    said = emitted(choice({"tool_calls": [CALL]}, finish_reason="stop"), reason="")
    announced = said[-2]
    assert isinstance(announced, Finish)
    assert called(announced) == [("a", {"x": 1})]


@pytest.mark.promise("end:exactly-one")
def test_reason_with_every_chunk_announces_no_half_call() -> None:
    parts = (
        [{**CALL, "function": {"name": "a", "arguments": '{"x"'}}],
        [{"index": 0, "function": {"arguments": ":1}"}}],
    )
    said = emitted(*(choice({"tool_calls": it}, finish_reason="stop") for it in parts), reason="")
    assert [it.tool_calls != () for it in said if isinstance(it, Finish)] == [True]
    assert called(said[-1]) == [("a", {"x": 1})]  # type: ignore[arg-type]


@pytest.mark.promise("end:exactly-one")
def test_call_after_a_reason_takes_the_announcement_back() -> None:
    chunks = (
        choice({"content": "a"}),
        choice({}, finish_reason="stop"),
        choice({"tool_calls": [CALL]}),
    )
    said = emitted(*chunks, reason="")
    assert [type(it).__name__ for it in said[-3:]] == [
        "ToolCallBegun",
        "ToolCallArguments",
        "Finish",
    ]
    assert called(said[-1]) == [("a", {"x": 1})]  # type: ignore[arg-type]


# What the provider wants back


def test_data_of_the_message_is_stamped() -> None:
    first, last = {"google": {"thought_signature": "a"}}, {"google": {"thought_signature": "b"}}
    _, finish = read(
        choice({"extra_content": first}), choice({"content": "a", "extra_content": last})
    )
    assert finish.provider_data == {**last, "streamsvc": {"kind": "openai", "model": "gpt-test"}}


def test_data_after_the_reason_is_announced() -> None:
    signed = choice({"extra_content": {"v": 1}})
    said = emitted(choice({"content": "a"}), choice({}, finish_reason="stop"), signed, reason="")
    announced = [it.provider_data.get("v") for it in said if isinstance(it, Finish)]
    assert announced == [None, 1, 1]


def test_stamp_of_a_service_behind_this_one_is_kept() -> None:
    inner = {"kind": "gemini", "model": "gemini-test"}
    _, finish = read(choice({"extra_content": {"google": 1, "streamsvc": inner}}))
    stamp = {"kind": "openai", "model": "gpt-test", "inner": inner}
    assert finish.provider_data == {"google": 1, "streamsvc": stamp}


def test_half_an_emoji_in_data_is_replaced() -> None:
    _, finish = read(choice({"extra_content": {"a\ud83d": ["\ud83d", {"b": None}]}}))
    assert finish.provider_data["a\ufffd"] == ["\ufffd", {"b": None}]


@pytest.mark.parametrize("value", ["x", 7, [], None, {}], ids=repr)
def test_data_that_is_not_an_object_is_skipped(value: object) -> None:
    assert read(choice({"content": "a", "extra_content": value}))[1].provider_data == {}


@pytest.mark.promise("upstream:bounded")
def test_data_is_bounded_in_size_and_depth() -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"a": deep}
    for data in (deep, {"a": "x" * MAX_DATA_BYTES}):
        with pytest.raises(UpstreamInvalid):
            read(choice({"extra_content": data}))


# Usage


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0}}, {"cached_tokens": 2, "cache_write_tokens": 0}),
        ({"prompt_cache_hit_tokens": 2}, {"cached_tokens": 2}),
        (
            {"cache_read_input_tokens": 2, "cache_creation_input_tokens": 1},
            {"cached_tokens": 2, "cache_write_tokens": 1},
        ),
        ({"prompt_tokens_details": {"cache_creation_tokens": 1}}, {"cache_write_tokens": 1}),
        ({"completion_tokens_details": {"reasoning_tokens": 4}}, {"reasoning_tokens": 4}),
        ({"reasoning_tokens": 4, "completion_tokens_details": None}, {"reasoning_tokens": 4}),
        ({"prompt_tokens_details": {"cached_tokens": "x"}, "cached_tokens": 2}, {"cached_tokens": 2}),
        ({"prompt_tokens_details": 7, "completion_tokens_details": [7]}, {}),
    ],
    ids=repr,
)  # fmt: skip
def test_details_of_usage_have_several_names(
    fields: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    counted = usage({"prompt_tokens": 3, "completion_tokens": 5, **fields})
    assert counted == Usage(input_tokens=3, output_tokens=5, **expected)
