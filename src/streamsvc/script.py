"""Scripts for the fake provider: an answer, step by step.

A script is an array of steps, in a request (JSON), in an entry's settings (TOML) and in `streamsvc.testing`:

    [{"reasoning": "Hm."}, {"words": "Let me look."}, {"call": "get_weather", "arguments": {"city": "Paris"}},
     {"turn": "next"}, {"words": "18 °C."}]

Each step has one of the keys in `ACTIONS`, and the details that belong to it.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streamsvc.events import AnswerEnd, Usage

FailureCode = Literal[
    "provider_auth",
    "provider_quota",
    "provider_misconfigured",
    "provider_model_not_found",
    "provider_refused",
    "content_filter",
    "context_length_exceeded",
    "provider_rate_limited",
    "provider_unavailable",
    "provider_timeout",
    "upstream_cut",
    "upstream_invalid",
    "empty_answer",
    "upstream_error",
]
"""The codes of the errors with which a provider can fail; see `streamsvc.provider_errors`."""

_Seconds = Annotated[float, Meta(ge=0, le=86_400)]
_Text = Annotated[str, Meta(min_length=1)]


class ScriptStep(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """One step of a script.

    Attributes:
        words: text of the answer; it is written word by word.
        reasoning: the same for reasoning.
        refusal: the same for a refusal.
        call: the name of a tool that is called; `arguments` are written piece by piece.
        pause: seconds of silence.
        pace: words per second from here on; 0 is as fast as possible.
        usage: the tokens that are reported; otherwise they are counted.
        finish: the reason with which the answer ends; otherwise `stop`, or `tool_calls` if there are calls.
        fail: the code of the error with which the call to the provider fails.
        provider_data: what the provider wants back with the answer, by vendor.
        turn: the next answer of the conversation begins. After the last one, the first begins again.
        arguments: with `call`: an object; a string is written as it is, so that it can be broken JSON.
        id: with `call`: of the call; otherwise it is numbered.
        data: with `call`: what the provider wants back with this call, by vendor.
        after: with `fail`: after how many words and pieces of calls, wherever the step stands.
        times: with `fail`: how many calls for the same answer fail; the next one succeeds.
        retry_after: with `fail`: how many seconds the provider asks to wait.
    """

    words: _Text | None = None
    reasoning: _Text | None = None
    refusal: _Text | None = None
    call: _Text | None = None
    pause: _Seconds | None = None
    pace: Annotated[float, Meta(ge=0)] | None = None
    usage: Usage | None = None
    finish: AnswerEnd | None = None
    fail: FailureCode | None = None
    provider_data: dict[str, Any] | None = None
    turn: Literal["next"] | None = None
    arguments: dict[str, Any] | str | None = None
    id: _Text | None = None
    data: dict[str, Any] | None = None
    after: Annotated[int, Meta(ge=0)] | None = None
    times: Annotated[int, Meta(ge=1)] | None = None
    retry_after: _Seconds | None = None

    def __post_init__(self) -> None:
        """Check that the step does one thing.

        Raises:
            ValueError: names the keys at fault.
        """
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        actions = [name for name in given if name in ACTIONS]
        if len(actions) != 1:
            found = f", not {' and '.join(actions)}" if actions else ""
            raise ValueError(f"a step has one of {', '.join(ACTIONS)}{found}")
        allowed = _DETAILS.get(actions[0], ())
        if stray := [name for name in given if name not in (*actions, *allowed)]:
            raise ValueError(f"a step with {actions[0]} has no {stray[0]}")


_DETAILS: Mapping[str, Sequence[str]] = {
    "call": ("arguments", "id", "data"),
    "fail": ("after", "times", "retry_after"),
}
"""The keys that belong to another one."""

ACTIONS: Sequence[str] = tuple(
    name for name in ScriptStep.__struct_fields__ if name not in chain(*_DETAILS.values())
)
"""The keys of which each step has exactly one."""

Script = tuple[ScriptStep, ...]
"""A whole script; empty: none."""


def turns_of(script: Script) -> list[Script]:
    """Return the steps of each answer of a conversation; at least one."""
    turns: list[list[ScriptStep]] = [[]]
    for step in script:
        if step.turn:
            turns.append([])
        else:
            turns[-1].append(step)
    return [tuple(turn) for turn in turns]
