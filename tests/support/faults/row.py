"""One row of the faults: what a provider does, and what streamsvc and a viewer make of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from streamsvc.events import Usage
from support.upstreams import USAGE, Script, finish, text

PRIMARY, FALLBACK = "primary", "fallback"

DEADLINE_SECONDS = 0.3
"""Of the deadline that a row is about; those that it is not about are long."""

SILENT_SECONDS = 0.2
"""A silence that is a large part of that deadline."""

PAUSE_SECONDS = 2 * DEADLINE_SECONDS
"""Of a provider that says more than it seemed to: longer than the end of a stream is waited for."""

PATIENCE_SECONDS = 0.2
"""What a `Retry-After` asks for."""

KEY = "sk-a-key-that-nobody-may-see"
PROMPT = "sesame"

SAID, REST = "The sky ", "is blue."
HALF = text("The ", "sky ")
WELL: Script = (text("The ", "sky ", "is ", "blue."), finish())
"""A healthy answer."""

OTHER_USAGE = Usage(input_tokens=7, output_tokens=11, reasoning_tokens=1)
SAME: Script = (text("The sk", "y is", " blue."), finish(usage=OTHER_USAGE))
"""The same answer by somebody else."""

OTHER_TEXT = "It depends."
OTHER: Script = (text("It ", "depends."), finish(usage=OTHER_USAGE))
"""Another answer by somebody else."""

CHANGED: Script = (text("Blue ", "it ", "is."), finish())
CHANGED_TEXT = "Blue it is."
"""Another answer by the same provider."""

Port = Literal["open", "closed", "full"]
Deadline = Literal["connect", "first_token", "idle"]
Event = tuple[str, ...]
"""What a viewer gets before `done`: its type and what it says."""


def retrying(reason: str, provider: str = PRIMARY) -> Event:
    return ("retrying", provider, reason)


def switching(reason: str) -> Event:
    return ("switching", FALLBACK, reason)


def restart(reason: str, provider: str = FALLBACK) -> Event:
    return ("restart", provider, reason)


def said(words: str) -> Event:
    """Text; consecutive pieces are one."""
    return ("text", words)


@dataclass(frozen=True, kw_only=True)
class End:
    """What `done` says."""

    status: str = "completed"
    finish_reason: str = "stop"
    outcome: str = "completed"
    provider: str = PRIMARY
    usage: Usage | Literal["estimated"] | None = USAGE
    error: str | None = None


ANSWERED = End()
ANSWERED_ELSEWHERE = End(provider=FALLBACK, usage=OTHER_USAGE)


def filtered(usage: Usage | Literal["estimated"] | None = None, error: str | None = None) -> End:
    return End(status="incomplete", finish_reason="content_filter", usage=usage, error=error)


def failed(
    error: str, outcome: str = "upstream_error", usage: Literal["estimated"] | None = None
) -> End:
    return End(status="failed", finish_reason="error", outcome=outcome, usage=usage, error=error)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One row.

    Attributes:
        name: of the test.
        words: the fault.
        conduct: what streamsvc does.
        primary: what the primary plays, a script a request, the last one for all that follow.
        fallback: what the fallback plays; None: there is no fallback.
        port: whether the primary listens, and whether it accepts.
        entry: settings of the primary's entry, where they matter.
        rescue: the setting.
        events: what the viewer gets before `done`.
        end: what `done` says.
        calls: how often the primary and the fallback are asked.
        gaps: how long the primary is left in peace before each further call, at least.
        deadline: the one that passes.
        silent_seconds: how long the provider says nothing, at least.
        is_kept: whether the first call comes on a connection that the primary has kept.
        unseen: how many requests the primary sees that nobody else does.
        setting: the key of the entry that the operator's log names.
        kinds: of the primary; a fault that only one API can have names it.
    """

    name: str
    words: str
    conduct: str
    primary: tuple[Script, ...] = ()
    fallback: Script | None = OTHER
    port: Port = "open"
    entry: Mapping[str, Any] = field(default_factory=dict)
    rescue: bool = True
    events: tuple[Event, ...]
    end: End
    calls: tuple[int, int]
    gaps: tuple[float, ...] = ()
    deadline: Deadline | None = None
    silent_seconds: float = DEADLINE_SECONDS
    is_kept: bool = False
    unseen: int = 0
    setting: str = ""
    kinds: tuple[str, ...] = ("openai", "gemini")
