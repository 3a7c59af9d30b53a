"""What a client asks of a model, in one form for every provider.

Values only: nothing here knows HTTP, a provider's API or the settings.
"""

from typing import Literal

import msgspec

Role = Literal["user", "assistant"]


class Message(msgspec.Struct, frozen=True):
    """One turn of the conversation."""

    role: Role
    content: str


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """One request for an answer.

    Attributes:
        messages: the turns, oldest first; at least one.
        system: the system text, or empty.
        temperature: sampling temperature, 0 to 2; None leaves it to the model.
        max_tokens: upper bound of the answer, in the model's tokens.
        stop: sequences that end the answer and are not part of it.
        seed: asks the model to be repeatable, as far as it can.
        model: another model of the provider than its entry names; empty: that one.
        fault: how the fake provider is to break, by name; empty: as configured.
        call: which call for the same answer this is, from 1. For the fake provider, whose faults may
            happen once.
    """

    messages: tuple[Message, ...]
    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    model: str = ""
    fault: str = ""
    call: int = 1


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants generated, as accepted.

    Attributes:
        prompt: what is asked.
        provider: the name of the provider entry that is asked.
        grace_seconds: how long to go on without viewers; None: as configured.
        metadata: the client's own words, given back in the `Start`.
    """

    prompt: Prompt
    provider: str
    grace_seconds: float | None = None
    metadata: dict[str, str] = {}
