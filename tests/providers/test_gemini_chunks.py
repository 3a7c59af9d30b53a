"""Gemini's chunks: calls, signatures, usage, likelihoods and ends, read into an answer."""

import json
from typing import Any

import pytest
from google.genai import types

from streamsvc.events import Delta, Logprobs, Text, ToolCallArguments, ToolCallBegun, Usage
from streamsvc.provider_errors import (
    ProviderAuthFailed,
    ProviderError,
    ProviderRefused,
    UpstreamInvalid,
)
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.base import Finish
from streamsvc.providers.gemini.chunks import ChunkReader

MODEL = "gemini-3.8-flash"
STAMP = {"kind": "gemini", "model": MODEL}

Chunk = dict[str, Any]


def said(*parts: Any, reason: str | None = None, **fields: Any) -> Chunk:
    """Return a chunk of a candidate with these parts."""
    ended = {"finishReason": reason} if reason else {}
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **ended, **fields}]}


def call(name: str | None = "f", signature: str | None = None, **fields: Any) -> dict[str, Any]:
    named = {"name": name} if name is not None else {}
    signed = {"thoughtSignature": signature} if signature else {}
    return {"functionCall": {**named, **fields}, **signed}


STOP = said(reason="STOP")


def read(*chunks: Chunk | bytes) -> tuple[list[Delta], Finish]:
    """Return the deltas and the end of an answer."""
    deltas: list[Delta] = []
    answer = AnswerSoFar(lambda it: None if isinstance(it, Finish) else deltas.append(it))
    reader = ChunkReader(answer, MODEL)
    for chunk in chunks:
        reader.take(chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode())
    return deltas, answer.finish()


def calls_of(*chunks: Chunk | bytes) -> list[tuple[str, str]]:
    """Return the names and the arguments of an answer's calls."""
    return [(it.name, it.arguments) for it in read(*chunks)[1].tool_calls]


# Calls


@pytest.mark.promise("provider:swap")
async def test_call_is_drafted_and_then_whole() -> None:
    deltas, end = read(said(call(args={"city": "Rom"}, id="theirs"), reason="STOP"))
    assert deltas == [
        ToolCallBegun(index=0, id="theirs", name="f"),
        ToolCallArguments(0, '{"city": "Rom"}'),
    ]
    [ready] = end.tool_calls
    assert (ready.id, ready.name, ready.arguments) == ("theirs", "f", '{"city": "Rom"}')
    assert (end.reason, end.provider_reason) == ("tool_calls", "STOP")


async def test_calls_without_ids_stay_separate() -> None:
    """Also when they are alike, in one chunk or in two."""
    same = call(args={"n": 1})
    _, end = read(said(same, same), said(same), STOP)
    assert [(it.index, it.arguments) for it in end.tool_calls] == [
        (at, '{"n": 1}') for at in range(3)
    ]
    assert len({it.id for it in end.tool_calls}) == 3
    assert all(it.provider_data == {} for it in end.tool_calls)


async def test_text_before_a_call_is_emitted_before_it() -> None:
    deltas, _ = read(said({"text": "Hm. "}, call(), {"text": "So."}, reason="STOP"))
    assert deltas[0] == Text("Hm. So.")
    assert isinstance(deltas[1], ToolCallBegun)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({}, "{}"),
        (None, "{}"),
        ({"s": "é😀", "n": 12345678901234567890123, "f": 1.0, "x": None}, None),
        ('{"already": "text"}', '{"already": "text"}'),
    ],
)
async def test_arguments_are_kept_to_the_letter(args: Any, text: str | None) -> None:
    expected = json.dumps(args, ensure_ascii=False) if text is None else text
    assert calls_of(said(call(args=args), reason="STOP")) == [("f", expected)]


async def test_half_an_emoji_in_arguments_is_replaced() -> None:
    chunk = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\\ud83d"}}}]}}]}'
    assert calls_of(chunk, STOP) == [("f", '{"a": "�"}')]


@pytest.mark.parametrize("args", [[], [1], 7, True])
async def test_arguments_of_another_type_fail(args: object) -> None:
    with pytest.raises(UpstreamInvalid):
        read(said(call(args=args)), STOP)


async def test_call_without_a_name_fails() -> None:
    with pytest.raises(UpstreamInvalid):
        read(said(call(None, args={"a": 1})), STOP)


@pytest.mark.parametrize("odd", [None, 7, "x", [], {}])
async def test_place_of_a_call_may_hold_nothing(odd: object) -> None:
    assert calls_of(said({"functionCall": odd}, {"text": "One"}), STOP) == []


# Arguments value by value


def arg(path: str, *, more: bool = False, **value: Any) -> dict[str, Any]:
    return {"jsonPath": path, **value, **({"willContinue": True} if more else {})}


def more(*args: dict[str, Any], name: str | None = None, **fields: Any) -> Chunk:
    """Return a chunk with a part of a call that goes on."""
    return said(call(name, partialArgs=list(args), willContinue=True, **fields))


