"""The beat: what this process must tell the store about its generations, and learn of them, while they run.

One script call for each partition renews the leases, and returns who has been fenced off, what must stop, and which
generations have viewers elsewhere. It is called at each beat, and when another process says that something has
changed. So a lost message costs a beat, and messages need no order. To a process that does not own the generation, a
message says that its owner has released it.

An outage is one of two things. A store that answers nothing for a whole lease may answer others: another process may
run our generations, so they stop here. A store that refuses or is gone does so for everybody: they go on.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

import anyio
import msgspec

from streamsvc.engine.audience import Count
from streamsvc.engine.directory.base import RunningGeneration
from streamsvc.engine.directory.watching import CALL_GENERATIONS, Watching
from streamsvc.errors import StoreUnavailable
from streamsvc.eventlog.base import BEFORE_FIRST
from streamsvc.eventloop import now
from streamsvc.events import Outcome
from streamsvc.log_line import log
from streamsvc.store import scripts
from streamsvc.store.client import Argument, Store
from streamsvc.store.health import Trouble
from streamsvc.store.leases import Lease
from streamsvc.store.messages import Message, take_messages
from streamsvc.store.scripts import Renewed

logger = logging.getLogger(__name__)

BEATS_A_LEASE = 4
"""How many beats there are in a lease: three may fail, or come late."""

PROLONGS_A_TTL = 4
"""How often what is stored is made to live longer while it would live: half of a beat's work."""


class Foreign(msgspec.Struct):
    """What is known of a generation's viewers in other processes, who count in its audience as one viewer.

    Attributes:
        has_viewers: whether there are any.
        visits: how often the first viewer has come to another process; None: not known yet.
        looked_at: when the store was asked for that, on the event loop's clock.
    """

    has_viewers: bool = False
    visits: int | None = None
    looked_at: float = 0.0


class Look(NamedTuple):
    """What `scripts.BEAT` returns of a generation.

    Attributes:
        asked_at: when it was called, on the event loop's clock.
        code: a value of `Renewed`.
        stop: why it must stop; empty: it need not.
        live: how many other processes have viewers of it.
        visits: how often the first viewer has come to another process.
    """

    asked_at: float
    code: int
    stop: bytes
    live: int
    visits: int


