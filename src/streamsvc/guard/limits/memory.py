"""The limiter in the memory of this process, for this process alone.

No method waits, so a check and its charge are one step.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from typing_extensions import override

from streamsvc.config.settings import LimitSettings
from streamsvc.engine.admission import Limiter
from streamsvc.engine.audience import Count
from streamsvc.eventloop import now
from streamsvc.guard.limits.base import (
    FIRST_OF_TOKENS,
    GENERATIONS,
    MICROSECONDS,
    VIEWERS,
    Charge,
    Charges,
    Seat,
    charges_of,
    refusal,
)
from streamsvc.guard.limits.bucket import Bucket
from streamsvc.messages import Prompt
from streamsvc.principals import Principal

ACCOUNTS_AT_A_TIME = 2
"""How many accounts an admission checks for being idle. It adds at most one, so idle ones do not pile up."""


class _Account:
    """What one principal uses, or all principals together."""

    __slots__ = ("generations", "requests", "tokens", "viewers")

    def __init__(self) -> None:
        self.requests = Bucket()
        self.tokens = Bucket()
        self.generations = 0
        self.viewers = 0

    def is_idle(self, at: int) -> bool:
        """Whether it is as good as new."""
        is_held = self.generations or self.viewers
        return not (is_held or self.requests.level(at) or self.tokens.level(at))


class _Admitted(NamedTuple):
    """A generation: who pays for it, and what."""

    account: _Account
    charges: Charges


class MemoryLimiter(Limiter):
    """Limits the principals of this process.

    Args:
        in_all: the limits of all principals together.
        clock: returns seconds.
    """

    def __init__(self, in_all: LimitSettings, clock: Callable[[], float] = now) -> None:
        self._in_all = in_all
        self._clock = clock
        self._all = _Account()
        self._accounts: dict[str, _Account] = {}
        self._admitted: dict[str, _Admitted] = {}

    def use(self, in_all: LimitSettings) -> None:
        """Apply other limits of all principals together; what they have used stays."""
        self._in_all = in_all

    @property
    def size(self) -> int:
        """How many principals it remembers."""
        return len(self._accounts)

    @override
    async def admit(self, generation: str, caller: Principal, prompt: Prompt) -> None:
        limits, at = caller.limits, self._at()
        charges = charges_of(limits, self._in_all, prompt)
        if charges.is_nothing and not limits.max_generations:
            return
        account = self._account(caller.name, at)
        places = list(zip(self._buckets(account), charges, strict=True))
        waits = [bucket.wait(charge, at) for bucket, charge in places]
        if longest := max(waits):
            raise refusal(waits.index(longest), caller, longest)
        if limits.max_generations and account.generations >= limits.max_generations:
            raise refusal(GENERATIONS, caller)
        for bucket, charge in places:
            bucket.add(charge, at)
        account.generations += 1
        self._admitted[generation] = _Admitted(account, charges)

    @override
    def resume(self, generation: str, principal: str) -> None:
        pass  # there is no other process

    @override
    def settle(self, generation: str, tokens: int | None) -> None:
        ended = self._end(generation)
        if ended is not None and tokens is not None:
            at = self._at()
            for bucket, charge in self._charged(ended)[FIRST_OF_TOKENS:]:
                if charge.per_minute:
                    bucket.correct(tokens - charge.cost, at)

    @override
    def cancel(self, generation: str) -> None:
        ended = self._end(generation)
        if ended is not None:
            at = self._at()
            for bucket, charge in self._charged(ended):
                if charge.per_minute:
                    bucket.correct(-charge.cost, at)

    @override
    def hand_over(self, generation: str) -> None:
        self._end(generation)

    @override
    async def viewer(self, caller: Principal) -> Count | None:
        if not caller.limits.max_viewers:
            return None
        account = self._account(caller.name, self._at())
        if account.viewers >= caller.limits.max_viewers:
            raise refusal(VIEWERS, caller)
        account.viewers += 1
        return Seat(partial(_viewer_left, account))

    def _end(self, generation: str) -> _Admitted | None:
        admitted = self._admitted.pop(generation, None)
        if admitted is not None:
            admitted.account.generations -= 1
        return admitted

    def _charged(self, admitted: _Admitted) -> Sequence[tuple[Bucket, Charge]]:
        return list(zip(self._buckets(admitted.account), admitted.charges, strict=True))

    def _buckets(self, account: _Account) -> tuple[Bucket, ...]:
        """Return the buckets in the order of `Charges`."""
        return (account.requests, self._all.requests, account.tokens, self._all.tokens)

    def _account(self, principal: str, at: int) -> _Account:
        for name in list(islice(self._accounts, ACCOUNTS_AT_A_TIME)):
            known = self._accounts.pop(name)
            if not known.is_idle(at):
                self._accounts[name] = known  # at the end: others are checked next
        account = self._accounts.get(principal)
        if account is None:
            account = self._accounts[principal] = _Account()
        return account

    def _at(self) -> int:
        return round(self._clock() * MICROSECONDS)


def _viewer_left(account: _Account) -> None:
    account.viewers -= 1
