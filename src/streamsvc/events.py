"""What a generation says: a closed union of events, and the record that numbers one.

Events are what viewers see, in every dialect; the field names are those of the native wire format.
A generation's log begins with one `Start` and ends with exactly one `Done`.
"""

from enum import StrEnum
from typing import Literal

import msgspec

AnswerEnd = Literal["stop", "length", "content_filter", "tool_calls", "other"]
"""Why a model stopped, in one vocabulary for all providers."""

FinishReason = AnswerEnd | Literal["stopped", "error"]
"""Why a generation ended: the model's reason, or that there was none."""


class Status(StrEnum):
    """How a generation ended, in one word for viewers."""

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    STOPPED = "stopped"


class Outcome(StrEnum):
    """Why a generation ended, in one word for operators."""

    COMPLETED = "completed"
    CLIENT_STOP = "client_stop"
    NO_VIEWERS = "no_viewers"
    DRAINED = "drained"
    INTERNAL_ERROR = "internal_error"
    CONNECT_TIMEOUT = "connect_timeout"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105  # no password
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    LOG_FULL = "log_full"
    UPSTREAM_CUT = "upstream_cut"
    UPSTREAM_ERROR = "upstream_error"


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens, as the provider counted them.

    Attributes:
        input_tokens: tokens of the prompt.
        output_tokens: tokens of the answer, reasoning included.
        reasoning_tokens: the part of `output_tokens` spent on reasoning, where it is told.
        estimated: true where streamsvc counted in the provider's place.
    """

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int | None = None
    estimated: bool = False


class PublicError(msgspec.Struct, frozen=True):
    """What a viewer is told of a failure."""

    code: str
    message: str
    retryable: bool


class Start(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="start", tag_field="type"
):
    """Always first. On a replay it tells the page to clear its text."""

    generation: str
    provider: str
    model: str
    created: int
    metadata: dict[str, str] = {}


class Text(msgspec.Struct, frozen=True, gc=False, tag="text", tag_field="type"):
    """A piece of the answer; never empty."""

    text: str


class Reasoning(msgspec.Struct, frozen=True, gc=False, tag="reasoning", tag_field="type"):
    """A piece of the model's thinking, kept apart from the answer; never empty."""

    text: str


class Restart(msgspec.Struct, frozen=True, kw_only=True, tag="restart", tag_field="type"):
    """The answer broke off, and another one begins: the page clears its text.

    Attributes:
        reason: the code of the error that broke it off.
        provider: who answers now.
        model: the model of that entry.
    """

    reason: str
    provider: str
    model: str


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="status", tag_field="type"):
    """What is happening while there are no words; viewers may pass over it.

    Attributes:
        state: whether a provider is asked again, or another one is.
        provider: the one that is asked.
        reason: the code of the error before; `circuit_open` or `busy` where nobody was asked yet.
    """

    state: Literal["retrying", "switching"]
    provider: str
    reason: str


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done", tag_field="type"):
    """Always last, exactly once.

    Attributes:
        error: what failed; for `content_filter` also, where the prompt was refused before the first word.
    """

    status: Status
    finish_reason: FinishReason
    provider_finish_reason: str | None = None
    outcome: Outcome
    provider: str
    model: str
    usage: Usage | None = None
    error: PublicError | None = None


Event = Start | Text | Reasoning | Restart | Progress | Done


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event with its place in the log of its generation: 0, 1, 2 … without holes.

    Attributes:
        encoded: the frame of an encoder that encodes alike for all viewers, and that encoder. A cache: only the
            encoder reads and sets it (`dialects/native/shared.py`).
    """

    generation: str
    seq: int
    event: Event
    encoded: tuple[object, bytes] | None = None
