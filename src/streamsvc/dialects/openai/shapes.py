"""Answers of OpenAI's chat completions, whole and in chunks.

Names and nesting are those of openai-python, `types/chat/chat_completion.py`, `chat_completion_chunk.py` and
`types/completion_usage.py`. `reasoning_content` and `extra_content` are common additions of other servers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from streamsvc.snapshot import LongText

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]

ExtraContent = Mapping[str, Any] | UnsetType
"""What the provider wants back with the message or the call, by vendor; opaque."""


class PromptTokensDetails(msgspec.Struct, kw_only=True):
    """Parts of the input.

    Attributes:
        cached_tokens: what the provider read from its cache.
        cache_write_tokens: what it wrote to its cache.
    """

    cached_tokens: int | UnsetType = UNSET
    cache_write_tokens: int | UnsetType = UNSET


class CompletionTokensDetails(msgspec.Struct, kw_only=True):
    """Parts of the output.

    Attributes:
        reasoning_tokens: what was spent on reasoning.
    """

    reasoning_tokens: int | UnsetType = UNSET


class CompletionUsage(msgspec.Struct, kw_only=True):
    """The tokens of an answer.

    Attributes:
        prompt_tokens: of the input.
        completion_tokens: of the output, reasoning included.
        total_tokens: both.
        estimated: true if the provider reported nothing and streamsvc estimated.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | UnsetType = UNSET
    completion_tokens_details: CompletionTokensDetails | UnsetType = UNSET
    estimated: Literal[True] | UnsetType = UNSET


class FunctionCall(msgspec.Struct, kw_only=True):
    """The name of a tool and its arguments, a JSON object in a string."""

    name: str
    arguments: str


class CompletionToolCall(msgspec.Struct, kw_only=True):
    """A whole tool call."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall
    extra_content: ExtraContent = UNSET


class CompletionLogprobs(msgspec.Struct, kw_only=True):
    """How likely the tokens of the text, and of a refusal, were."""

    content: Sequence[Any] | None
    refusal: Sequence[Any] | None


class CompletionMessage(msgspec.Struct, kw_only=True):
    """The answer's message.

    Attributes:
        content: the text; null if there are tool calls or a refusal in its place.
        refusal: the sentence with which the model refused.
        reasoning_content: the model's thinking.
    """

    role: Literal["assistant"] = "assistant"
    content: LongText | None
    refusal: LongText | None
    reasoning_content: LongText | UnsetType = UNSET
    tool_calls: Sequence[CompletionToolCall] | UnsetType = UNSET
    extra_content: ExtraContent = UNSET


class CompletionChoice(msgspec.Struct, kw_only=True):
    """The only answer."""

    index: Literal[0] = 0
    message: CompletionMessage
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(msgspec.Struct, kw_only=True):
    """A successful answer as one object.

    Attributes:
        id: of the generation.
        created: when, in seconds since 1970.
        model: the model that answered.
    """

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: Sequence[CompletionChoice]
    usage: CompletionUsage | None
    service_tier: None = None
    system_fingerprint: None = None


class FunctionCallPiece(msgspec.Struct, kw_only=True):
    """The name of a tool, or a piece of its arguments."""

    name: str | UnsetType = UNSET
    arguments: str


class ToolCallPiece(msgspec.Struct, kw_only=True):
    """The beginning of a tool call, or a piece of it; the pieces of a call have the same `index`."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionCallPiece
    extra_content: ExtraContent = UNSET


class ChunkDelta(msgspec.Struct, kw_only=True):
    """A piece of the message; the first one has its role."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    refusal: str | UnsetType | None = UNSET
    tool_calls: Sequence[ToolCallPiece] | UnsetType = UNSET
    extra_content: ExtraContent = UNSET


class ChunkChoice(msgspec.Struct, kw_only=True):
    """The next piece of the only answer."""

    index: Literal[0] = 0
    delta: ChunkDelta
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(msgspec.Struct, kw_only=True):
    """A chunk of a streamed answer.

    Attributes:
        id: of the generation.
        created: when it began, in seconds since 1970.
        model: the model that answers.
        choices: empty in the chunk with the usage.
        usage: only if `stream_options.include_usage` asks for it, and null in all chunks but the last.
    """

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: Sequence[ChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
