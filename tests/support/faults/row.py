"""One row of the faults: what a provider does, what streamsvc does, and what a viewer gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from streamsvc.events import Usage
from support.upstreams import USAGE, Script, finish, text

PRIMARY, FALLBACK = "primary", "fallback"

DEADLINE_SECONDS = 0.3
"""The deadline that a row tests; all other deadlines are long."""

SILENT_SECONDS = 0.2
"""A silence longer than half of that deadline."""

PAUSE_SECONDS = 2 * DEADLINE_SECONDS
"""A pause before more text, longer than the wait for the end of a stream."""

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
"""The same answer from the fallback."""

OTHER_TEXT = "It depends."
OTHER: Script = (text("It ", "depends."), finish(usage=OTHER_USAGE))
"""A different answer from the fallback."""

CHANGED: Script = (text("Blue ", "it ", "is."), finish())
CHANGED_TEXT = "Blue it is."
"""A different answer from the same provider."""

Port = Literal["open", "closed", "full"]
Deadline = Literal["connect", "first_token", "idle"]
Event = tuple[str, ...]
"""An event before `done`: its type and its content."""


def retrying(reason: str, provider: str = PRIMARY) -> Event:
    return ("retrying", provider, reason)


def switching(reason: str) -> Event:
    return ("switching", FALLBACK, reason)


def restart(reason: str, provider: str = FALLBACK) -> Event:
    return ("restart", provider, reason)


def said(words: str) -> Event:
    """Return a text event; consecutive pieces count as one."""
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
        name: the name of the test.
        words: the fault, in words.
        conduct: what streamsvc does, in words.
        primary: the scripts of the primary, one per request; the last one repeats.
        fallback: the script of the fallback; None if there is no fallback.
        port: whether the primary listens, and whether it accepts connections.
        entry: further settings of the primary's entry.
        rescue: the setting `rescue`.
        events: the events before `done`.
        end: the content of `done`.
        calls: the number of requests to the primary and to the fallback.
        gaps: the shortest pause before each further call to the primary.
        deadline: the deadline that passes.
        silent_seconds: the shortest time that the provider is silent.
        is_kept: whether the first call uses a kept connection.
        unseen: the number of requests to the primary that no event shows.
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
