"""OpenAI's chat completions: chunks and then `[DONE]`, or the whole answer in one response.

The schema is that of openai-python, `types/chat/chat_completion_chunk.py`. Blocks have no id and no
name, because several clients cannot handle them. These clients cannot resume: a stream always
begins with the `Start`, and if an answer starts over, they get an error.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, assert_never

from typing_extensions import override

from streamsvc.dialects.base import Dialect, Encoder, Ends
from streamsvc.dialects.openai.errors import CUT, DONE, INTERRUPTED, LOST, error_block, error_of
from streamsvc.dialects.sse import data_block, json_line
from streamsvc.events import (
    Done,
    FinishReason,
    Logprobs,
    Progress,
    Reasoning,
    Record,
    Refusal,
    Restart,
    Start,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
    ToolEvent,
    Usage,
)
from streamsvc.snapshot import Snapshot

FINISH_REASONS: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "other": "length",  # cut short: OpenAI has no other value for this
}


class OpenAIDialect(Dialect):
    """Encodes the stream of a chat completion.

    Args:
        include_usage: whether the stream ends with a chunk that has the usage.
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

    @override
    def interrupted(self) -> bytes:
        return error_block(INTERRUPTED)


class _ChunkEncoder(Encoder):
    """Encodes what all chunks have in common once, at the `Start`."""

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head: dict[str, Any] = {}
        self._before = b""
        self._after = b""
        self._written: dict[int, int] = {}  # how many characters of each call's arguments were sent

    @override
    def encode(self, record: Record) -> bytes:
        match record.event:
            case Start() as start:
                return self._begin(start)
            case Text(text=text):
                return self._delta(b"content", text)
            case Reasoning(text=text):
                return self._delta(b"reasoning_content", text)
            case Restart():
                return error_block(CUT)
            case Done() as done:
                return self._end(done)
            case rare:
                return self._rare(rare)

    def _begin(self, start: Start) -> bytes:
        self._head = {
            "id": start.generation,
            "object": "chat.completion.chunk",
            "created": start.created,
            "model": start.model,
        }
        # A chunk with a marked delta, encoded once and cut at the mark: per token, only the text is encoded.
        mark = '{"":""}'
        whole = json_line(self._chunk({"": ""}, None))
        before, _, after = whole.partition(mark.encode())
        self._before, self._after = b"data: %b{" % before, b"}%b\n\n" % after
        return data_block(self._chunk({"role": "assistant", "content": "", "refusal": None}, None))

    def _delta(self, field: bytes, text: str) -> bytes:
        return b'%b"%b":%b%b' % (self._before, field, json_line(text), self._after)

    def _rare(self, event: Progress | Refusal | Logprobs | ToolEvent) -> bytes:
        match event:
            case Progress():
                return b""
            case Refusal(text=text):
                return self._delta(b"refusal", text)
            case Logprobs(content=content, refusal=refused):
                likely = {"content": content or None, "refusal": refused or None}
                return self._delta_block({}, logprobs=likely)
            case ToolCallBegun(index=index, id=call_id, name=name):
                function = {"name": name, "arguments": ""}
                return self._call(index, id=call_id, type="function", function=function)
            case ToolCallArguments(index=index, arguments=arguments):
                self._written[index] = self._written.get(index, 0) + len(arguments)
                return self._call(index, function={"arguments": arguments})
            case ToolCallReady() as call:
                return self._ready(call)
            case other:
                assert_never(other)

    def _call(self, index: int, **fields: object) -> bytes:
        """Return a chunk with a piece of a tool call (`ChoiceDeltaToolCall`)."""
        return self._delta_block({"tool_calls": [{"index": index, **fields}]})

    def _ready(self, call: ToolCallReady) -> bytes:
        """Return what a complete call has beyond its draft: `{}` for no arguments, and the provider's data.

        openai-python wants a `function` in every piece (3.57, `lib/streaming/chat/_completions.py`).
        """
        rest = call.arguments[self._written.get(call.index, 0) :]
        if not rest and not call.provider_data:
            return b""
        extra = {"extra_content": call.provider_data} if call.provider_data else {}
        return self._call(call.index, function={"arguments": rest}, **extra)

    def _delta_block(self, delta: Mapping[str, object], **fields: object) -> bytes:
        chunk = self._chunk(delta, None)
        chunk["choices"][0].update(fields)
        return data_block(chunk)

    def _chunk(self, delta: Mapping[str, object], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return {**self._head, "choices": [choice], **usage}

    def _end(self, done: Done) -> bytes:
        if error := error_of(done):
            return error_block(error)
        self._head["model"] = done.model  # which is another one after a fallback
        delta = {"extra_content": done.provider_data} if done.provider_data else {}
        blocks = [data_block(self._chunk(delta, FINISH_REASONS[done.finish_reason]))]
        if self._include_usage and done.usage:
            blocks.append(data_block({**self._head, "choices": [], "usage": usage_of(done.usage)}))
        return b"".join((*blocks, DONE))


def completion_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return a successful answer as one object (`types/chat/chat_completion.py`)."""
    choice = {
        "index": 0,
        "message": _message(snapshot),
        "logprobs": _logprobs(snapshot),
        "finish_reason": FINISH_REASONS[snapshot.finish_reason or "other"],
    }
    return {
        "id": snapshot.id,
        "object": "chat.completion",
        "created": snapshot.created,
        "model": snapshot.model,
        "choices": [choice],
        "usage": usage_of(snapshot.usage) if snapshot.usage else None,
        "service_tier": None,
        "system_fingerprint": None,
    }


def _logprobs(snapshot: Snapshot) -> dict[str, object] | None:
    likely, refused = snapshot.logprobs or None, snapshot.refusal_logprobs or None
    return {"content": likely, "refusal": refused} if likely or refused else None


def _message(snapshot: Snapshot) -> dict[str, object]:
    """Return the message of an answer; `content` is null if there are tool calls or a refusal in its place."""
    has_other = bool(snapshot.tool_calls or snapshot.refusal)
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if has_other and not snapshot.text else snapshot.text,
        "refusal": snapshot.refusal or None,
    }
    if snapshot.reasoning:
        message["reasoning_content"] = snapshot.reasoning
    if snapshot.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in snapshot.tool_calls]
    if snapshot.provider_data:
        message["extra_content"] = snapshot.provider_data
    return message


def _tool_call(call: ToolCallReady) -> dict[str, object]:
    """Return a tool call (`types/chat/chat_completion_message_function_tool_call.py`)."""
    function = {"name": call.name, "arguments": call.arguments}
    extra = {"extra_content": call.provider_data} if call.provider_data else {}
    return {"id": call.id, "type": "function", "function": function, **extra}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Return a usage in OpenAI's form (`types/completion_usage.py`); `estimated` if streamsvc estimated it."""
    counts: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    read = {
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }
    written = {"reasoning_tokens": usage.reasoning_tokens}
    for name, details in (("prompt", read), ("completion", written)):
        if known := {key: count for key, count in details.items() if count is not None}:
            counts[f"{name}_tokens_details"] = known
    if usage.estimated:
        counts["estimated"] = True
    return counts
