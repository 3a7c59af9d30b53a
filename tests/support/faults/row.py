"""One row of the faults: what a provider does, and what streamsvc and a viewer make of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from streamsvc.events import Usage
from support.upstreams import USAGE, Script, finish, text

PRIMARY, FALLBACK = "primary", "fallback"

DEADLINE_SECONDS = 0.3
"""The deadline that a row is about; all other deadlines are long."""

SILENT_SECONDS = 0.2
"""A silence of more than half of that deadline."""

PAUSE_SECONDS = 2 * DEADLINE_SECONDS
"""A pause after which more follows: longer than the wait for the end of a stream."""

PATIENCE_SECONDS = 0.2
"""The value of a `Retry-After`."""

KEY = "sk-a-key-that-nobody-may-see"
PROMPT = "sesame"

SAID, REST = "The sky ", "is blue."
HALF = text("The ", "sky ")
WELL: Script = (text("The ", "sky ", "is ", "blue."), finish())
"""A healthy answer."""

OTHER_USAGE = Usage(input_tokens=7, output_tokens=11, reasoning_tokens=1)
SAME: Script = (text("The sk", "y is", " blue."), finish(usage=OTHER_USAGE))
"""The same answer from another provider."""

OTHER_TEXT = "It depends."
OTHER: Script = (text("It ", "depends."), finish(usage=OTHER_USAGE))
"""Another answer from another provider."""

CHANGED: Script = (text("Blue ", "it ", "is."), finish())
CHANGED_TEXT = "Blue it is."
"""Another answer from the same provider."""

Port = Literal["open", "closed", "full"]
Deadline = Literal["connect", "first_token", "idle"]
Event = tuple[str, ...]
"""What a viewer gets before `done`: the type of an event and its content."""


def retrying(reason: str, provider: str = PRIMARY) -> Event:
    return ("retrying", provider, reason)


def switching(reason: str) -> Event:
    return ("switching", FALLBACK, reason)


def restart(reason: str, provider: str = FALLBACK) -> Event:
    return ("restart", provider, reason)


def said(words: str) -> Event:
    """Text; consecutive pieces are joined."""
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
        primary: the scripts that the primary plays, one for each request, the last one for all that follow.
        fallback: the script that the fallback plays; None if there is no fallback.
        port: whether the primary listens, and whether it accepts.
        entry: settings of the primary's entry that matter here.
        rescue: the setting.
        events: what the viewer gets before `done`.
        end: what `done` says.
        calls: how many requests the primary and the fallback get.
        gaps: the shortest pause before each further call of the primary.
        deadline: the one that passes.
        silent_seconds: the shortest time that the provider is silent.
        is_kept: whether the first call comes on a connection that the primary has kept.
        unseen: how many requests reach the primary without showing anywhere else.
        setting: the key of the entry that the operator's log names.
        kinds: the kinds of primary that can have this fault.
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
