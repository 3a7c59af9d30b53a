"""The memory of one process of many: the logs that it writes, and copies of logs that other processes write.

A store, which all processes share, is between them. Nothing here waits for it: the code that reads the store puts its
records in with `extend`, and says with `own`, `begin_epoch` and `open_copy` which process writes a log.
"""

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from typing_extensions import override

from streamsvc.errors import CursorLost, CursorReplaced, Overloaded
from streamsvc.eventlog.base import BATCH_RECORDS, BEFORE_FIRST, EPOCH_SEQS, Reader
from streamsvc.eventlog.memory import MemoryEventLog, size_of
from streamsvc.eventlog.stream import Follower, Stream
from streamsvc.events import Done, Event, Record, Text


class Span(NamedTuple):
    """Records with consecutive numbers: an epoch.

    Attributes:
        position: of the first one.
        seq: its number.
    """

    position: int
    seq: int

    @property
    def offset(self) -> int:
        """How much higher the numbers are than the positions."""
        return self.seq - self.position


class SharedStream(Stream):
    """A log that several processes write, one after another; each take-over begins an epoch, and numbers jump.

    It starts as an empty copy. Followers wait in `seeking` until the record at their cursor is here, or until it is
    clear that it will never be: beyond the tail of a log that another process writes, it may still come.

    Attributes:
        is_copy: whether another process writes it.
        spans: the epochs, oldest first; one that has no records counts too.
        seeking: followers whose record is not here, with their cursors.
    """

    __slots__ = ("is_copy", "seeking", "spans")

    def __init__(self, generation: str) -> None:
        super().__init__(generation)
        self.is_copy = True
        self.spans = [Span(0, 0)]
        self.seeking: dict[Follower, int] = {}

    @property
    def next_seq(self) -> int:
        """The number that the next record will have, unless an epoch begins."""
        return len(self.events) + self.spans[-1].offset

    @property
    @override
    def tail(self) -> int:
        return self.cursor_at(len(self.events) - 1)

    def begin(self, seq: int) -> None:
        """Number the following records from *seq* on."""
        self.spans.append(Span(len(self.events), seq))

    @override
    def position_of(self, cursor: int) -> int | None:
        if cursor == BEFORE_FIRST:
            return cursor
        number = bisect_right(self.spans, cursor, key=lambda span: span.seq) - 1
        position = cursor - self.spans[number].offset
        if position < self._end_of(number):
            return position
        if number + 1 < len(self.spans):
            raise CursorReplaced
        if self.is_copy and not self.closed:
            return None
        raise CursorLost

    @override
    def cursor_at(self, position: int) -> int:
        if position == BEFORE_FIRST:
            return BEFORE_FIRST
        return position + self.spans[self._number_at(position)].offset

    def _number_at(self, position: int) -> int:
        """Return which span has the record at a position."""
        return bisect_right(self.spans, position, key=lambda span: span.position) - 1

    def _end_of(self, number: int) -> int:
        """Return the position after the last record of a span."""
        is_last = number + 1 == len(self.spans)
        return len(self.events) if is_last else self.spans[number + 1].position

    @override
    def run_after(self, position: int, most: int) -> list[Event | str]:
        end = self._end_of(self._number_at(position + 1))
        return super().run_after(position, min(most, end - position - 1))

    @override
    def records(self, position: int, *, offset: int = 0, most: int = BATCH_RECORDS) -> list[Record]:
        number = self._number_at(position + 1)
        most = min(most, self._end_of(number) - position - 1)  # a batch ends where the numbers jump
        return super().records(position, offset=self.spans[number].offset, most=most)

    @override
    def admit(self, follower: Follower, cursor: int) -> bool:
        self.seeking[follower] = cursor
        return True

    @override
    def forget(self, follower: Follower) -> None:
        self.seeking.pop(follower, None)
        super().forget(follower)

    @override
    def deliver(self) -> bool:
        if self.seeking:
            self._settle()
        return super().deliver()

    def _settle(self) -> None:
        """Let each follower whose record is known by now go on from it, or learn that it will not come."""
        for follower, cursor in list(self.seeking.items()):
            if follower not in self.seeking:  # another reader has closed it
                continue
            try:
                position = self.position_of(cursor)
            except CursorReplaced:
                self._let_go(follower).interrupted()
            except CursorLost:
                self._let_go(follower).lost()
            else:
                if position is not None:
                    del self.seeking[follower]
                    follower.position = position
                    self.followers.append(follower)

    def _let_go(self, follower: Follower) -> Reader:
        """Deliver nothing more to a follower, not even after `resume`; return its reader."""
        del self.seeking[follower]
        follower.is_paused = False
        return follower.reader

    def take_followers(self, other: Stream) -> None:
        """Let the followers of another stream of this generation go on from here, each from its cursor."""
        seeking = {it: other.cursor_at(it.position) for it in other.followers}
        if isinstance(other, SharedStream):
            seeking.update(other.seeking)
            other.seeking.clear()
        other.followers.clear()
        for follower in seeking:
            follower.stream = self
        self.seeking.update(seeking)

    @override
    def dismiss(self) -> list[Follower]:
        followers = [*super().dismiss(), *self.seeking]
        self.seeking.clear()
        return followers


