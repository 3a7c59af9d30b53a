"""The event log in Redis, for any number of processes.

The process that runs a generation keeps its records in memory, where its own viewers read them at once, and stores
them (`writer`). For viewers of other generations it keeps copies (`copies`). So both are a `SharedMemory`, and this
class decides who owns what.
"""

from collections.abc import Sequence
from contextlib import suppress

import anyio
from typing_extensions import override

from streamsvc.config.settings import Settings
from streamsvc.errors import (
    CursorLost,
    CursorReplaced,
    GenerationNotFound,
    Overloaded,
    StoreUnavailable,
)
from streamsvc.eventlog.base import (
    BATCH_RECORDS,
    BEFORE_FIRST,
    EPOCH_SEQS,
    EventLog,
    Following,
    LogClosed,
    LogEnded,
    LogTakenOver,
    Reader,
)
from streamsvc.eventlog.copies import Copies, Sight, records_after
from streamsvc.eventlog.shared import SharedMemory, SharedStream
from streamsvc.eventlog.writer import Writer
from streamsvc.events import Done, Event, Record, Start
from streamsvc.store import codec, scripts
from streamsvc.store.client import Store
from streamsvc.store.leases import Lease

UNSTORED_RECORDS = 10_000
"""How far beyond the last stored record a cursor may be: a viewer of the process that writes them has them first."""


LOST_GENERATIONS = 10_000
"""How many generations are remembered as taken by another process, for as long as their tasks here need to end."""