class Beats:
    """Renews the leases of this process.

    Args:
        store: the store.
        running: the generations that run here.
        watching: the viewers in this process.
        ttl_ms: the time to live of what is stored about a running generation.
    """

    def __init__(
        self,
        store: Store,
        running: Mapping[str, RunningGeneration],
        watching: Watching,
        *,
        ttl_ms: int,
    ) -> None:
        self._store = store
        self._running = running
        self._watching = watching
        self._ttl_ms = ttl_ms
        self._lease_ms = int(store.leases.seconds * 1000)
        self._seconds = store.leases.seconds / BEATS_A_LEASE
        self._foreign: dict[str, Foreign] = {}
        self._prolong_at = 0.0
        self._succeeded_at = 0.0
        self._doubts_until = 0.0
        store.leases.on_gone(lambda _lease: self._doubt())

    def forget(self, generation: str) -> None:
        """Forget the foreign viewers of a generation, which does not run here any more."""
        self._foreign.pop(generation, None)

    async def run(self) -> None:
        """Beat; runs until it is cancelled."""
        self._succeeded_at = now()
        due = now()
        while True:
            due = max(due + self._seconds, now())
            await anyio.sleep_until(due)
            await self.beat()

    async def beat(self) -> None:
        """Renew all leases, and this process's entries as a viewer."""
        with anyio.move_on_after(self._store.leases.seconds) as wait, suppress(StoreUnavailable):
            await self._renew()
        if wait.cancelled_caught or self._store.health.trouble is Trouble.SILENT:
            self._give_up()

    async def _renew(self) -> None:
        must_prolong = now() >= self._prolong_at
        await self.look(self._store.leases, ttl_ms=self._ttl_ms if must_prolong else 0)
        if must_prolong:
            self._prolong_at = now() + self._ttl_ms / 1000 / PROLONGS_A_TTL
        await self._watching.refresh()
        self._succeeded_at = now()

    async def run_control(self) -> None:
        """Look at generations when other processes say so; runs until it is cancelled."""
        key = self._store.keys.control(self._store.worker)
        await take_messages(self._store, key, self._take)

    async def _take(self, messages: Sequence[Message]) -> None:
        await self._look_at({name for message in messages for name in message[1].split()})

    async def _look_at(self, generations: Iterable[bytes]) -> None:
        """Look at what this process owns; what it does not own may have been released for it to take over."""
        mine: list[Lease] = []
        for generation in map(bytes.decode, generations):
            if lease := self._store.leases.get(generation):
                mine.append(lease)
            elif self._watching.size(generation):
                self._store.lapsed.note(generation)
        await self.look(mine)

    async def look(self, leases: Iterable[Lease], *, ttl_ms: int = 0) -> None:
        """Renew some leases, and follow what the store says about them.

        Args:
            leases: which.
            ttl_ms: how long what is stored lives from now on; 0: as before.

        Raises:
            StoreUnavailable: some may not have been renewed.
        """
        if now() - self._succeeded_at > self._store.leases.seconds / 2:
            self._doubt()
        mine = sorted(leases, key=_partition)
        for _, part in groupby(mine, key=_partition):
            some = list(part)
            for at in range(0, len(some), CALL_GENERATIONS):
                await self._call(some[at : at + CALL_GENERATIONS], ttl_ms)

    async def _call(self, leases: Sequence[Lease], ttl_ms: int) -> None:
        """Look at some generations of one partition."""
        keys = self._store.keys
        names: list[bytes] = []
        arguments: list[Argument] = [self._lease_ms, ttl_ms, self._store.worker]
        for lease in leases:
            generation = lease.generation
            names += (
                lease.meta,
                *(it(generation) for it in (keys.log, keys.request, keys.viewers)),
            )
            arguments += (lease.token, lease.epoch)
        asked_at = now()
        were_stored = [lease.stored != BEFORE_FIRST for lease in leases]
        reply = await self._store.run(scripts.BEAT, names, arguments)
        looks = [Look(asked_at, *reply[at : at + 4]) for at in range(0, len(reply), 4)]
        flushed = 0
        for lease, look, was_stored in zip(leases, looks, were_stored, strict=True):
            if self._store.leases.get(lease.generation) is lease:
                flushed += self._follow(lease, look, was_stored=was_stored)
        if flushed:
            note = "they are stored again"
            log(logger, logging.WARNING, "store.flushed", note, generations=flushed)

    def _follow(self, lease: Lease, look: Look, *, was_stored: bool) -> bool:
        """Do what the store says about a generation; return whether the store has lost it.

        Args:
            lease: of the generation.
            look: what the store says.
            was_stored: whether the store had a record of it when it was asked; the first one may come in the meantime.
        """
        code, running = Renewed(look.code), self._running.get(lease.generation)
        if code is Renewed.GONE and was_stored:
            self._store.leases.gone(lease)
            return True
        if code is Renewed.FENCED:
            self._store.leases.lose(lease)
        elif code is Renewed.KEPT:
            self._store.leases.renew(lease, look.asked_at)
            if look.stop and running:
                running.stop(reason_of(look.stop))
            elif running:
                self._count(lease, running.audience, look)
        return False

    def _count(self, lease: Lease, audience: Count, look: Look) -> None:
        """Count the foreign viewers of a generation."""
        known = self._foreign.get(lease.generation)
        if known is None:
            known = self._foreign[lease.generation] = Foreign(visits=None if lease.epoch else 0)
        if look.asked_at < known.looked_at:
            return  # replies have overtaken each other
        has_come = known.visits is not None and look.visits > known.visits
        known.looked_at, known.visits = look.asked_at, look.visits
        if (look.live or has_come) and not known.has_viewers:
            known.has_viewers = True
            audience.join()
        if not look.live and known.has_viewers and now() >= self._doubts_until:
            known.has_viewers = False
            audience.leave()

    def _doubt(self) -> None:
        """Believe for a while that foreign viewers are still there.

        Their entries are gone or have expired because of an outage, and come back with their processes' next beats.
        """
        self._doubts_until = now() + self._store.leases.seconds

    def _give_up(self) -> None:
        """Stop what another process may have taken over: the store has not answered for a whole lease."""
        for lease in self._store.leases:
            if now() >= lease.until:
                self._store.leases.lose(lease)


def reason_of(stored: bytes) -> Outcome:
    """Return why a generation must stop; a reason that only another version knows is a client's wish here."""
    with suppress(ValueError):
        return Outcome(stored.decode())
    return Outcome.CLIENT_STOP


def _partition(lease: Lease) -> int:
    return lease.partition