class SharedMemory(MemoryEventLog):
    """The logs of one process of many.

    Logs of generations that start here are opened by their `Start`, as in `MemoryEventLog`. What another process
    writes is a copy: never `append` to it. Copies count towards the limits on memory, and a copy that is closed is
    dropped after its time; one that is not closed is kept until `drop`.
    """

    def stream(self, generation: str) -> Stream | None:
        """Return what this process has of a log, or None."""
        return self._streams.get(generation)

    def open_copy(self, generation: str, *, beyond_limit: bool = False) -> SharedStream:
        """Return an empty copy, which replaces what this process has of the generation.

        Followers go on from the copy, as soon as the record at their cursor is in it.

        Args:
            generation: its id.
            beyond_limit: whether to make one even if there is no room: this process is about to write it.

        Raises:
            Overloaded: the logs of running generations alone fill the memory that all logs may use.
        """
        before = self._streams.get(generation)
        if before is not None:
            self._remove(before)
            before.wake()
        copy = SharedStream(generation)
        try:
            self._insert(copy, beyond_limit=beyond_limit)
        except Overloaded:
            for follower in before.dismiss() if before is not None else ():
                follower.reader.interrupted()
            raise
        if before is not None:
            copy.take_followers(before)
            self._notify(copy)
        return copy

    def extend(self, stream: SharedStream, records: Sequence[Record]) -> None:
        """Add records to a copy as they were stored, in order; those that it already has are left out.

        They are never refused: the processes that write them have limited their size.
        """
        if not self.has(stream) or stream.closed:
            return
        for record in records:
            if record.seq < stream.next_seq:
                continue
            if record.seq > stream.next_seq:
                stream.begin(record.seq)
            event = record.event
            size_bytes = size_of(event)
            stream.events.append(event.text if type(event) is Text else event)
            stream.size_bytes += size_bytes
            self._size_bytes += size_bytes
            stream.closed = type(event) is Done
        while self._expiries and self._size_bytes > self._max_total_bytes:
            self._drop_next()
        self._notify(stream)
        if stream.closed and isinstance(done := stream.events[-1], Done):
            self._schedule_drop(stream.generation, done)

    def begin_epoch(self, stream: SharedStream, epoch: int) -> None:
        """Note that a process has taken over: what the one before it has not stored will never come."""
        seq = epoch * EPOCH_SEQS
        if seq > stream.next_seq:
            stream.begin(seq)
            self._notify(stream)

    def own(self, stream: SharedStream, epoch: int) -> None:
        """Note that this process writes a log from now on, all records of which are in the copy."""
        stream.is_copy = False
        self.begin_epoch(stream, epoch)
        self._notify(stream)

    def interrupt(self, generation: str) -> None:
        """Send the followers of a log away: its records will come from another process. The log is kept."""
        stream = self._streams.get(generation)
        for follower in stream.dismiss() if stream is not None else ():
            follower.reader.interrupted()

    def drop(self, generation: str) -> None:
        """Forget a log; its followers learn that it is gone."""
        stream = self._streams.get(generation)
        if stream is None:
            return
        self._remove(stream)
        stream.wake()
        for follower in stream.dismiss():
            follower.reader.lost()

    def _notify(self, stream: SharedStream) -> None:
        """Wake the readers, and deliver what is new to the followers."""
        if stream.waiting:
            stream.wake()
        if stream.followers or stream.seeking:
            self.schedule(stream)

    def _remove(self, stream: Stream) -> None:
        del self._streams[stream.generation]
        self._size_bytes -= stream.size_bytes
        if stream.closed:  # what was to expire is gone
            self._expiries = [it for it in self._expiries if it[1] != stream.generation]
            heapq.heapify(self._expiries)