@pytest.mark.parametrize("last", [{}, {"partialArgs": [], "willContinue": False}])
async def test_arguments_that_are_streamed_are_put_together(last: dict[str, Any]) -> None:
    chunks = (
        more(name="f", id="theirs"),
        more(arg("$.city", stringValue="Ro", more=True)),
        more(arg("$.city", stringValue="m"), arg("$.n", numberValue=2)),
        more(arg("$.stops[0].at", boolValue=True), arg("$.stops[0].to", numberValue=1), arg("$.stops[1]['a.b']", nullValue="NULL_VALUE")),
        said({"functionCall": last}),
    )  # fmt: skip
    whole = '{"city": "Rom", "n": 2, "stops": [{"at": true, "to": 1}, {"a.b": null}]}'
    deltas, end = read(*chunks, STOP)
    assert [(it.id, it.arguments) for it in end.tool_calls] == [("theirs", whole)]
    assert deltas == [
        ToolCallBegun(index=0, id="theirs", name="f"),
        ToolCallArguments(0, "{"),
        ToolCallArguments(0, whole[1:]),
    ]


async def test_streamed_arguments_may_come_in_one_chunk() -> None:
    one = call(partialArgs=[arg("$.a", stringValue="x")])
    assert calls_of(said(one, one), STOP) == [("f", '{"a": "x"}')] * 2


async def test_next_call_ends_the_one_before() -> None:
    first, second = (more(arg("$.a", numberValue=at), name=f"f{at}") for at in range(2))
    assert calls_of(first, second, said({"functionCall": {}}), STOP) == [
        ("f0", '{"a": 0}'),
        ("f1", '{"a": 1}'),
    ]


@pytest.mark.parametrize("reason", ["STOP", "MAX_TOKENS"])
async def test_half_of_a_call_is_never_whole(reason: str) -> None:
    half = more(arg("$.a", numberValue=1), name="f")
    if reason == "STOP":
        with pytest.raises(UpstreamInvalid):
            read(half, said(reason=reason))
    else:
        assert read(half, said(reason=reason))[1].tool_calls == ()


@pytest.mark.parametrize(
    "pieces",
    [
        [arg("$.a", stringValue="x", more=True)],
        [arg("$.a", stringValue="x", more=True), arg("$.a", numberValue=1)],
        [arg("$.a")],
        [arg("")],
        [arg("$", stringValue="x")],
        [arg("$[0]", stringValue="x")],
        [arg("$.a[1]", stringValue="x")],
        [arg("$.a[9999999]", stringValue="x")],
        [arg("$.a", stringValue="x"), arg("$.a.b", stringValue="x")],
        [arg("$..a", stringValue="x")],
        [arg("$.a[*]", stringValue="x")],
        [arg("$" + ".a" * 1000, stringValue="x")],
        [{"stringValue": "x"}],
    ],
    ids=[
        "cut string",
        "string then number",
        "no value",
        "no path",
        "the root",
        "an index first",
        "a gap",
        "too far",
        "within a text",
        "descendants",
        "wildcard",
        "too deep",
        "no place",
    ],
)
async def test_streamed_arguments_without_a_place_or_a_value_fail(pieces: list[Any]) -> None:
    with pytest.raises(UpstreamInvalid):
        read(said(call(partialArgs=pieces)), STOP)


# Signatures


@pytest.mark.promise("content:exact")
async def test_signature_of_parallel_calls_is_on_the_first() -> None:
    _, end = read(said(call(id="1", signature="c2ln"), call(id="2")), STOP)
    assert [it.provider_data for it in end.tool_calls] == [
        {"google": {"thought_signature": "c2ln"}, "streamsvc": {**STAMP, "id": "1"}},
        {"streamsvc": {**STAMP, "id": "2"}},
    ]
    assert end.provider_data == {}


async def test_signature_of_a_text_belongs_to_the_answer() -> None:
    last = {"text": "", "thoughtSignature": "c2ln"}
    _, end = read(said({"text": "One"}), said(last, reason="STOP"))
    assert end.provider_data == {
        "google": {"thought_signature": "c2ln"},
        "streamsvc": {**STAMP, "parts": [[3], [0, True]]},
    }


async def test_signature_may_come_alone() -> None:
    _, end = read(said({"text": "One"}, {"thoughtSignature": "c2ln"}), STOP)
    assert end.provider_data["google"] == {"thought_signature": "c2ln"}


async def test_signature_of_a_thought_is_skipped() -> None:
    thought = {"text": "Hm", "thought": True, "thoughtSignature": "c2ln"}
    assert read(said(thought, {"text": "One"}), STOP)[1].provider_data == {}


async def test_model_that_answers_may_have_another_name() -> None:
    """The stamp has the name that is asked for again."""
    chunk = {**said({"text": "One", "thoughtSignature": "c2ln"}), "modelVersion": "exact"}
    _, end = read(chunk, STOP)
    assert (end.model, end.provider_data["streamsvc"]) == ("exact", STAMP)


# Usage


