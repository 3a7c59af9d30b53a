"""Who watches in this process, and which other processes must know.

The viewers of a generation that runs here count in its audience. Of any other, its owner has to know whether this
process has viewers: an entry in the store says so until a deadline, which every beat moves. Joins and leaves never
wait: a task notes them in the store, in order, and tells the owner to look.
"""

import logging
from collections.abc import Iterable, Mapping

import anyio
from typing_extensions import override

from streamsvc.engine.audience import Count
from streamsvc.engine.directory.base import RunningGeneration
from streamsvc.errors import StoreUnavailable
from streamsvc.store import scripts
from streamsvc.store.client import Argument, Store
from streamsvc.store.keys import partition_of
from streamsvc.store.scripts import Watched

logger = logging.getLogger(__name__)

CALL_GENERATIONS = 250
"""How many generations one script call changes at most: Redis runs nothing else meanwhile."""

CONTROL_TTL_MS = 60_000
"""How long messages to a worker are kept after the latest one."""

RETRY_SECONDS = 0.1
"""The pause after a failed attempt to note what has changed."""


class Watching:
    """The viewers in this process.

    Args:
        store: tells the owners of other generations.
        running: the generations that run here.
        ttl_ms: the time to live of what is stored about a running generation.
    """

    def __init__(
        self, store: Store, running: Mapping[str, RunningGeneration], *, ttl_ms: int
    ) -> None:
        self._store = store
        self._running = running
        self._ttl_ms = ttl_ms
        self._is_retired = False
        self._sizes: dict[str, int] = {}
        self._elsewhere: set[str] = (
            set()
        )  # what has viewers here and runs elsewhere, as far as we know
        self._visits: dict[
            str, int
        ] = {}  # how often the first viewer has come, since that was noted
        self._changed = anyio.Event()
        self._writing = anyio.Lock()

    def audience(self, generation: str) -> Count:
        """Return what counts the viewers of a generation, wherever it runs."""
        return _Viewers(self, generation)

    def size(self, generation: str) -> int:
        """Return how many viewers of a generation are connected to this process."""
        return self._sizes.get(generation, 0)

    def join(self, generation: str) -> None:
        """Count one more viewer."""
        size = self._sizes[generation] = self.size(generation) + 1
        if running := self._running.get(generation):
            running.audience.join()
        elif size == 1:
            self._announce(generation)

    def leave(self, generation: str) -> None:
        """Count one viewer less."""
        size = self._sizes[generation] = self._sizes[generation] - 1
        if not size:
            del self._sizes[generation]
        if running := self._running.get(generation):
            running.audience.leave()
        elif not size and generation in self._elsewhere:
            self._elsewhere.discard(generation)
            if not self._is_retired:
                self._note(generation, visits=0)

    def retire(self) -> None:
        """Let viewers who leave from now on count until their deadlines: this process cuts them."""
        self._is_retired = True

    def came_here(self, generation: RunningGeneration) -> None:
        """Count the viewers of a generation that runs here from now on in its audience."""
        self._elsewhere.discard(generation.id)
        self._visits.pop(generation.id, None)
        for _ in range(self.size(generation.id)):
            generation.audience.join()

    def went_elsewhere(self, generation: str) -> None:
        """Another process runs a generation now: it must know of the viewers here."""
        if self.size(generation):
            self._announce(generation)

    async def run(self) -> None:
        """Note what changes; runs until it is cancelled."""
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            if not await self._note_visits():
                await self._store.health.wait_usable()
                await anyio.sleep(RETRY_SECONDS)
                self._changed.set()

    async def refresh(self) -> None:
        """Move the deadlines of this process's entries.

        Raises:
            StoreUnavailable: some may not have been moved.
        """
        if self._elsewhere:
            await self._write(dict.fromkeys(self._elsewhere, 0))

    def _announce(self, generation: str) -> None:
        self._elsewhere.add(generation)
        self._note(generation, visits=1)

    def _note(self, generation: str, *, visits: int) -> None:
        self._visits[generation] = self._visits.get(generation, 0) + visits
        self._changed.set()

    async def _note_visits(self) -> bool:
        """Write what has changed; return False if it could not be written, and is still to be."""
        visits, self._visits = self._visits, {}
        try:
            await self._write(visits)
        except StoreUnavailable:
            for generation, times in visits.items():
                self._visits[generation] = self._visits.get(generation, 0) + times
            return False
        return True

    async def _write(self, visits: Mapping[str, int]) -> None:
        """Note for each of some generations whether it has viewers here, and how often the first one has come."""
        told: dict[bytes, list[str]] = {}
        async with self._writing:  # on two connections, an earlier state could arrive later
            for some in by_partition(visits):
                for generation, owner in await self._watch(some, visits):
                    told.setdefault(owner, []).append(generation)
        for owner, generations in told.items():
            await tell(self._store, owner.decode(), generations)

    async def _watch(
        self, generations: list[str], visits: Mapping[str, int]
    ) -> list[tuple[str, bytes]]:
        """Note some of one partition; return those of which an owner must be told, with the owner."""
        store, keys = self._store, self._store.keys
        arguments: list[Argument] = [
            store.worker,
            int(store.leases.seconds * 1000),
            self._ttl_ms,
        ]
        for generation in generations:
            arguments += (int(generation in self._elsewhere), visits[generation])
        names = [f(it) for it in generations for f in (keys.meta, keys.viewers)]
        reply = await store.run(scripts.WATCH, names, arguments)
        for at, generation in enumerate(generations):
            if Watched(reply[2 * at]) is Watched.CLOSED:
                self._elsewhere.discard(generation)
        owners = zip(generations, reply[1::2], strict=True)
        return [(generation, owner) for generation, owner in owners if owner]


class _Viewers(Count):
    """Counts the viewers of one generation."""

    __slots__ = ("_generation", "_watching")

    def __init__(self, watching: Watching, generation: str) -> None:
        self._watching = watching
        self._generation = generation

    @override
    def join(self) -> None:
        self._watching.join(self._generation)

    @override
    def leave(self) -> None:
        self._watching.leave(self._generation)


async def tell(store: Store, worker: str, generations: Iterable[str]) -> None:
    """Have the worker that runs some generations look at them at once.

    Raises:
        StoreUnavailable: it may not look before its next beat.
    """
    message = " ".join(generations)
    await store.run(scripts.NOTIFY, [store.keys.control(worker)], [CONTROL_TTL_MS, "g", message])


def by_partition(generations: Iterable[str]) -> Iterable[list[str]]:
    """Split generations so that each part can be changed by one script call."""
    parts: dict[int, list[str]] = {}
    for generation in generations:
        parts.setdefault(partition_of(generation), []).append(generation)
    for part in parts.values():
        for at in range(0, len(part), CALL_GENERATIONS):
            yield part[at : at + CALL_GENERATIONS]
