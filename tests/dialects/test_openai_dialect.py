"""OpenAI's chunks, byte for byte: golden transcripts, and any text reaches `json.loads` unchanged."""

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
from streamsvc.dialects.openai.errors import CODES, STATUSES, error_object
from streamsvc.dialects.openai.frames import FINISH_REASONS, OpenAIDialect, completion_of, usage_of
from streamsvc.dialects.sse import KEEPALIVE
from streamsvc.errors import ProviderError
from streamsvc.events import (
    Done,
    Event,
    Outcome,
    Progress,
    PublicError,
    Reasoning,
    Record,
    Restart,
    Start,
    Status,
    Text,
    Usage,
)
from streamsvc.snapshot import Folding
from streamsvc.web.long_json import encode
from support.eventstream import parse

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
GENERATION = "gen_cpnzhjd76rdyqdjg7zjvnyhiw4tmoj75"
START = Start(generation=GENERATION, provider="fake", model="words", created=1795305600)
USAGE = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=2)
WHOLE = Done(
    status=Status.COMPLETED,
    finish_reason="stop",
    outcome=Outcome.COMPLETED,
    provider="fake",
    model="words-2",
    usage=USAGE,
)
FAILED = msgspec.structs.replace(
    WHOLE,
    status=Status.FAILED,
    finish_reason="error",
    outcome=Outcome.UPSTREAM_CUT,
    error=PublicError("upstream_cut", "It broke off.", retryable=True),
)
EARLY = msgspec.structs.replace(WHOLE, status=Status.INCOMPLETE, finish_reason="length")
STOPPED = msgspec.structs.replace(WHOLE, status=Status.STOPPED, finish_reason="stopped")

ANSWERS: dict[str, Sequence[Event]] = {
    "openai": (
        START,
        Progress(state="retrying", provider="fake", reason="provider_unavailable"),
        Reasoning("Let me "),
        Reasoning("think."),
        Text("Words,\n  'single' "),
        Text('"double", \\,\ttabs and \u2028 😀. \r\n'),
        WHOLE,
    ),
    "openai-length": (START, Text("Words,"), EARLY),
    "openai-content-filter": (
        START,
        Text("Words,"),
        msgspec.structs.replace(EARLY, finish_reason="content_filter"),
    ),
    "openai-failed": (START, Text("Words,"), FAILED),
    "openai-restarted": (
        START,
        Text("Words,"),
        Restart(reason="upstream_cut", provider="fake", model="words"),
    ),
    "openai-stopped": (START, Text("Words,"), STOPPED),
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
    """Parse as the standard says; nothing has a name or an id."""
    events = parse(b"".join(blocks))
    assert {(event.type, event.last_event_id) for event in events} == {("message", "")}
    return [event.data if event.data == "[DONE]" else json.loads(event.data) for event in events]


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_as_in_the_transcripts(name: str) -> None:
    body = b"".join(_encode(ANSWERS[name], include_usage=name == "openai"))
    assert body.decode() == (TRANSCRIPTS / f"{name}.txt").read_bytes().decode()


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("include_usage", [False, True])
def test_every_chunk_is_what_the_schema_says(name: str, *, include_usage: bool) -> None:
    """Validated strictly with the models of openai-python, which does not validate by itself."""
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


async def test_an_answer_in_one_piece_is_what_the_schema_says() -> None:
    folding = Folding()
    folding.extend([Record(GENERATION, seq, event) for seq, event in enumerate(ANSWERS["openai"])])
    completion = json.loads(await encode(completion_of(folding.snapshot)))
    ChatCompletion.model_validate(completion, strict=True)
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
    """One block for each record, one line of JSON in each block, however lines are split."""
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


def test_every_end_has_a_finish_reason_that_openai_knows() -> None:
    known = {"stop", "length", "content_filter", "tool_calls"}
    assert set(FINISH_REASONS.values()) == known


def test_the_tables_of_failures_name_only_codes_that_exist() -> None:
    def below(error: type[ProviderError]) -> set[str]:
        return {error.code}.union(*map(below, error.__subclasses__()))

    assert STATUSES.keys() - below(ProviderError) == {"drained", "stopped"}
    assert CODES.keys() <= STATUSES.keys()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (404, "invalid_request_error"), (429, "requests"), (502, "server_error")],
)  # fmt: skip
def test_the_type_of_an_error_is_that_of_its_status(status: int, kind: str) -> None:
    assert error_object("No.", "a", status=status)["error"]["type"] == kind


def test_an_estimated_usage_says_so() -> None:
    usage = usage_of(Usage(input_tokens=1, output_tokens=2, estimated=True))
    assert usage == {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "estimated": True,
    }


@pytest.mark.promise("resume:honest")
def test_a_lost_stream_ends_with_an_error() -> None:
    (error, end) = _payloads([OpenAIDialect().lost(GENERATION)])
    assert (error["error"]["code"], end) == ("not_resumable", "[DONE]")
