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

STOPPED = PublicError("stopped", "The answer was stopped.", retryable=True)


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
        return error_block(PublicError(CursorLost.code, CursorLost.message, retryable=True))


class _ChunkEncoder(Encoder):
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
                return error_block(
                    PublicError(UpstreamCut.code, UpstreamCut.message, retryable=True)
                )
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
        return data_block(self._chunk({"role": "assistant", "content": ""}, None))

    def _delta(self, field: bytes, text: str) -> bytes:
        # What is the same in every chunk is encoded once.
        return b'%b"%b":%b%b' % (self._before, field, json_line(text), self._behind)

    def _chunk(self, delta: Mapping[str, str], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return {**self._head, "choices": [choice], **usage}

    def _end(self, done: Done) -> bytes:
        if done.status in {Status.FAILED, Status.STOPPED}:
            return error_block(done.error or STOPPED)
        blocks = [data_block(self._chunk({}, done.finish_reason))]
        if self._include_usage and done.usage:
            blocks.append(data_block({**self._head, "choices": [], "usage": usage_of(done.usage)}))
        return b"".join((*blocks, DONE))


def completion_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return a whole answer in one piece (`types/chat/chat_completion.py`)."""
    message = {"role": "assistant", "content": snapshot.text, "refusal": None}
    if snapshot.reasoning:
        message["reasoning_content"] = snapshot.reasoning
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": snapshot.finish_reason,
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
    """Return a usage as OpenAI has it (`types/completion_usage.py`)."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }


def error_object(
    error: PublicError, *, kind: str = "server_error", param: str | None = None
) -> dict[str, Any]:
    """Return an error as OpenAI has it; its clients look for the key `error`."""
    return {"error": {"message": error.message, "type": kind, "param": param, "code": error.code}}


def error_block(error: PublicError) -> bytes:
    """Return the end of a stream that has begun and cannot be finished."""
    return data_block(error_object(error)) + DONE
