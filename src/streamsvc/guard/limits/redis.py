"""The limiter in Redis, for all processes that share a store.

Each admission is one script call, made before a generation or a viewer begins. One task ends admissions and prolongs
leases, many in one call, so that these never overtake each other. The store keeps what each admission was charged: it
can be ended once, by whichever process runs the generation at its end.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import count, islice
from typing import NamedTuple

import anyio
import anyio.lowlevel
from typing_extensions import override

from streamsvc.config.settings import Settings
from streamsvc.engine.admission import Limiter
from streamsvc.engine.audience import Count
from streamsvc.errors import StoreUnavailable
from streamsvc.eventloop import now
from streamsvc.guard.limits.base import (
    VIEWERS,
    Charge,
    Charges,
    Seat,
    charges_of,
    refusal,
)
from streamsvc.guard.limits.memory import MemoryLimiter
from streamsvc.messages import Prompt
from streamsvc.principals import Principal
from streamsvc.store import scripts
from streamsvc.store.client import Argument, Store

LEASE_RATIO = 2.5
"""How much longer an admission's lease is than a generation's: a worker that takes a generation over finds it held."""

BEATS_A_LEASE = 4
"""How often leases are prolonged while they last."""

CALL_ADMISSIONS = 200
"""The most admissions in one call."""

ADMISSION_TTL_MS = 600_000
"""How long an admission is remembered without a beat: it survives a long outage of one process."""

RETRY_SECONDS = 0.5
"""The pause after a failure."""

FINISH_SECONDS = 2.0
"""The most time for ending admissions when the process ends."""

_UNKNOWN, _CANCELLED = -1, -2
_FREE = Charges(*[Charge(0, 0)] * len(Charges._fields))


class _Place(NamedTuple):
    """The keys of an admission: its own, and its principal's leases and buckets."""

    admission: bytes
    leases: bytes
    usage: bytes


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
        self._lease_ms = int(lease_seconds * 1000)
        self._beat_seconds = lease_seconds / BEATS_A_LEASE
        self._usage_in_all = store.keys.usage_in_all()
        self._numbers = count()
        self._held: dict[str, _Place] = {}
        self._ended: dict[str, tuple[_Place, int]] = {}
        self._due = 0.0
        self._changed = anyio.Event()

    @override
    async def admit(self, generation: str, caller: Principal, prompt: Prompt) -> None:
        limits = caller.limits
        charges = charges_of(limits, self._in_all, prompt)
        if charges.is_nothing and not limits.max_generations:
            return
        place = self._place_of(generation, caller.name)
        try:
            self._store.health.check()
            refused, wait = await self._admit(generation, place, limits.max_generations, charges)
        except StoreUnavailable:
            if not self._may_be_local:
                raise
            await self._local.admit(generation, caller, prompt)
        else:
            if refused >= 0:
                raise refusal(refused, caller, wait)
            self._hold(generation, place)

    @override
    def resume(self, generation: str, principal: str) -> None:
        self._hold(generation, self._place_of(generation, principal))
        self._due = 0.0  # the lease may be about to lapse
        self._changed.set()

    @override
    def settle(self, generation: str, tokens: int | None) -> None:
        if not self._end(generation, _UNKNOWN if tokens is None else tokens):
            self._local.settle(generation, tokens)

    @override
    def cancel(self, generation: str) -> None:
        if not self._end(generation, _CANCELLED):
            self._local.cancel(generation)

    @override
    def hand_over(self, generation: str) -> None:
        if self._held.pop(generation, None) is None:
            self._local.hand_over(generation)

    @override
    async def viewer(self, caller: Principal) -> Count | None:
        most = caller.limits.max_viewers
        if not most:
            return None
        name = f"{self._store.worker}.{next(self._numbers)}"
        keys = self._store.keys
        place = _Place(keys.admission(name), keys.seats(caller.name), keys.usage(caller.name))
        try:
            self._store.health.check()
            refused, _ = await self._admit(name, place, most, _FREE)
        except StoreUnavailable:  # what runs goes on for its viewers
            return await self._local.viewer(caller)
        if refused >= 0:
            raise refusal(VIEWERS, caller)
        self._hold(name, place)
        return Seat(partial(self.cancel, name))

    async def run(self) -> None:
        """End admissions and prolong leases; runs until it is cancelled."""
        while True:
            with anyio.CancelScope(deadline=self._due if self._held else math.inf):
                await self._changed.wait()
            self._changed = anyio.Event()
            try:
                await self._end_all()
                if now() >= self._due:
                    self._due = now() + self._beat_seconds
                    await self._prolong()
            except StoreUnavailable:
                self._due = 0.0
                await self._store.health.wait_usable()
                await anyio.sleep(RETRY_SECONDS)
                self._changed.set()

    async def finish(self) -> None:
        """End what is left when the process ends, for a limited time."""
        with anyio.move_on_after(FINISH_SECONDS, shield=True):
            while self._ended:
                try:
                    await self._end_all()
                except StoreUnavailable:
                    return

    async def _admit(
        self, name: str, place: _Place, leases: int, charges: Charges
    ) -> tuple[int, int]:
        """Ask the store; return what refuses, or -1, and the wait in microseconds."""
        arguments: list[Argument] = ["admit", name, leases, self._lease_ms, ADMISSION_TTL_MS]
        for charge in charges:
            arguments += charge
        try:
            with anyio.CancelScope(
                shield=True
            ):  # a cancelled call might be carried out after its end
                refused, wait = await self._store.run(
                    scripts.ADMISSION, [*place, self._usage_in_all], arguments
                )
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException:  # it may have been admitted
            self._note_end(name, place, _CANCELLED)
            raise
        return refused, wait

    def _hold(self, name: str, place: _Place) -> None:
        if not self._held:
            self._due = now() + self._beat_seconds
            self._changed.set()
        self._held[name] = place

    def _end(self, name: str, tokens: int) -> bool:
        """End an admission soon; return whether it was held."""
        place = self._held.pop(name, None)
        if place is None:
            return False
        self._note_end(name, place, tokens)
        return True

    def _note_end(self, name: str, place: _Place, tokens: int) -> None:
        self._ended[name] = place, tokens
        self._changed.set()

    async def _end_all(self) -> None:
        while some := list(islice(self._ended.items(), CALL_ADMISSIONS)):
            keys: list[bytes] = []
            arguments: list[Argument] = ["end"]
            for name, (place, tokens) in some:
                keys += (*place, self._usage_in_all)
                arguments += (name, tokens)
            await self._store.run(scripts.ADMISSION, keys, arguments)
            for name, _ in some:
                self._ended.pop(name, None)  # `finish` may have ended it meanwhile

    async def _prolong(self) -> None:
        names = list(self._held)
        for at in range(0, len(names), CALL_ADMISSIONS):
            await self._prolong_some(names[at : at + CALL_ADMISSIONS])

    async def _prolong_some(self, names: Sequence[str]) -> None:
        places = [self._held.get(name) for name in names]
        some = [(name, it) for name, it in zip(names, places, strict=True) if it is not None]
        keys = [key for _, place in some for key in (place.admission, place.leases)]
        arguments: list[Argument] = [self._lease_ms, ADMISSION_TTL_MS, *(name for name, _ in some)]
        reply = await self._store.run(scripts.PROLONG, keys, arguments)
        for (name, _), is_known in zip(some, reply, strict=True):
            if not is_known:  # it had no limits when it began, or the store was flushed
                self._held.pop(name, None)

    def _place_of(self, generation: str, principal: str) -> _Place:
        keys = self._store.keys
        return _Place(
            keys.admission(generation), keys.generations(principal), keys.usage(principal)
        )
