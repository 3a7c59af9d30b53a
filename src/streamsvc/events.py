"""The events of a generation, a closed union, and the record that numbers one.

Events are what viewers see, in every dialect; their field names are those of the native wire format.
A generation's log begins with one `Start` and ends with exactly one `Done`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

AnswerEnd = Literal["stop", "length", "content_filter", "tool_calls", "other"]
"""Why a model stopped; the same values for all providers."""

FinishReason = AnswerEnd | Literal["stopped", "error"]
"""Why a generation ended: the model's reason, `stopped` before it had one, or `error`."""


class Status(StrEnum):
    """How a generation ended, in one word for viewers.

    Attributes:
        COMPLETED: the answer is complete.
        INCOMPLETE: the answer was cut short (`finish_reason` is `length`, `content_filter` or `other`). If a content
            filter refused the prompt and there is no answer, `error` has the code `content_filter`.
        FAILED: `error` says why.
        STOPPED: on request (`outcome` is `client_stop`), or because nobody was watching (`no_viewers`).
    """

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    STOPPED = "stopped"


class Outcome(StrEnum):
    """Why a generation ended, in one word for operators.

    Attributes:
        COMPLETED: the model ended the answer, complete or cut short.
        CLIENT_STOP: a client stopped it.
        NO_VIEWERS: the last viewer left, and nobody came back within the grace period.
        DRAINED: the service shut down before the answer ended.
        INTERNAL_ERROR: a bug in this service.
        CONNECT_TIMEOUT: the provider did not accept the connection within `connect_seconds`.
        FIRST_TOKEN_TIMEOUT: no token came within `first_token_seconds`.
        IDLE_TIMEOUT: the provider was silent for `idle_seconds` in the middle of the answer.
        TOTAL_TIMEOUT: the answer took longer than `total_seconds`.
        LOG_FULL: the answer reached `max_log_bytes`, or running answers filled `max_total_log_bytes`.
        UPSTREAM_CUT: the provider broke off in the middle.
        UPSTREAM_ERROR: the provider failed in another way; `error.code` says how.
        UPSTREAM_LOST: the worker that generated the answer died, and no other worker could go on.
    """

    COMPLETED = "completed"
    CLIENT_STOP = "client_stop"
    NO_VIEWERS = "no_viewers"
    DRAINED = "drained"
    INTERNAL_ERROR = "internal_error"
    CONNECT_TIMEOUT = "connect_timeout"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105  # not a password
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    LOG_FULL = "log_full"
    UPSTREAM_CUT = "upstream_cut"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_LOST = "upstream_lost"


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens as the provider counted them, or as streamsvc estimated them.

    Attributes:
        input_tokens: tokens of the prompt.
        output_tokens: tokens of the answer, reasoning included.
        reasoning_tokens: the part of `output_tokens` spent on reasoning, if the provider reports it.
        cached_tokens: the part of `input_tokens` that the provider read from its cache, if it reports that.
        cache_write_tokens: the part of `input_tokens` that it wrote to its cache, if it reports that.
        estimated: true if the provider reported nothing and streamsvc estimated.
    """

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    estimated: bool = False


class PublicError(msgspec.Struct, frozen=True):
    """A failure as viewers see it.

    Attributes:
        code: for programs.
        message: a sentence for people.
        retryable: whether the same request may succeed later.
    """

    code: str
    message: str
    retryable: bool


class Start(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="start", tag_field="type"
):
    """Always first. On a replay, a page clears its text at this event.

    Attributes:
        generation: the generation's id.
        provider: the provider entry that is asked first.
        model: the model that is requested from it.
        created: when, in seconds since 1970.
        metadata: the pairs that the request had.
        dropped_parameters: the names of parameters that the provider's API lacks and that were left out
            (`params_unsupported = "drop"`).
        adjusted_parameters: parameters that were replaced by the nearest value that the API accepts, with that value.
    """

    generation: str
    provider: str
    model: str
    created: int
    metadata: dict[str, str] = {}
    dropped_parameters: tuple[str, ...] = ()
    adjusted_parameters: dict[str, str] = {}


class Text(msgspec.Struct, frozen=True, gc=False, tag="text", tag_field="type"):
    """A piece of the answer's text, as it arrives from the model.

    Attributes:
        text: the piece; never empty.
    """

    text: str


class Reasoning(msgspec.Struct, frozen=True, gc=False, tag="reasoning", tag_field="type"):
    """A piece of the model's reasoning, separate from the answer.

    Attributes:
        text: the piece; never empty.
    """

    text: str


class Refusal(msgspec.Struct, frozen=True, gc=False, tag="refusal", tag_field="type"):
    """A piece of the sentence with which the model refuses. It is not a failure: `done` is `completed`.

    Attributes:
        text: the piece; never empty.
    """

    text: str


class Logprobs(msgspec.Struct, frozen=True, omit_defaults=True, tag="logprobs", tag_field="type"):
    """How likely the latest tokens of the text were.

    Attributes:
        content: one object for each token, in the shape of OpenAI's API: `token`, `logprob`, `bytes` and
            `top_logprobs`.
        refusal: the same for the tokens of a refusal.
    """

    # The shape is that of the openai SDK, `types/chat/chat_completion_token_logprob.py`.

    content: tuple[Any, ...]
    refusal: tuple[Any, ...] = ()


class ToolCallBegun(
    msgspec.Struct, frozen=True, kw_only=True, tag="tool_call_begun", tag_field="type"
):
    """The model begins to write a tool call. This is a draft: show it at most, and do not act on it.

    Attributes:
        index: the call's number in this answer, from 0; several may be written at the same time.
        id: unique in the answer; the result refers to it.
        name: the tool's name.
    """

    index: int
    id: str
    name: str


class ToolCallArguments(
    msgspec.Struct, frozen=True, gc=False, tag="tool_call_arguments", tag_field="type"
):
    """A piece of the arguments of a draft. The pieces are JSON only when joined.

    Attributes:
        index: as in `tool_call_begun`.
        arguments: the piece; never empty.
    """

    index: int
    arguments: str


class ToolCallReady(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag="tool_call",
    tag_field="type",
):
    """A complete tool call. Only this event may be acted on: the answer is complete, and its `done` follows.

    Attributes:
        index: as in `tool_call_begun`.
        id: as in `tool_call_begun`.
        name: as in `tool_call_begun`.
        arguments: a JSON object, as text: the joined pieces, or `{}` if there were none.
        provider_data: what the provider wants back with this call, by vendor; opaque.
    """

    index: int
    id: str
    name: str
    arguments: str
    provider_data: Mapping[str, Any] = {}


class Restart(msgspec.Struct, frozen=True, kw_only=True, tag="restart", tag_field="type"):
    """The answer broke off, and a different one begins: a page clears its text and its drafts of tool calls.

    Attributes:
        reason: the code of the error that cut the answer; `worker_lost` if another worker has taken it over.
        provider: the entry that answers now.
        model: the model that is requested from it.
    """

    reason: str
    provider: str
    model: str


class Progress(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="status", tag_field="type"
):
    """Why no text is arriving right now. A page may ignore it.

    Attributes:
        state: `retrying`: the same entry is called again; `switching`: the next one is.
        provider: the entry that is called.
        reason: the code of the preceding failure; `circuit_open` or `busy` if no call has been made yet, `worker_lost`
            if another worker has taken the answer over.
        dropped_parameters: as in `start`, for the entry that is switched to.
        adjusted_parameters: as in `start`, for the entry that is switched to.
    """

    state: Literal["retrying", "switching"]
    provider: str
    reason: str
    dropped_parameters: tuple[str, ...] = ()
    adjusted_parameters: dict[str, str] = {}


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done", tag_field="type"):
    """Always last, exactly once, even after a failure.

    Attributes:
        status: how the generation ended, for the page.
        finish_reason: why, with the same values for all providers.
        provider_finish_reason: the provider's own word for it.
        outcome: why, for operators.
        provider: the entry that answered; after a fallback, not the one in `start`.
        model: the model that answered.
        usage: the tokens; null if none can have been used. Failed calls are not counted.
        error: what failed. Also set for `content_filter` if the prompt was refused before the first token.
        provider_data: what the provider wants back with this answer, by vendor; opaque. It goes back with the answer's
            message in the next request.
    """

    status: Status
    finish_reason: FinishReason
    provider_finish_reason: str | None = None
    outcome: Outcome
    provider: str
    model: str
    usage: Usage | None = None
    error: PublicError | None = None
    provider_data: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET


Delta = Text | Reasoning | Refusal | Logprobs | ToolCallBegun | ToolCallArguments
"""A piece of an answer, as a provider emits it."""

ToolEvent = ToolCallBegun | ToolCallArguments | ToolCallReady
"""The events of tool calls: first the drafts, then the calls."""

Event = Start | Delta | ToolCallReady | Restart | Progress | Done


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event with its sequence number in the log of its generation: 0, 1, 2 … without holes.

    Attributes:
        encoded: a cached frame that is the same for all viewers, and the encoder that made it. Only that
            encoder reads and sets it (`dialects/native/shared.py`).
    """

    generation: str
    seq: int
    event: Event
    encoded: tuple[object, bytes] | None = None
