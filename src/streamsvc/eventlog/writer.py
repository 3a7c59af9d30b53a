"""Stores what this process appends: many generations in one script call, every few tens of milliseconds.

The generation's task does not wait: its own viewers read from memory. Two events are stored before anybody gets them,
as long as the store can be used: the `Start`, because its id is given away, and the `Done`, because after it nobody
looks for a successor.
"""

import logging
from collections.abc import Iterable, Sequence

import anyio
import msgspec

from streamsvc.config.settings import GenerationSettings, LogSettings
from streamsvc.errors import StoreUnavailable
from streamsvc.eventlog.base import BATCH_RECORDS, BEFORE_FIRST, LogTakenOver
from streamsvc.eventlog.shared import SharedMemory
from streamsvc.eventlog.stream import Stream
from streamsvc.eventloop import now
from streamsvc.events import Done, Outcome
from streamsvc.log_line import log
from streamsvc.store import codec, scripts
from streamsvc.store.client import Store
from streamsvc.store.health import Trouble
from streamsvc.store.leases import Lease
from streamsvc.store.scripts import Appended

logger = logging.getLogger(__name__)

_OK = Appended.OK.value

CALL_GENERATIONS = 250
"""How many generations one script call writes at most: Redis runs nothing else meanwhile."""

CALL_BYTES = 1_000_000
"""Roughly how many bytes one script call writes at most."""


class Writing:
    """A generation that this process writes.

    Attributes:
        lease: the right to write it.
        end: its `Done`, while it waits to be stored, and viewers do not have it yet.
        has_ended: whether there has been a `Done`.
        is_lost: whether another process writes it now.
        waiting: set when something has been stored or has failed; None: nobody waits.
    """

    __slots__ = ("end", "has_ended", "is_lost", "lease", "waiting")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.end: Done | None = None
        self.has_ended = False
        self.is_lost = False
        self.waiting: anyio.Event | None = None

    def wake(self) -> None:
        """Let everybody who waits look again."""
        if self.waiting is not None:
            self.waiting.set()
            self.waiting = None

    async def wait(self) -> None:
        """Wait until something has been stored or has failed."""
        if self.waiting is None:
            self.waiting = anyio.Event()
        await self.waiting.wait()


class _Piece(msgspec.Struct):
    """What one call writes of one generation.

    Attributes:
        writing: the generation.
        packed: an argument of the script; see `lua/append.lua`.
        size_bytes: roughly how much it writes.
        last: the number of the last record.
        end: the `Done`, if it is the last record and viewers do not have it yet.
        is_closing: whether this closes the log.
        is_partial: whether the generation has more records already.
    """

    writing: Writing
    packed: tuple[object, ...]
    size_bytes: int
    last: int
    end: Done | None
    is_closing: bool
    is_partial: bool


