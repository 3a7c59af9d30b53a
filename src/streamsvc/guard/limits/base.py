"""What every form of the limiter does the same way: what a generation is charged, and how a refusal reads."""

from collections.abc import Callable
from typing import NamedTuple

from typing_extensions import override

from streamsvc.config.guard_settings import PrincipalLimits
from streamsvc.config.settings import LimitSettings
from streamsvc.engine.audience import Count
from streamsvc.engine.usage import reservation
from streamsvc.errors import RateLimited
from streamsvc.messages import Prompt
from streamsvc.principals import Principal

UNIT = 60_000_000
"""How much one request or token adds to a bucket. Each microsecond removes the limit per minute from it, so that all
levels are whole numbers."""

MICROSECONDS = 1_000_000


class Charge(NamedTuple):
    """What one bucket is charged for a generation.

    Attributes:
        per_minute: the limit, which is also the most that the bucket holds; 0: there is no limit.
        cost: how many requests or tokens; at most the limit, so that a larger one is admitted by an empty bucket.
    """

    per_minute: int
    cost: int


class Charges(NamedTuple):
    """What a generation is charged, one bucket after the other."""

    requests: Charge
    requests_in_all: Charge
    tokens: Charge
    tokens_in_all: Charge

    @property
    def is_nothing(self) -> bool:
        """Whether no limit applies."""
        mine = self.requests.per_minute or self.tokens.per_minute
        return not (mine or self.requests_in_all.per_minute or self.tokens_in_all.per_minute)


FIRST_OF_TOKENS = Charges._fields.index("tokens")
"""The buckets from here on count tokens; those before count requests."""

GENERATIONS = len(Charges._fields)
"""Follows the numbers of the buckets: the limit of generations at once."""

VIEWERS = GENERATIONS + 1


def charges_of(limits: PrincipalLimits, in_all: LimitSettings, prompt: Prompt) -> Charges:
    """Return what a generation is charged at first."""
    mine, every = limits.tokens_per_minute, in_all.tokens_per_minute
    tokens = reservation(prompt, in_all.reserve_tokens) if mine or every else 0
    return Charges(
        Charge(limits.requests_per_minute, 1),
        Charge(in_all.requests_per_minute, 1),
        Charge(mine, min(tokens, mine)),
        Charge(every, min(tokens, every)),
    )


def refusal(number: int, caller: Principal, wait_us: int = 0) -> RateLimited:
    """Return the refusal of a generation or a viewer.

    Args:
        number: of the bucket, or `GENERATIONS` or `VIEWERS`.
        caller: whom it refuses; the log names it. A refusal does not say what all principals together may use.
        wait_us: when it would be admitted, in microseconds; 0: unknown.
    """
    limits = caller.limits
    setting, what, most = (
        ("principal_limits.requests_per_minute", "requests per minute", limits.requests_per_minute),
        ("limits.requests_per_minute", "requests per minute", None),
        ("principal_limits.tokens_per_minute", "tokens per minute", limits.tokens_per_minute),
        ("limits.tokens_per_minute", "tokens per minute", None),
        ("principal_limits.max_generations", "answers at once", limits.max_generations),
        ("principal_limits.max_viewers", "viewers at once", limits.max_viewers),
    )[number]
    refused = RateLimited(setting, what, most, wait_us / MICROSECONDS if wait_us else None)
    if caller.name:
        refused.log_details = {**refused.log_details, "principal": caller.name}
    return refused


class Seat(Count):
    """The lease of one viewer, which ends when the viewer leaves.

    Args:
        end: ends it.
    """

    __slots__ = ("_end",)

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    @override
    def join(self) -> None:
        pass

    @override
    def leave(self) -> None:
        self._end()
