"""OpenAI's chat completions, streamed: chunks, then `[DONE]`.

The schema is that of openai-python, `types/chat/chat_completion_chunk.py`. Blocks have no id and no
name: several clients stumble over them. Clients of this kind cannot come back, so a stream always
begins with the `Start`, and an answer that has to begin anew is an error to them.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, assert_never

from typing_extensions import override

from streamsvc.dialects.base import Dialect, Encoder, Ends, data_block, json_line
from streamsvc.errors import CursorLost, UpstreamCut
from streamsvc.events import (
    Done,
    FinishReason,
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
from streamsvc.snapshot import Snapshot

DONE = b"data: [DONE]\n\n"

STOPPED = PublicError("stopped", "The answer was stopped.", retryable=False)
CUT = PublicError(UpstreamCut.code, UpstreamCut.message, retryable=True)
LOST = PublicError(CursorLost.code, CursorLost.message, retryable=True)

STATUSES: Mapping[str, int] = {
    "content_filter": 400,
    "context_length_exceeded": 400,
    "provider_refused": 400,
    "provider_model_not_found": 404,
    "stopped": 409,
    "provider_rate_limited": 429,
    "drained": 503,
    "provider_unavailable": 503,
    "provider_timeout": 504,
}
"""The HTTP status of a failed answer, by our code; 502 for all others."""

CODES: Mapping[str, str] = {
    "provider_model_not_found": "model_not_found",
    "provider_rate_limited": "rate_limit_exceeded",
}
"""What OpenAI calls a failure, where it has a word for it and ours is another."""

TYPES: Mapping[int, str] = {409: "stopped", 429: "requests"}
"""The `type` of an error, by its status; else it is the client's fault or the server's."""

FINISH_REASONS: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "other": "length",  # it ends before its end, and there is no other word for that
}


class OpenAIDialect(Dialect):
    """See the module.

    Args:
        include_usage: end with a chunk that has the usage.
    """

    ends: ClassVar[Ends] = (Done, Restart)

    def __init__(self, *, include_usage: bool = False) -> None:
        self._include_usage = include_usage

    @override
    def encoder(self) -> Encoder:
        return _ChunkEncoder(include_usage=self._include_usage)

    @override
    def lost(self, generation: str) -> bytes:
        return error_block(LOST)


class _ChunkEncoder(Encoder):
    """Remembers what is the same in every chunk."""

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head: dict[str, Any] = {}
        self._before = b""
        self._behind = b""

    @override
    def encode(self, record: Record) -> bytes:
        match record.event:
            case Start() as start:
                return self._begin(start)
            case Text(text=text):
                return self._delta(b"content", text)
            case Reasoning(text=text):
                return self._delta(b"reasoning_content", text)
            case Progress():
                return b""
            case Restart():
                return error_block(CUT)
            case Done() as done:
                return self._end(done)
            case other:
                assert_never(other)

    def _begin(self, start: Start) -> bytes:
        self._head = {
            "id": start.generation,
            "object": "chat.completion.chunk",
            "created": start.created,
            "model": start.model,
        }
        mark = '{"":""}'
        whole = json_line(self._chunk({"": ""}, None))
        before, _, behind = whole.partition(mark.encode())
        self._before, self._behind = b"data: %b{" % before, b"}%b\n\n" % behind
        return data_block(self._chunk({"role": "assistant", "content": "", "refusal": None}, None))

    def _delta(self, field: bytes, text: str) -> bytes:
        # What is the same in every chunk is encoded once.
        return b'%b"%b":%b%b' % (self._before, field, json_line(text), self._behind)

    def _chunk(self, delta: Mapping[str, str | None], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return {**self._head, "choices": [choice], **usage}

    def _end(self, done: Done) -> bytes:
        if error := error_of(done):
            return error_block(error)
        self._head["model"] = done.model  # the one that answered
        blocks = [data_block(self._chunk({}, FINISH_REASONS[done.finish_reason]))]
        if self._include_usage and done.usage:
            blocks.append(data_block({**self._head, "choices": [], "usage": usage_of(done.usage)}))
        return b"".join((*blocks, DONE))


def completion_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return an answer that has ended well, in one piece (`types/chat/chat_completion.py`)."""
    message: dict[str, object] = {"role": "assistant", "content": snapshot.text, "refusal": None}
    if snapshot.reasoning:
        message["reasoning_content"] = snapshot.reasoning
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": FINISH_REASONS[snapshot.finish_reason or "other"],
    }
    return {
        "id": snapshot.id,
        "object": "chat.completion",
        "created": snapshot.created,
        "model": snapshot.model,
        "choices": [choice],
        "usage": usage_of(snapshot.usage) if snapshot.usage else None,
    }


def usage_of(usage: Usage) -> dict[str, Any]:
    """Return a usage as OpenAI has it (`types/completion_usage.py`), and whether we counted it."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.reasoning_tokens is not None:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    if usage.estimated:
        told["estimated"] = True
    return told


def error_of(done: Done) -> PublicError | None:
    """Return the error that an end is to OpenAI's clients; None: it is an answer.

    A prompt that a content filter refused is one, with status 400 and code `content_filter`, as OpenAI and
    Azure answer; an answer that a filter ended in its middle is not: its finish reason says so.
    """
    return done.error or (STOPPED if done.status is Status.STOPPED else None)


def status_of(error: PublicError) -> int:
    """Return the HTTP status of a failed answer."""
    return STATUSES.get(error.code, 502)


def error_object(message: str, code: str, *, status: int, param: str | None = None) -> Any:
    """Return an error as OpenAI has it (`types/shared/error_object.py`), below the key `error`."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")  # noqa: PLR2004
    code = CODES.get(code, code)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_block(error: PublicError) -> bytes:
    """Return the end of a stream that has begun and cannot be finished."""
    return data_block(error_object(error.message, error.code, status=status_of(error))) + DONE