class RedisEventLog(EventLog):
    """The logs of all processes that share a store.

    Args:
        store: the store.
        settings: how long logs are kept, and how often they are written and read.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._memory = SharedMemory(settings.generations)
        self._writer = Writer(store, self._memory, settings.log, settings.generations)
        self._copies = Copies(store, self._memory, settings.log)
        self._lost: dict[str, None] = {}  # the latest generations that another process has taken
        store.leases.on_lost(self._lose)

    @property
    def size_bytes(self) -> int:
        """Roughly how much memory all logs take in this process."""
        return self._memory.size_bytes

    async def run(self) -> None:
        """Write, read and sweep; runs until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._writer.run, name="log writer")
            tasks.start_soon(self._copies.run, name="log copies")
            tasks.start_soon(self._memory.sweep, name="log sweeper")

    @override
    def append(self, generation: str, event: Event) -> None:
        writing = self._writer.find(generation)
        if writing is None or writing.has_ended:
            self._open(generation, event)
        elif type(event) is Done:
            self._writer.end(writing, event)
        else:
            self._memory.append(generation, event)
            if generation not in self._writer.due:
                self._writer.note(generation)

    @override
    async def flush(self, generation: str) -> None:
        if writing := self._writer.find(generation):
            await self._writer.flush(writing)
        elif generation in self._lost:
            raise LogTakenOver

    @override
    async def adopt(self, generation: str) -> None:
        lease = self._store.leases.get(generation)
        if lease is None:
            raise LogTakenOver
        stream = self._memory.stream(generation)
        self._copies.take(generation)
        if not isinstance(stream, SharedStream) or not stream.is_copy:
            stream = self._memory.open_copy(generation, beyond_limit=True)
        try:
            await self._load(stream, lease)
        except StoreUnavailable:  # the caller tries again; meanwhile viewers have a copy as before
            with suppress(Overloaded):
                self._copies.open(generation)
            raise
        except GenerationNotFound:
            self._store.leases.end(generation)
            self._memory.drop(generation)
            raise
        self._memory.own(stream, lease.epoch)
        self._writer.open(lease)
        self._lost.pop(generation, None)

    async def _load(self, stream: SharedStream, lease: Lease) -> None:
        """Read the stored records of a generation that this process has taken over.

        Raises:
            GenerationNotFound: some are gone.
            StoreUnavailable: the store cannot be reached.
        """
        while (tail := stream.tail) < lease.stored:
            _, records = await self._read(stream.generation, tail)
            self._memory.extend(stream, records)
            if stream.tail == tail:
                raise GenerationNotFound

    @override
    async def read(
        self, generation: str, *, after: int, wait_seconds: float = 0.0
    ) -> Sequence[Record]:
        if self._is_here(generation):
            return await self._memory.read(generation, after=after, wait_seconds=wait_seconds)
        records = await self._read_after(generation, after)
        if records or not wait_seconds:
            return records
        arrival = _Arrival()
        following = self.follow(generation, after=after, reader=arrival)
        try:
            with anyio.move_on_after(wait_seconds):
                await arrival.has_come.wait()
        finally:
            following.close()
        if not arrival.has_come.is_set():
            return []
        return await self._read_after(generation, after)

    @override
    def follow(self, generation: str, *, after: int, reader: Reader) -> Following:
        if self._memory.stream(generation) is None:
            with suppress(Overloaded):  # the reader learns that it is lost
                self._copies.open(generation)
        return self._memory.follow(generation, after=after, reader=reader)

    def _is_here(self, generation: str) -> bool:
        """Whether all records of a generation are in this process's memory."""
        return self._memory.stream(generation) is not None and generation not in self._copies

    def _open(self, generation: str, event: Event) -> None:
        """Open a log, or refuse an event for one that this process does not write.

        Raises:
            LogError, RequestError: see `append`.
        """
        stream = self._memory.stream(generation)
        if stream is None and type(event) is Start:
            self._memory.append(generation, event)
            self._writer.open(self._store.leases.begin(generation))
        elif generation in self._lost or generation in self._copies:
            raise LogTakenOver
        elif stream is None:
            raise GenerationNotFound
        else:
            raise LogClosed

    def _lose(self, lease: Lease) -> None:
        """Another process writes a generation now: viewers go on with a copy of what is stored."""
        generation = lease.generation
        self._writer.lose(lease)
        self._lost[generation] = None
        if len(self._lost) > LOST_GENERATIONS:
            del self._lost[next(iter(self._lost))]
        stream = self._memory.stream(generation)
        if stream is None:
            return
        if lease.is_released:
            self._memory.interrupt(generation)
            self._memory.drop(generation)
        else:
            with suppress(Overloaded):  # they are sent away: there is no memory for a copy
                self._copies.open(generation)

    async def _read_after(self, generation: str, after: int) -> Sequence[Record]:
        """Return stored records of a generation that another process writes, or why there are none.

        Raises:
            GenerationNotFound, LogEnded, CursorLost, CursorReplaced, StoreUnavailable: see `read`.
        """
        sight, records = await self._read(generation, after)
        if sight.has_lapsed:
            self._store.note_lapsed(generation)
        if after != BEFORE_FIRST:
            if not records or records[0].seq != after:
                if after // EPOCH_SEQS < sight.epoch:
                    raise CursorReplaced
                if sight.is_closed or not 0 < after - sight.last <= UNSTORED_RECORDS:
                    raise CursorLost
                return []  # it may still be stored
            records = records[1:]
        if not records and sight.is_closed:
            raise LogEnded
        return records

    async def _read(self, generation: str, at: int) -> tuple[Sight, list[Record]]:
        """Return the stored records from number *at* on, one more than a batch at most.

        Raises:
            GenerationNotFound: it is not kept, or is damaged.
            StoreUnavailable: the store cannot be reached.
        """
        keys = self._store.keys
        reply = await self._store.run(
            scripts.READ,
            [keys.meta(generation), keys.log(generation)],
            [codec.stream_id(at), BATCH_RECORDS + 1],
        )
        sight = Sight(*reply[:5])
        if not sight.is_kept:
            raise GenerationNotFound
        return sight, records_after(max(BEFORE_FIRST, at - 1), generation, reply[5])


class _Arrival(Reader):
    """Waits until there is something to read, or never will be.

    Attributes:
        has_come: set then.
    """

    def __init__(self) -> None:
        self.has_come = anyio.Event()

    @override
    def deliver(self, records: Sequence[Record]) -> int:
        self.has_come.set()
        return 0

    @override
    def lost(self) -> None:
        self.has_come.set()

    @override
    def interrupted(self) -> None:
        self.has_come.set()
