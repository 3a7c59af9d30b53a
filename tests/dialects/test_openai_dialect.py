"""OpenAI's chunks, byte for byte: golden transcripts, schemas, and any text unchanged."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from streamsvc.dialects.base import Encoder
from streamsvc.dialects.openai.errors import CODES, STATUSES, error_body
from streamsvc.dialects.openai.frames import FINISH_REASONS, OpenAIDialect, completion_of, usage_of
from streamsvc.dialects.sse import KEEPALIVE
from streamsvc.errors import RateLimited, Unauthorized
from streamsvc.events import (
    Done,
    Event,
    Logprobs,
    Reasoning,
    Record,
    Refusal,
    Restart,
    Status,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
    Usage,
)
from streamsvc.provider_errors import ProviderError
from streamsvc.snapshot import Folding
from streamsvc.web.long_json import encode
from support.events import FAILED, GENERATION, RETRYING, START, WHOLE, done
from support.eventstream import parse

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
USAGE = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=2)


DATA = {"google": {"thought_signature": "c2ln"}}
CACHED = Usage(input_tokens=9, output_tokens=5, cached_tokens=4, cache_write_tokens=2)


def _by_fallback(end: Done) -> Done:
    """Return an end by another model than the one in `start`, with a usage."""
    return msgspec.structs.replace(end, model="words-2", usage=USAGE)


ANSWERS: dict[str, Sequence[Event]] = {
    "openai": (
        START,
        RETRYING,
        Reasoning("Let me "),
        Reasoning("think."),
        Text("Words,\n  'single' "),
        Text('"double", \\,\ttabs and \u2028 😀. \r\n'),
        _by_fallback(WHOLE),
    ),
    "openai-tools": (
        START,
        Text("Let me see."),
        ToolCallBegun(index=0, id="call_1", name="get_weather"),
        ToolCallArguments(0, '{"city": '),
        ToolCallArguments(0, '"Paris"}'),
        ToolCallBegun(index=1, id="call_2", name="get_time"),
        ToolCallReady(
            index=0,
            id="call_1",
            name="get_weather",
            arguments='{"city": "Paris"}',
            provider_data=DATA,
        ),
        ToolCallReady(index=1, id="call_2", name="get_time", arguments="{}"),
        msgspec.structs.replace(done(finish_reason="tool_calls"), provider_data=DATA, usage=CACHED),
    ),
    "openai-refusal": (
        START,
        Refusal("I cannot "),
        Refusal("help."),
        Logprobs(({"token": "I", "bytes": [73], "logprob": -0.5, "top_logprobs": []},)),
        WHOLE,
    ),
    "openai-length": (START, Text("Words,"), _by_fallback(done(Status.INCOMPLETE, "length"))),
    "openai-content-filter": (
        START,
        Text("Words,"),
        _by_fallback(done(Status.INCOMPLETE, "content_filter")),
    ),
    "openai-failed": (START, Text("Words,"), _by_fallback(FAILED)),
    "openai-restarted": (
        START,
        Text("Words,"),
        Restart(reason="upstream_cut", provider="fake", model="words"),
    ),
    "openai-stopped": (START, Text("Words,"), _by_fallback(done(Status.STOPPED, "stopped"))),
}

texts = st.text(min_size=1) | st.text(
    st.sampled_from("\n\r\v\f\x1c\x85\u2028\u2029'\"\\{}:\0\ufeff\U0001f980"), min_size=1
)


def _encoder(*, include_usage: bool = False) -> Encoder:
    return OpenAIDialect(include_usage=include_usage).encoder()


def _encode(events: Sequence[Event], *, include_usage: bool = False) -> list[bytes]:
    encode = _encoder(include_usage=include_usage).encode
    return [encode(Record(GENERATION, seq, event)) for seq, event in enumerate(events)]


def _payloads(blocks: Sequence[bytes]) -> list[Any]:
    """Parse by the standard, and check that no event has a name or an id."""
    events = parse(b"".join(blocks))
    assert {(event.type, event.last_event_id) for event in events} == {("message", "")}
    return [event.data if event.data == "[DONE]" else json.loads(event.data) for event in events]


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("name", ANSWERS)
def test_answer_matches_its_transcript(name: str) -> None:
    has_usage = name in {"openai", "openai-tools"}
    body = b"".join(_encode(ANSWERS[name], include_usage=has_usage))
    assert body.decode() == (TRANSCRIPTS / f"{name}.txt").read_bytes().decode()


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("include_usage", [False, True])
def test_every_chunk_fits_the_schema(name: str, *, include_usage: bool) -> None:
    """Checked strictly with the models of openai-python; the client itself does not check."""
    *chunks, end = _payloads(_encode(ANSWERS[name], include_usage=include_usage))
    assert end == "[DONE]"
    for chunk in chunks:
        if "error" in chunk:
            assert chunk.keys() == {"error"}
            assert chunk["error"].keys() == {"message", "type", "param", "code"}
        else:
            ChatCompletionChunk.model_validate(chunk, strict=True)
            assert ("usage" in chunk) == include_usage
    assert {(chunk["id"], chunk["created"]) for chunk in chunks if "id" in chunk} == {
        (GENERATION, START.created)
    }


async def _whole(name: str) -> Any:
    """Return an answer in one piece, after checking it with the model of openai-python."""
    folding = Folding()
    folding.extend([Record(GENERATION, seq, event) for seq, event in enumerate(ANSWERS[name])])
    completion = json.loads(await encode(completion_of(folding.snapshot)))
    ChatCompletion.model_validate(completion, strict=True)
    return completion


@pytest.mark.promise("content:exact")
async def test_tool_calls_in_one_piece_have_what_the_provider_wants_back() -> None:
    completion = await _whole("openai-tools")
    (choice,) = completion["choices"]
    weather = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    time = {"name": "get_time", "arguments": "{}"}
    assert choice["message"] == {
        "role": "assistant",
        "content": "Let me see.",
        "refusal": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": weather, "extra_content": DATA},
            {"id": "call_2", "type": "function", "function": time},
        ],
        "extra_content": DATA,
    }
    assert completion["usage"]["prompt_tokens_details"] == {
        "cached_tokens": 4,
        "cache_write_tokens": 2,
    }


async def test_refusal_in_one_piece_has_no_content() -> None:
    (choice,) = (await _whole("openai-refusal"))["choices"]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "I cannot help.")
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["I"]


async def test_answer_in_one_piece_fits_the_schema() -> None:
    completion = await _whole("openai")
    assert completion["model"] == "words-2"
    (choice,) = completion["choices"]
    assert choice["message"]["reasoning_content"] == "Let me think."
    assert choice["message"]["content"].endswith('"double", \\,\ttabs and \u2028 😀. \r\n')


@pytest.mark.promise("stream:word-by-word")
@settings(deadline=None)
@given(said=st.lists(st.tuples(st.sampled_from([Text, Reasoning]), texts), max_size=5), model=texts)
@example(said=[(Text, '{"":""}')], model='{"":""}')
@example(said=[(Text, "data: [DONE]\n\n")], model="\u2028")
def test_any_text_reaches_a_program_unchanged(
    said: list[tuple[type[Text | Reasoning], str]], model: str
) -> None:
    """Each record is one block with one line of JSON, however a client splits lines."""
    pieces = [kind(text) for kind, text in said]
    blocks = _encode([msgspec.structs.replace(START, model=model), *pieces])
    for block in blocks:
        assert block.startswith(b"data: {")
        assert len(block.decode().splitlines()) == 2  # the line, and the empty one after it
    for piece, chunk in zip(pieces, _payloads(blocks)[1:], strict=True):
        key = "content" if isinstance(piece, Text) else "reasoning_content"
        assert chunk["choices"][0]["delta"] == {key: piece.text}
        assert (chunk["id"], chunk["model"]) == (GENERATION, model)


@pytest.mark.promise("alive:ping")
def test_keepalives_between_blocks_change_nothing() -> None:
    blocks = _encode(ANSWERS["openai"])
    with_keepalives = [KEEPALIVE + block + KEEPALIVE for block in blocks]
    assert _payloads(with_keepalives) == _payloads(blocks)


def test_finish_reasons_are_those_of_openai() -> None:
    known = {"stop", "length", "content_filter", "tool_calls"}
    assert set(FINISH_REASONS.values()) == known


def test_tables_of_failures_name_only_existing_codes() -> None:
    def below(error: type[ProviderError]) -> set[str]:
        return {error.code}.union(*map(below, error.__subclasses__()))

    assert STATUSES.keys() - below(ProviderError) == {"drained", "interrupted", "stopped"}
    assert CODES.keys() - STATUSES.keys() == {Unauthorized.code, RateLimited.code}  # refusals


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (404, "invalid_request_error"), (429, "requests"), (502, "server_error")],
)  # fmt: skip
def test_error_type_follows_its_status(status: int, kind: str) -> None:
    assert error_body("No.", "a", status=status).error.type == kind


def test_estimated_usage_says_so() -> None:
    usage = usage_of(Usage(input_tokens=1, output_tokens=2, estimated=True))
    assert msgspec.to_builtins(usage) == {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "estimated": True,
    }


@pytest.mark.promise("resume:honest")
def test_lost_stream_ends_with_an_error() -> None:
    (error, end) = _payloads([OpenAIDialect().lost(GENERATION)])
    assert (error["error"]["code"], end) == ("not_resumable", "[DONE]")
