"""The UI message stream of the AI SDK, which `useChat` reads; only what its versions 6 and 7 share.

The chunks are those of the package `ai`, `src/ui-message-stream/ui-message-chunks.ts`. One unknown
type or finish reason fails the whole message, and so does a delta of a part that has not begun.

No chunk can take back what a stream has already sent, so an answer that starts over ends the stream. A new
stream, requested by `resumeStream`, replaces the message: its `start` clears it.
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, assert_never

import msgspec
from typing_extensions import override

from streamsvc.dialects.base import Dialect, Encoder, Ends
from streamsvc.dialects.sse import data_block
from streamsvc.errors import CursorLost, UpstreamCut
from streamsvc.events import (
    Done,
    Event,
    FinishReason,
    Logprobs,
    Outcome,
    Progress,
    Reasoning,
    Record,
    Refusal,
    Restart,
    Start,
    Status,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
    ToolEvent,
)

DONE = b"data: [DONE]\n\n"

RESTARTED = "The answer broke off and is being generated again; reload the page to see it."
UNWATCHED = "The answer was stopped because nobody was watching; ask again."

FINISH_REASONS: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "other": "other",
}


class AISDKDialect(Dialect):
    """Encodes a UI message stream."""

    headers: ClassVar[Mapping[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}
    ends: ClassVar[Ends] = (Done, Restart)

    @override
    def encoder(self) -> Encoder:
        return _ChunkEncoder()

    @override
    def lost(self, generation: str) -> bytes:
        return _failure(CursorLost.message)


class _ChunkEncoder(Encoder):
    """Keeps track of the message's open part: each delta belongs to a part, and each part must be closed."""

    def __init__(self) -> None:
        self._has_begun = False
        self._kind = ""
        self._parts = 0
        self._ids: dict[int, str] = {}  # of the tool calls, by index

    @override
    def encode(self, record: Record) -> bytes:
        return self._begin(record.generation) + self._chunks_of(record.event)

    def _begin(self, generation: str) -> bytes:
        """Begin the message at the first record, whatever its type: a replay may leave out the `Start`."""
        if self._has_begun:
            return b""
        self._has_begun = True
        return _chunks({"type": "start", "messageId": generation}, {"type": "start-step"})

    def _chunks_of(self, event: Event) -> bytes:
        match event:
            case Start() | Logprobs():
                return b""
            case Text(text=text) | Refusal(text=text) | Reasoning(text=text):
                return self._delta("reasoning" if isinstance(event, Reasoning) else "text", text)
            case ToolCallBegun() | ToolCallArguments() | ToolCallReady() as tool:
                return self._tool(tool)
            case Progress(state=state, provider=provider, reason=reason):
                return _note("status", state=state, provider=provider, reason=reason)
            case Restart(reason=reason, provider=provider, model=model):
                note = _note("restart", reason=reason, provider=provider, model=model)
                return self._close() + note + _failure(RESTARTED)
            case Done() as done:
                return self._close() + _end(done)
            case other:
                assert_never(other)

    def _delta(self, kind: str, text: str) -> bytes:
        begun = b""
        if kind != self._kind:
            begun = self._close()
            self._kind = kind
            self._parts += 1
            begun += _chunks({"type": f"{kind}-start", "id": str(self._parts)})
        return begun + _chunks({"type": f"{kind}-delta", "id": str(self._parts), "delta": text})

    def _tool(self, event: ToolEvent) -> bytes:
        """Show a draft as it is written; the page only acts on the complete call."""
        match event:
            case ToolCallBegun(index=index, id=call_id, name=name):
                self._ids[index] = call_id
                begun = {"type": "tool-input-start", "toolCallId": call_id, "toolName": name}
                return self._close() + _chunks(begun)
            case ToolCallArguments(index=index, arguments=piece):
                call_id = self._ids[index]
                return _chunks(
                    {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": piece}
                )
            case ToolCallReady() as call:
                return self._close() + _available(call)
            case other:
                assert_never(other)

    def _close(self) -> bytes:
        kind, self._kind = self._kind, ""
        return _chunks({"type": f"{kind}-end", "id": str(self._parts)}) if kind else b""


def _available(call: ToolCallReady) -> bytes:
    """Return the chunk on which a page acts."""
    metadata = {"providerMetadata": call.provider_data} if call.provider_data else {}
    return _chunks(
        {
            "type": "tool-input-available",
            "toolCallId": call.id,
            "toolName": call.name,
            "input": msgspec.Raw(json.dumps(json.loads(call.arguments)).encode()),  # on one line
            **metadata,
        }
    )


def _end(done: Done) -> bytes:
    match done.status:
        case Status.FAILED:
            return _failure(done.error.message if done.error else UpstreamCut.message)
        case Status.STOPPED if done.outcome is Outcome.CLIENT_STOP:
            return _chunks({"type": "abort", "reason": done.outcome}) + DONE
        case Status.STOPPED:
            # A client that comes back would take an `abort` for a whole answer.
            return _failure(UNWATCHED)
        case Status.COMPLETED | Status.INCOMPLETE:
            reason = FINISH_REASONS[done.finish_reason]
            return (
                _chunks({"type": "finish-step"}, {"type": "finish", "finishReason": reason}) + DONE
            )
        case other:
            assert_never(other)


def _note(name: str, **data: str) -> bytes:
    """Return a chunk for the page that does not become part of the message."""
    return _chunks({"type": f"data-{name}", "data": data, "transient": True})


def _failure(sentence: str) -> bytes:
    return _chunks({"type": "error", "errorText": sentence}) + DONE


def _chunks(*chunks: Mapping[str, Any]) -> bytes:
    return b"".join(map(data_block, chunks))
