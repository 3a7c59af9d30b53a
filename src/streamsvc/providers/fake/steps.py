"""The steps of an answer of the fake provider: what it plays, one after another, at its pace."""

import math

import msgspec

from streamsvc.events import Delta, Refusal, Text, ToolCallArguments, ToolCallBegun
from streamsvc.provider_errors import ProviderError
from streamsvc.providers.base import Finish


class Silence(msgspec.Struct, frozen=True):
    """Nothing is emitted for *seconds*; by default, forever."""

    seconds: float = math.inf


class Pace(msgspec.Struct, frozen=True):
    """The pace changes; 0 is as fast as possible."""

    words_per_second: float


Step = Delta | Finish | Silence | Pace | ProviderError
"""One step of a call. An error is raised, so it is the last step."""


def is_token(step: Step) -> bool:
    """Return whether a step is one of the answer's tokens: a word, or a piece of a tool call. Reasoning is not."""
    return isinstance(step, Text | Refusal | ToolCallBegun | ToolCallArguments)