class Writer:
    """Writes the generations of this process to the store.

    Args:
        store: where to.
        memory: has the records.
        log: how often, and what happens while the store cannot be used.
        generations: how long logs are kept.
    """

    def __init__(
        self,
        store: Store,
        memory: SharedMemory,
        log: LogSettings,
        generations: GenerationSettings,
    ) -> None:
        self._store = store
        self._memory = memory
        self._pace_seconds = log.write_ms / 1000
        self._may_start_alone = log.on_outage == "local"
        self._lease_ms = int(log.lease_seconds * 1000)
        self._ttl_ms = store.running_ttl_ms(generations)
        self._generations = generations
        self._writing: dict[str, Writing] = {}
        self.due: dict[str, None] = {}
        self._awake = anyio.Event()
        self._hurry = anyio.Event()
        self._began_at = 0.0
        store.leases.on_gone(self._store_again)

    def open(self, lease: Lease) -> None:
        """Begin to write a generation."""
        self._writing[lease.generation] = Writing(lease)
        self.note(lease.generation, is_urgent=True)

    def find(self, generation: str) -> Writing | None:
        """Return a generation that this process writes, until its `Done` is stored."""
        return self._writing.get(generation)

    def note(self, generation: str, *, is_urgent: bool = False) -> None:
        """Store a generation's new records soon, or at once."""
        if not self.due:
            self._awake.set()
        self.due[generation] = None
        if is_urgent:
            self._hurry.set()

    def _store_again(self, lease: Lease) -> None:
        self.note(lease.generation, is_urgent=True)

    def end(self, writing: Writing, done: Done) -> None:
        """Store a generation's last event, then give it to the viewers here."""
        writing.end = done
        writing.has_ended = True
        if self._is_alone:
            self._tell_end(writing)
        else:
            self.note(writing.lease.generation, is_urgent=True)

    def lose(self, lease: Lease) -> None:
        """Stop writing a generation: another process does."""
        if writing := self._writing.pop(lease.generation, None):
            writing.is_lost = True
            writing.end = None
            writing.wake()

    async def flush(self, writing: Writing) -> None:
        """Wait until everything appended is stored, or can only be stored later.

        Raises:
            LogTakenOver: another process writes this generation.
            StoreUnavailable: the store cannot be used, and does not have the generation; it is dropped.
        """
        lease = writing.lease
        while not writing.is_lost and (writing.end or lease.stored < self._tail(lease)):
            trouble = self._store.health.trouble
            if trouble is None:
                self.note(lease.generation, is_urgent=True)
                await writing.wait()
                continue
            if lease.stored == BEFORE_FIRST and not self._may_start_alone:
                self._drop(lease)
                raise StoreUnavailable(str(trouble))
            return
        if writing.is_lost:
            raise LogTakenOver

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._awake.wait()
            with anyio.move_on_after(self._began_at + self._pace_seconds - now()):
                await self._hurry.wait()
            self._hurry = anyio.Event()
            self._began_at = now()
            due, self.due = self.due, {}
            await self._write_all(list(self._calls(due)))
            while self._store.health.trouble is not None:
                self._go_on_alone()
                await self._store.health.wait_changed()
            if not self.due:
                self._awake = anyio.Event()

    async def _write_all(self, calls: Sequence[Sequence[_Piece]]) -> None:
        """Make some calls at the same time; mostly it is one, because a process makes its ids in one partition."""
        if len(calls) == 1:
            await self._write(calls[0])
            return
        async with anyio.create_task_group() as tasks:
            for pieces in calls:
                tasks.start_soon(self._write, pieces)

    async def _write(self, pieces: Sequence[_Piece]) -> None:
        """Write pieces of one partition in one call."""
        arguments = (
            b"%d" % self._lease_ms,
            b"%d" % self._ttl_ms,
            self._store.worker.encode(),
            msgspec.msgpack.encode([piece.packed for piece in pieces]),
        )
        keys = [piece.writing.lease.keys for piece in pieces]
        asked_at = now()
        try:
            reply = await self._store.run_packed(
                scripts.APPEND, keys, arguments, count=2 * len(keys)
            )
        except StoreUnavailable:
            for piece in pieces:
                self.due[piece.writing.lease.generation] = None
            return
        numbers = iter(reply)
        refused: list[Appended] = []
        for piece, code, last in zip(pieces, numbers, numbers, strict=True):
            if piece.writing.is_lost:
                continue
            if code == _OK:
                self._take_stored(piece, asked_at)
            else:
                refused.append(Appended(code))
                self._take_refusal(piece.writing.lease, refused[-1], last)
        if flushed := refused.count(Appended.GONE):
            note = "they are stored again"
            log(logger, logging.WARNING, "store.flushed", note, generations=flushed)

    def _take_stored(self, piece: _Piece, asked_at: float) -> None:
        writing = piece.writing
        lease = writing.lease
        lease.stored = piece.last
        self._store.leases.renew(lease, asked_at)
        if piece.end is not None:
            self._tell_end(writing)
        if piece.is_closing:
            self._forget(lease)
        elif piece.is_partial:
            self.note(lease.generation, is_urgent=True)
        if writing.waiting is not None:
            writing.wake()

    def _take_refusal(self, lease: Lease, code: Appended, last: int) -> None:
        if code is Appended.GONE:
            self._store.leases.gone(lease)
        elif code is Appended.GAP:
            lease.stored = last
            self.note(lease.generation, is_urgent=True)
        else:
            self._store.leases.lose(lease)

    def _calls(self, due: Iterable[str]) -> Iterable[Sequence[_Piece]]:
        """Return what is to be written, in pieces for one call each."""
        by_partition: dict[int, list[_Piece]] = {}
        for generation in due:
            writing = self._writing.get(generation)
            stream = self._memory.stream(generation)
            if writing is None:
                continue
            if stream is None:  # dropped before it could be stored
                self._forget(writing.lease)
            elif piece := self._piece(writing, stream):
                by_partition.setdefault(writing.lease.partition, []).append(piece)
        for pieces in by_partition.values():
            yield from _split(pieces)

    def _piece(self, writing: Writing, stream: Stream) -> _Piece | None:
        """Return the next records of a generation, up to a jump in their numbers; None if all are stored."""
        lease = writing.lease
        position = stream.position_of(lease.stored)
        if position is None:
            return None
        first = stream.cursor_at(position + 1)
        events = stream.run_after(position, BATCH_RECORDS)
        payloads = list(map(codec.encode, events))
        after = position + 1 + len(events)
        end = None
        is_partial = after < len(stream.events)
        if writing.end is not None and not is_partial:
            if stream.cursor_at(after) == first + len(events):
                end = writing.end
                payloads.append(codec.encode(end))
            else:
                is_partial = True  # an epoch begins with it
        if not payloads:
            return None
        closing_ms = 0
        if not is_partial and isinstance(last := end or events[-1], Done):
            closing_ms = self._keep_ms(last)
        return _Piece(
            writing,
            (lease.token, lease.epoch, lease.stored, first, closing_ms, payloads),
            sum(map(len, payloads)),
            first + len(payloads) - 1,
            end,
            closing_ms > 0,
            is_partial,
        )

    def _keep_ms(self, done: Done) -> int:
        is_abandoned = done.outcome is Outcome.NO_VIEWERS
        settings = self._generations
        seconds = (
            settings.keep_abandoned_seconds if is_abandoned else settings.keep_finished_seconds
        )
        return max(1, int(seconds * 1000))

    def _tail(self, lease: Lease) -> int:
        stream = self._memory.stream(lease.generation)
        return BEFORE_FIRST if stream is None else stream.tail

    def _tell_end(self, writing: Writing) -> None:
        """Give the `Done` to the viewers here."""
        done, writing.end = writing.end, None
        if done is not None:
            self._memory.append(writing.lease.generation, done)
            self.note(writing.lease.generation)

    @property
    def _is_alone(self) -> bool:
        """Whether no process can use the store. One that is silent may answer others, who take over after a lease."""
        return self._store.health.trouble not in {None, Trouble.SILENT}

    def _go_on_alone(self) -> None:
        """The store cannot be used: nobody waits for it any more, and viewers here get the ends of their answers.

        In silence they get them when they are stored, or another process's, so that nobody sees two.
        """
        for writing in list(self._writing.values()):
            if self._is_alone:
                self._tell_end(writing)
            writing.wake()

    def _forget(self, lease: Lease) -> None:
        self._writing.pop(lease.generation, None)
        self.due.pop(lease.generation, None)
        self._store.leases.end(lease.generation)

    def _drop(self, lease: Lease) -> None:
        self._forget(lease)
        self._memory.drop(lease.generation)


def _split(pieces: Sequence[_Piece]) -> Iterable[Sequence[_Piece]]:
    """Split pieces so that no call writes too much."""
    call: list[_Piece] = []
    size_bytes = 0
    for piece in pieces:
        if call and (len(call) == CALL_GENERATIONS or size_bytes > CALL_BYTES):
            yield call
            call, size_bytes = [], 0
        call.append(piece)
        size_bytes += piece.size_bytes
    if call:
        yield call
