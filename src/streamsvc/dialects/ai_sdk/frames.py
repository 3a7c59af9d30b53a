"""The UI message stream of the AI SDK, which `useChat` reads; only what its versions 6 and 7 share.

The chunks are those of the package `ai`, `src/ui-message-stream/ui-message-chunks.ts`. One unknown
type or finish reason fails the whole message, and so does a delta of a part that has not begun.

No chunk can take back what a stream has already sent, so an answer that starts over ends the stream. A new
stream, requested by `resumeStream`, replaces the message: its `start` clears it.

An answer to tool outputs is the next step of the message that has the calls. Its `start` has that message's id, so the
hook adds to it; a replay repeats the steps before.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, assert_never

from typing_extensions import override

from streamsvc.dialects.ai_sdk.chunks import embedded, encoded, metadata
from streamsvc.dialects.ai_sdk.context import Context
from streamsvc.dialects.base import Dialect, Encoder, Ends
from streamsvc.errors import CursorLost
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
from streamsvc.provider_errors import UpstreamCut

DONE = b"data: [DONE]\n\n"

RESTARTED = "The answer broke off and was generated again: reload the page to see it."
UNWATCHED = "The answer was stopped because nobody was watching; ask again."

FINISH_REASONS: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "other": "other",
}


_NO_MESSAGES = Context()


class AISDKDialect(Dialect):
    """Encodes a UI message stream.

    Args:
        context: what is known of the page's messages.
        is_replay: whether the stream repeats the steps that the page had before.
    """

    name = "ui_messages"
    headers: ClassVar[Mapping[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}
    ends: ClassVar[Ends] = (Done, Restart)

    def __init__(self, context: Context = _NO_MESSAGES, *, is_replay: bool = False) -> None:
        self._context = context
        self._is_replay = is_replay

    @override
    def encoder(self) -> Encoder:
        return _ChunkEncoder(self._context, self._context.earlier if self._is_replay else b"")

    @override
    def lost(self, generation: str) -> bytes:
        return _failure(CursorLost.message)


class _ChunkEncoder(Encoder):
    """Keeps track of the message's open part: each delta belongs to a part, and each part must be closed."""

    def __init__(self, context: Context, earlier: bytes) -> None:
        self._context = context
        self._earlier = earlier
        self._generation = ""
        self._kind = ""
        self._parts = 0
        self._ids: dict[int, str] = {}  # of the tool calls, by index

    @override
    def encode(self, record: Record) -> bytes:
        return self._begin(record.generation) + self._chunks_of(record.event)

    def _begin(self, generation: str) -> bytes:
        """Begin the message at the first record, whatever its type: a replay may leave out the `Start`."""
        if self._generation:
            return b""
        self._generation = generation
        start = {"type": "start", "messageId": self._context.message or generation}
        return encoded(start) + self._earlier + encoded({"type": "start-step"})

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
                return self._close_step(done) + _end(done)
            case other:
                assert_never(other)

    def _delta(self, kind: str, text: str) -> bytes:
        begun = self._open(kind) if kind != self._kind else b""
        return begun + encoded({"type": f"{kind}-delta", "id": str(self._parts), "delta": text})

    def _tool(self, event: ToolEvent) -> bytes:
        """Show a draft as it is written; the page only acts on the complete call."""
        match event:
            case ToolCallBegun(name=name):
                call_id = self._name(event)
                begun = {"type": "tool-input-start", "toolCallId": call_id, "toolName": name}
                return self._close() + encoded(begun)
            case ToolCallArguments(index=index, arguments=piece):
                call_id = self._ids[index]
                return encoded(
                    {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": piece}
                )
            case ToolCallReady() as call:
                return self._close() + _available(call, self._name(call))
            case other:
                assert_never(other)

    def _name(self, call: ToolCallBegun | ToolCallReady) -> str:
        """Return the id of a call in the page, and remember it."""
        call_id = self._context.id_in_page(call.id, self._generation)
        self._ids[call.index] = call_id
        return call_id

    def _open(self, kind: str) -> bytes:
        closed = self._close()
        self._kind = kind
        self._parts += 1
        return closed + encoded({"type": f"{kind}-start", "id": str(self._parts)})

    def _close(self, data: Mapping[str, Any] | None = None) -> bytes:
        """Close the open part, if there is one, with what the provider wants back."""
        kind, self._kind = self._kind, ""
        end = {"type": f"{kind}-end", "id": str(self._parts), **metadata(data or {})}
        return encoded(end) if kind else b""

    def _close_step(self, done: Done) -> bytes:
        """Close the open part of a step.

        A step without parts gets an empty text. The hook forgets a step without parts: it would take the tool outputs
        of the step before for new ones and send them again, after every such answer.
        """
        data = done.provider_data or {}
        is_empty = not self._parts and not self._ids
        needs_text = is_empty or (data and not self._kind)
        begun = self._open("text") if needs_text and not _is_error(done) else b""
        return begun + self._close(data)


def _available(call: ToolCallReady, call_id: str) -> bytes:
    """Return the chunk on which a page acts."""
    return encoded(
        {
            "type": "tool-input-available",
            "toolCallId": call_id,
            "toolName": call.name,
            "input": embedded(call.arguments),
            **metadata(call.provider_data),
        }
    )


def _is_error(done: Done) -> bool:
    """Return whether the answer ends with an error: a client that comes back would take an `abort` for a whole answer."""
    return done.status is Status.FAILED or (
        done.status is Status.STOPPED and done.outcome is not Outcome.CLIENT_STOP
    )


def _end(done: Done) -> bytes:
    match done.status:
        case Status.FAILED:
            return _failure(done.error.message if done.error else UpstreamCut.message)
        case Status.STOPPED if _is_error(done):
            return _failure(UNWATCHED)
        case Status.STOPPED:
            return encoded({"type": "abort", "reason": done.outcome}) + DONE
        case Status.COMPLETED | Status.INCOMPLETE:
            reason = FINISH_REASONS[done.finish_reason]
            return (
                encoded({"type": "finish-step"}, {"type": "finish", "finishReason": reason}) + DONE
            )
        case other:
            assert_never(other)


def _note(name: str, **data: str) -> bytes:
    """Return a chunk for the page that does not become part of the message."""
    return encoded({"type": f"data-{name}", "data": data, "transient": True})


def _failure(sentence: str) -> bytes:
    return encoded({"type": "error", "errorText": sentence}) + DONE
