"""What a client asks for, in one form for every provider.

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
    """What a model is asked.

    Attributes:
        messages: the turns, oldest first; at least one.
        system: the system text, or empty.
        temperature: sampling temperature, 0 to 2; None leaves it to the model.
        max_tokens: upper bound of the answer, in the model's tokens.
        stop: sequences that end the answer and are not part of it.
        seed: asks the model for repeatable answers, as far as it can.
        model: a model other than the entry's; empty: the entry's.
        fault: the fault that the fake provider shall show, by name; empty: as configured.
        call: the number of this call for the same answer, from 1. Used by the fake provider, whose faults
            may happen once.
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
        prompt: what the model is asked.
        provider: the name of the requested provider entry.
        grace_seconds: how long to go on without viewers; None: as configured.
        metadata: the client's own pairs, returned in the `Start`.
    """

    prompt: Prompt
    provider: str
    grace_seconds: float | None = None
    metadata: dict[str, str] = {}
