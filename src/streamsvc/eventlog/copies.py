"""Copies of the generations that other processes write, for the viewers of this one.

A task for each partition reads all its copies with one blocking read at a time, paced so that many of them cost
little. The copies are streams in this process's memory, so that a viewer is the same wherever its generation runs. The
task also looks at the leases: it is the viewers of a dead process that need a successor.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import anyio
import anyio.abc

from streamsvc.config.settings import LogSettings
from streamsvc.errors import GenerationNotFound, StoreUnavailable
from streamsvc.eventlog.base import BEFORE_FIRST, EPOCH_SEQS
from streamsvc.eventlog.shared import SharedMemory, SharedStream
from streamsvc.eventloop import now
from streamsvc.events import Record
from streamsvc.log_line import log
from streamsvc.store import codec, scripts
from streamsvc.store.client import BLOCK_SECONDS, BlockingReads, Store
from streamsvc.store.keys import partition_of
from streamsvc.traces import causes

logger = logging.getLogger(__name__)

LOOK_GENERATIONS = 250
"""How many leases one script call looks at."""

READ_RECORDS = 512
"""How many records of each generation one read returns at most."""

_AFTER_LAPSE_SECONDS = 0.005
"""How long after the expected end of a lease it is looked at again."""

_RETRY_SECONDS = 0.1
"""The pause after a failed read."""

_WAKE_TTL_MS = 60_000


class Sight(NamedTuple):
    """What `scripts.LOOK` and `scripts.READ` return of a generation.

    Attributes:
        is_kept: whether the store has it.
        is_closed: whether its last record is the `Done`.
        epoch: how often it has been taken over.
        last: the number of its last record.
        lease_ms: how long its lease lasts; 0 or less: it has lapsed.
    """

    is_kept: int
    is_closed: int
    epoch: int
    last: int
    lease_ms: int

    @property
    def has_lapsed(self) -> bool:
        """Whether it should run, and nobody runs it."""
        return bool(self.is_kept) and not self.is_closed and self.lease_ms <= 0


class LogDamaged(GenerationNotFound):
    """A stored log has lost records, or has one that cannot be read: an answer with a hole must not look whole."""


def records_after(
    after: int, generation: str, entries: list[tuple[bytes, list[bytes]]]
) -> list[Record]:
    """Return entries of a stored log as records.

    Args:
        after: the number of the record before the first one.
        generation: its id.
        entries: as Redis returns them.

    Raises:
        LogDamaged: they are not the next records.
    """
    try:
        records = codec.records(generation, entries)
    except codec.RecordUnreadable as exc:
        log(
            logger,
            logging.ERROR,
            "log.unreadable",
            id=generation,
            after=after,
            cause=causes(exc),
        )
        raise LogDamaged from None
    for record in records:
        if record.seq != after + 1 and record.seq % EPOCH_SEQS:
            log(logger, logging.ERROR, "log.hole", id=generation, after=after, next=record.seq)
            raise LogDamaged
        after = record.seq
    return records


class Copy:
    """A copy of one generation.

    Attributes:
        stream: has its records.
        key: of its log.
        meta: the key of its meta.
        was_kept: whether the store has had it.
        missing_since: since when the store does not have it, on the event loop's clock; None: it does.
    """

    __slots__ = ("key", "meta", "missing_since", "stream", "was_kept")

    def __init__(self, stream: SharedStream, key: bytes, meta: bytes) -> None:
        self.stream = stream
        self.key = key
        self.meta = meta
        self.was_kept = False
        self.missing_since: float | None = None


class Copies:
    """The copies of this process.

    Args:
        store: reads the records.
        memory: keeps them.
        settings: how often to read.
    """

    _tasks: anyio.abc.TaskGroup

    def __init__(self, store: Store, memory: SharedMemory, settings: LogSettings) -> None:
        self._store = store
        self._memory = memory
        self._settings = settings
        self._tails: dict[int, _Tail] = {}

    def __contains__(self, generation: str) -> bool:
        tail = self._tails.get(partition_of(generation))
        return tail is not None and generation in tail.copies

    def open(self, generation: str) -> None:
        """Begin to keep a copy; it takes the place of what this process's memory has of the generation.

        It is kept for as long as somebody follows it.

        Raises:
            Overloaded: there is no memory for it.
        """
        keys = self._store.keys
        stream = self._memory.open_copy(generation)
        copy = Copy(stream, keys.log(generation), keys.meta(generation))
        partition = partition_of(generation)
        tail = self._tails.get(partition)
        if tail is None:
            tail = self._tails[partition] = _Tail(
                partition, self._store, self._memory, self._settings
            )
            tail.copies[generation] = copy
            self._tasks.start_soon(self._run, tail)
        else:
            tail.copies[generation] = copy
            tail.hurry()
            self._tasks.start_soon(tail.wake)

    def take(self, generation: str) -> None:
        """Stop reading a copy, and leave its stream to the caller."""
        if tail := self._tails.get(partition_of(generation)):
            tail.copies.pop(generation, None)

    async def run(self) -> None:
        """Keep the copies; runs until it is cancelled."""
        async with anyio.create_task_group() as self._tasks:
            await anyio.sleep_forever()

    async def _run(self, tail: "_Tail") -> None:
        try:
            while tail.copies:  # one may be opened while the connection for the earlier ones closes
                await tail.run()
        finally:
            del self._tails[tail.partition]


class _Tail:
    """Reads the copies of one partition.

    Attributes:
        partition: which.
        copies: by generation.
    """

    def __init__(
        self, partition: int, store: Store, memory: SharedMemory, settings: LogSettings
    ) -> None:
        self.partition = partition
        self.copies: dict[str, Copy] = {}
        self._store = store
        self._memory = memory
        self._pace_seconds = settings.read_ms / 1000
        self._lease_seconds = settings.lease_seconds
        self._wake_key = store.keys.wake(partition, store.worker)
        self._woken = codec.stream_id(BEFORE_FIRST)
        self._hurry = anyio.Event()
        self._look_at = 0.0

    def hurry(self) -> None:
        """Look at the copies at once: there is a new one."""
        self._look_at = 0.0
        self._hurry.set()

    async def wake(self) -> None:
        """End the blocking read."""
        with suppress(StoreUnavailable):  # the read has failed, too
            await self._store.run(scripts.NOTIFY, [self._wake_key], [_WAKE_TTL_MS, "w", 1])

    async def run(self) -> None:
        """Read while there are copies."""
        reads = self._store.blocking_reads()
        try:
            while self.copies:
                if self._store.lapsed.is_over:  # this process is about to end
                    self._send_away()
                    break
                began = now()
                self._hurry = anyio.Event()
                try:
                    await self._turn(reads)
                except StoreUnavailable:
                    self._check_outage()
                    await anyio.sleep(_RETRY_SECONDS)
                self._drop_unused()
                with anyio.move_on_after(began + self._pace_seconds - now()):
                    await self._hurry.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await reads.close()

    async def _turn(self, reads: BlockingReads) -> None:
        """Look at the leases if it is time, then read once."""
        if now() >= self._look_at:
            self._look_at = now() + BLOCK_SECONDS
            copies = list(self.copies.items())
            for at in range(0, len(copies), LOOK_GENERATIONS):
                await self._look(copies[at : at + LOOK_GENERATIONS])
        by_key = {copy.key: (generation, copy) for generation, copy in self.copies.items()}
        places = [(copy.key, codec.stream_id(copy.stream.tail)) for _, copy in by_key.values()]
        places.append((self._wake_key, self._woken))
        seconds = self._look_at - now()
        for key, entries in await reads.read(places, count=READ_RECORDS, seconds=seconds):
            if key == self._wake_key:
                self._woken = entries[-1][0].decode()
            else:
                self._extend(*by_key[key], entries)

    def _extend(
        self, generation: str, copy: Copy, entries: list[tuple[bytes, list[bytes]]]
    ) -> None:
        if self.copies.get(generation) is not copy:
            return
        previous = codec.previous_of(entries[0][1])
        if previous is not None and previous != copy.stream.tail:
            self._read_again(generation, copy)
            return
        try:
            records = records_after(copy.stream.tail, generation, entries)
        except LogDamaged:
            self._end(generation, is_lost=True)
            return
        self._memory.extend(copy.stream, records)
        if copy.stream.closed:
            del self.copies[generation]  # it is complete, and kept in memory like our own
        elif len(entries) == READ_RECORDS:
            self._hurry.set()  # there is more

    def _read_again(self, generation: str, copy: Copy) -> None:
        """Begin a copy again: a failover lost its last records, and the process that took over then has not had them.

        Viewers who have seen them are sent away, and replay the answer from its start.
        """
        stream = self._memory.open_copy(generation, beyond_limit=True)
        self.copies[generation] = Copy(stream, copy.key, copy.meta)
        self.hurry()

    async def _look(self, some: Sequence[tuple[str, Copy]]) -> None:
        reply = await self._store.run(scripts.LOOK, [copy.meta for _, copy in some])
        size = len(Sight._fields)
        for number, (generation, copy) in enumerate(some):
            if self.copies.get(generation) is copy:
                self._see(generation, copy, Sight(*reply[number * size : (number + 1) * size]))

    def _see(self, generation: str, copy: Copy, sight: Sight) -> None:
        if not sight.is_kept:
            copy.missing_since = copy.missing_since or now()
            # A server that was flushed gets the records of running generations again.
            if not copy.was_kept or now() - copy.missing_since >= self._lease_seconds:
                self._end(generation, is_lost=True)
            return
        copy.missing_since = None
        copy.was_kept = True
        if sight.has_lapsed:
            self._store.note_lapsed(generation)
            if self._store.health.trouble is not None:  # nobody can take it over
                self._end(generation, is_lost=False)
        elif not sight.is_closed:
            again = now() + sight.lease_ms / 1000 + _AFTER_LAPSE_SECONDS
            self._look_at = min(self._look_at, again)

    def _check_outage(self) -> None:
        """When an outage lasts as long as a lease, let viewers look elsewhere: a process that runs the answer has it."""
        health = self._store.health
        if health.trouble is not None and now() - health.since >= self._lease_seconds:
            self._send_away()

    def _send_away(self) -> None:
        """Let all viewers look elsewhere."""
        for generation in list(self.copies):
            self._end(generation, is_lost=False)

    def _drop_unused(self) -> None:
        for generation, copy in list(self.copies.items()):
            if not (copy.stream.followers or copy.stream.seeking):
                del self.copies[generation]
                self._memory.drop(generation)

    def _end(self, generation: str, *, is_lost: bool) -> None:
        """Drop a copy: it is lost, or viewers have to look elsewhere."""
        del self.copies[generation]
        if not is_lost:
            self._memory.interrupt(generation)
        self._memory.drop(generation)
