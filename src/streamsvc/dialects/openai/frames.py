"""OpenAI's chat completions: chunks and then `[DONE]`, or the whole answer in one response.

The schema is that of openai-python, `types/chat/chat_completion_chunk.py`. Blocks have no id and no
name, because several clients cannot handle them. These clients cannot resume: a stream always
begins with the `Start`, and if an answer starts over, they get an error.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, assert_never

from msgspec import UNSET, UnsetType
from typing_extensions import override

from streamsvc.dialects.base import Dialect, Encoder, Ends
from streamsvc.dialects.openai import shapes
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

FINISH_REASONS: Mapping[FinishReason, shapes.FinishReason] = {
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

    name = "chat_completions"
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
        self._generation = self._model = ""
        self._created = 0
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
        self._generation, self._created = start.generation, start.created
        self._model = start.model
        # A chunk with a marked delta, encoded once and cut at the mark: per token, only the text is encoded.
        mark = b'{"content":""}'
        before, _, after = json_line(self._chunk(shapes.ChunkDelta(content=""))).partition(mark)
        self._before, self._after = b"data: %b{" % before, b"}%b\n\n" % after
        begun = shapes.ChunkDelta(role="assistant", content="", refusal=None)
        return data_block(self._chunk(begun))

    def _delta(self, field: bytes, text: str) -> bytes:
        return b'%b"%b":%b%b' % (self._before, field, json_line(text), self._after)

    def _rare(self, event: Progress | Refusal | Logprobs | ToolEvent) -> bytes:
        match event:
            case Progress():
                return b""
            case Refusal(text=text):
                return self._delta(b"refusal", text)
            case Logprobs(content=content, refusal=refused):
                chunk = self._chunk(shapes.ChunkDelta())
                chunk.choices[0].logprobs = _logprobs(content, refused)
                return data_block(chunk)
            case ToolCallBegun(index=index, id=call_id, name=name):
                function = shapes.FunctionCallPiece(name=name, arguments="")
                return self._call(
                    shapes.ToolCallPiece(
                        index=index, id=call_id, type="function", function=function
                    )
                )
            case ToolCallArguments(index=index, arguments=arguments):
                self._written[index] = self._written.get(index, 0) + len(arguments)
                function = shapes.FunctionCallPiece(arguments=arguments)
                return self._call(shapes.ToolCallPiece(index=index, function=function))
            case ToolCallReady() as call:
                return self._ready(call)
            case other:
                assert_never(other)

    def _call(self, piece: shapes.ToolCallPiece) -> bytes:
        """Return a chunk with a piece of a tool call (`ChoiceDeltaToolCall`)."""
        return data_block(self._chunk(shapes.ChunkDelta(tool_calls=[piece])))

    def _ready(self, call: ToolCallReady) -> bytes:
        """Return what a complete call has beyond its draft: `{}` for no arguments, and the provider's data.

        openai-python wants a `function` in every piece (3.57, `lib/streaming/chat/_completions.py`).
        """
        rest = call.arguments[self._written.get(call.index, 0) :]
        if not rest and not call.provider_data:
            return b""
        return self._call(
            shapes.ToolCallPiece(
                index=call.index,
                function=shapes.FunctionCallPiece(arguments=rest),
                extra_content=call.provider_data or UNSET,
            )
        )

    def _chunk(
        self, delta: shapes.ChunkDelta, finish_reason: shapes.FinishReason | None = None
    ) -> shapes.ChatCompletionChunk:
        return shapes.ChatCompletionChunk(
            id=self._generation,
            created=self._created,
            model=self._model,
            choices=[shapes.ChunkChoice(delta=delta, finish_reason=finish_reason)],
            usage=None if self._include_usage else UNSET,
        )

    def _end(self, done: Done) -> bytes:
        if error := error_of(done):
            return error_block(error)
        self._model = done.model  # which is another one after a fallback
        delta = shapes.ChunkDelta(extra_content=done.provider_data or UNSET)
        chunk = self._chunk(delta, FINISH_REASONS[done.finish_reason])
        blocks = [data_block(chunk)]
        if self._include_usage and done.usage:
            chunk.choices, chunk.usage = [], usage_of(done.usage)
            blocks.append(data_block(chunk))
        return b"".join((*blocks, DONE))


def completion_of(snapshot: Snapshot) -> shapes.ChatCompletion:
    """Return a successful answer as one object."""
    likely, refused = snapshot.logprobs or (), snapshot.refusal_logprobs or ()
    choice = shapes.CompletionChoice(
        message=_message(snapshot),
        logprobs=_logprobs(likely, refused) if likely or refused else None,
        finish_reason=FINISH_REASONS[snapshot.finish_reason or "other"],
    )
    return shapes.ChatCompletion(
        id=snapshot.id,
        created=snapshot.created,
        model=snapshot.model,
        choices=[choice],
        usage=usage_of(snapshot.usage) if snapshot.usage else None,
    )


def _logprobs(content: Sequence[Any], refusal: Sequence[Any]) -> shapes.CompletionLogprobs:
    return shapes.CompletionLogprobs(content=content or None, refusal=refusal or None)


def _message(snapshot: Snapshot) -> shapes.CompletionMessage:
    """Return the message of an answer; `content` is null if there are tool calls or a refusal in its place."""
    calls = [_tool_call(call) for call in snapshot.tool_calls or ()]
    has_other = bool(calls or snapshot.refusal)
    return shapes.CompletionMessage(
        content=None if has_other and not snapshot.text else snapshot.text,
        refusal=snapshot.refusal or None,
        reasoning_content=snapshot.reasoning or UNSET,
        tool_calls=calls or UNSET,
        extra_content=snapshot.provider_data or UNSET,
    )


def _tool_call(call: ToolCallReady) -> shapes.CompletionToolCall:
    return shapes.CompletionToolCall(
        id=call.id,
        function=shapes.FunctionCall(name=call.name, arguments=call.arguments),
        extra_content=call.provider_data or UNSET,
    )


def usage_of(usage: Usage) -> shapes.CompletionUsage:
    """Return a usage in OpenAI's form."""
    return shapes.CompletionUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=_input_details(usage),
        completion_tokens_details=UNSET
        if usage.reasoning_tokens is None
        else shapes.CompletionTokensDetails(reasoning_tokens=usage.reasoning_tokens),
        estimated=True if usage.estimated else UNSET,
    )


def _input_details(usage: Usage) -> shapes.PromptTokensDetails | UnsetType:
    read, written = usage.cached_tokens, usage.cache_write_tokens
    if read is None and written is None:
        return UNSET
    return shapes.PromptTokensDetails(
        cached_tokens=UNSET if read is None else read,
        cache_write_tokens=UNSET if written is None else written,
    )