@pytest.mark.parametrize(
    ("counted", "usage"),
    [
        (
            {
                "promptTokenCount": 10,
                "cachedContentTokenCount": 4,
                "toolUsePromptTokenCount": 3,
                "candidatesTokenCount": 5,
                "thoughtsTokenCount": 7,
                "totalTokenCount": 25,
            },
            Usage(input_tokens=13, output_tokens=12, reasoning_tokens=7, cached_tokens=4),
        ),
        ({"promptTokenCount": 10}, Usage(input_tokens=10, output_tokens=0)),
    ],
)
async def test_usage_counts_all_of_the_input_and_the_output(
    counted: dict[str, int], usage: Usage
) -> None:
    names = types.GenerateContentResponseUsageMetadata.model_validate(counted).model_fields_set
    assert len(names) == len(counted)
    _, end = read({**said({"text": "One"}, reason="STOP"), "usageMetadata": counted})
    assert end.usage == usage


# Likelihoods


async def test_likelihoods_have_the_shape_of_openai() -> None:
    result = {
        "chosenCandidates": [
            {"token": "é", "tokenId": 7, "logProbability": -0.5},
            {"token": "!"},
        ],
        "topCandidates": [
            {"candidates": [{"token": "é", "logProbability": -0.5}, {"token": "e", "logProbability": -2}]}
        ],
    }  # fmt: skip
    assert types.LogprobsResult.model_validate(result).chosen_candidates
    deltas, _ = read(said({"text": "é!"}, reason="STOP", logprobsResult=result))
    first = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
    other = {"token": "e", "logprob": -2.0, "bytes": [101]}
    last = {"token": "!", "logprob": 0.0, "bytes": [33]}
    assert deltas == [
        Logprobs(({**first, "top_logprobs": [first, other]}, {**last, "top_logprobs": []})),
        Text("é!"),
    ]


@pytest.mark.parametrize("value", ["-Infinity", "x", None, []])
async def test_likelihood_that_is_not_a_number_is_the_least(value: object) -> None:
    result = {"chosenCandidates": [{"token": "a", "logProbability": value}]}
    [likely, _] = read(said({"text": "a"}, logprobsResult=result), STOP)[0]
    assert isinstance(likely, Logprobs)
    assert likely.content[0]["logprob"] == -9999.0


@pytest.mark.parametrize("odd", [7, "x", [], {"chosenCandidates": 7}, {"topCandidates": [{}]}])
async def test_likelihoods_that_cannot_be_read_are_left_out(odd: object) -> None:
    assert read(said({"text": "a"}, logprobsResult=odd), STOP)[0] == [Text("a")]


async def test_half_an_emoji_as_a_token_is_replaced() -> None:
    result = {"chosenCandidates": [{"token": "\ud83d"}]}
    [likely, _] = read(said({"text": "a"}, logprobsResult=result), STOP)[0]
    assert isinstance(likely, Logprobs)
    assert likely.content[0]["token"] == "�"


# Ends

FAILURES = {
    "MALFORMED_FUNCTION_CALL": ProviderError,
    "MALFORMED_RESPONSE": ProviderError,
    "UNEXPECTED_TOOL_CALL": ProviderError,
    "TOO_MANY_TOOL_CALLS": ProviderError,
    "MISSING_THOUGHT_SIGNATURE": ProviderRefused,
    "PUP_LIMITED_DISABLED": ProviderAuthFailed,
}
ENDS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "LANGUAGE": "other",
    "OTHER": "other",
    "IMAGE_OTHER": "other",
    "NO_IMAGE": "other",
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION", "MODEL_ARMOR",
        ),
        "content_filter",
    ),
}  # fmt: skip
NOT_AN_END = "FINISH_REASON_UNSPECIFIED"


async def test_every_finish_reason_of_the_sdk_is_known() -> None:
    """Total over the SDK's words: a new one breaks this test, not a viewer."""
    assert {it.value for it in types.FinishReason} == {*FAILURES, *ENDS, NOT_AN_END}


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(("word", "reason"), ENDS.items())
async def test_finish_reason_means(word: str, reason: str) -> None:
    _, end = read(said({"text": "One"}), said(reason=word))
    assert (end.reason, end.provider_reason) == (reason, word)


@pytest.mark.parametrize(("word", "kind"), FAILURES.items())
async def test_finish_reason_that_is_a_failure(word: str, kind: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as raised:
        read(said({"text": "One"}), said(reason=word))
    assert type(raised.value) is kind


async def test_malformed_call_is_worth_a_retry() -> None:
    with pytest.raises(ProviderError) as raised:
        read(said(reason="MALFORMED_FUNCTION_CALL"))
    assert raised.value.retry_same_provider
    assert raised.value.retryable


async def test_unspecified_reason_ends_nothing() -> None:
    """ProtoJSON writers that print defaults send it with every chunk."""
    deltas, end = read(
        said({"text": "One "}, reason=NOT_AN_END), said({"text": "two"}, reason="STOP")
    )
    assert deltas == [Text("One "), Text("two")]
    assert (end.reason, end.provider_reason) == ("stop", "STOP")


@pytest.mark.parametrize("word", ["MAX_TOKENS", "SAFETY"])
async def test_call_of_an_answer_that_ended_early_is_whole(word: str) -> None:
    """Gemini sends calls in one piece: what has arrived is not half of one."""
    assert calls_of(said(call(args={"a": 1})), said(reason=word)) == [("f", '{"a": 1}')]
