"""The limiter in Redis, for all processes that share a store.

`calls` makes the calls: a request waits for one before its generation or its viewer begins, and for none when it ends.
The store keeps what each admission was charged: it can be ended once, by whichever process runs the generation at its
end.
"""

from functools import lru_cache, partial
from itertools import count
from typing import NamedTuple

from typing_extensions import override

from streamsvc.config.settings import LimitSettings, Settings
from streamsvc.engine.admission import Limiter
from streamsvc.engine.audience import Count
from streamsvc.errors import StoreUnavailable
from streamsvc.guard.limits.base import (
    VIEWERS,
    Charge,
    Charges,
    Seat,
    charges_of,
    refusal,
)
from streamsvc.guard.limits.calls import CANCELLED, UNKNOWN, Calls
from streamsvc.guard.limits.memory import MemoryLimiter
from streamsvc.messages import Prompt
from streamsvc.principals import Principal
from streamsvc.store.client import Store
from streamsvc.store.leases import packed

LEASE_RATIO = 2.5
"""How much longer an admission's lease is than a generation's: a worker that takes a generation over finds it held."""

KNOWN_PRINCIPALS = 1000
"""Of how many principals the names of their keys are remembered; they are hashes."""

_FREE = Charges(*[Charge(0, 0)] * len(Charges._fields))


class _PrincipalKeys(NamedTuple):
    """The keys of a principal's leases and buckets, packed: for generations, and for viewers."""

    generations: bytes
    seats: bytes


class RedisLimiter(Limiter):
    """Limits principals over all processes.

    Args:
        store: counts.
        settings: the limits of all principals together, and what happens while the store cannot be used.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._in_all = settings.limits
        self._may_be_local = settings.log.on_outage == "local"
        self._local = MemoryLimiter(settings.limits)
        lease_seconds = settings.log.lease_seconds * LEASE_RATIO
        self._calls = Calls(store, packed(store.keys.usage_in_all()), lease_seconds)
        self._keys_of = lru_cache(KNOWN_PRINCIPALS)(self._principal_keys)
        self._numbers = count()

    def use(self, in_all: LimitSettings) -> None:
        """Apply other limits of all principals together; what they have used stays."""
        self._in_all = in_all
        self._local.use(in_all)

    @override
    async def admit(self, generation: str, caller: Principal, prompt: Prompt) -> None:
        limits = caller.limits
        charges = charges_of(limits, self._in_all, prompt)
        if charges.is_nothing and not limits.max_generations:
            return
        keys = self._generation_keys(generation, caller.name)
        try:
            self._store.health.check()
            refuses, wait_us = await self._calls.admit(
                generation, keys, limits.max_generations, charges
            )
        except StoreUnavailable:
            if not self._may_be_local:
                raise
            await self._local.admit(generation, caller, prompt)
        else:
            if refuses >= 0:
                raise refusal(refuses, caller, wait_us)

    @override
    def resume(self, generation: str, principal: str) -> None:
        keys = self._generation_keys(generation, principal)
        self._calls.hold(generation, keys, is_lapsing=True)

    @override
    def settle(self, generation: str, tokens: int | None) -> None:
        if not self._calls.end(generation, UNKNOWN if tokens is None else tokens):
            self._local.settle(generation, tokens)

    @override
    def cancel(self, generation: str) -> None:
        if not self._calls.end(generation, CANCELLED):
            self._local.cancel(generation)

    @override
    def hand_over(self, generation: str) -> None:
        if not self._calls.let_go(generation):
            self._local.hand_over(generation)

    @override
    async def viewer(self, caller: Principal) -> Count | None:
        most = caller.limits.max_viewers
        if not most:
            return None
        name = f"{self._store.worker}.{next(self._numbers)}"
        keys = packed(self._store.keys.admission(name)) + self._keys_of(caller.name).seats
        try:
            self._store.health.check()
            refuses, _ = await self._calls.admit(name, keys, most, _FREE)
        except StoreUnavailable:  # what runs goes on for its viewers
            return await self._local.viewer(caller)
        if refuses >= 0:
            raise refusal(VIEWERS, caller)
        return Seat(partial(self.cancel, name))

    async def run(self) -> None:
        """Make the calls to the store; runs until it is cancelled."""
        await self._calls.run()

    async def finish(self) -> None:
        """End what is left when the process ends, for a limited time."""
        await self._calls.finish()

    def _generation_keys(self, generation: str, principal: str) -> bytes:
        admission = self._store.keys.admission(generation)
        return packed(admission) + self._keys_of(principal).generations

    def _principal_keys(self, principal: str) -> _PrincipalKeys:
        keys = self._store.keys
        usage = packed(keys.usage(principal))
        return _PrincipalKeys(
            packed(keys.generations(principal)) + usage, packed(keys.seats(principal)) + usage
        )
