"""The records of one generation in memory, with the readers that wait for the next one and the followers."""

from typing import Protocol

import anyio
from typing_extensions import override

from streamsvc.eventlog.base import BATCH_RECORDS, Following, Reader
from streamsvc.events import Event, Record, Text


class Stream:
    """One generation's log.

    A `Text` is stored as its bare string and becomes an event again when it is read: an answer has many,
    and the object would take 24 bytes more for each.

    Attributes:
        generation: its id.
        events: by sequence number.
        size_bytes: roughly how much memory they take.
        closed: whether the last one is the `Done`.
        waiting: set when there is another record; each `read` that waits has one.
        followers: in the order in which they joined.
        is_due: whether a delivery is scheduled.
    """

    __slots__ = ("closed", "events", "followers", "generation", "is_due", "size_bytes", "waiting")

    def __init__(self, generation: str) -> None:
        self.generation = generation
        self.events: list[Event | str] = []
        self.size_bytes = 0
        self.closed = False
        self.waiting: list[anyio.Event] = []
        self.followers: list[Follower] = []
        self.is_due = False

    def records(self, after: int) -> list[Record]:
        """Return the records after a cursor, at most `BATCH_RECORDS` of them."""
        seq = after + 1
        records: list[Record] = []
        # Not a comprehension, which is one more call before CPython 3.12.
        for event in self.events[seq : seq + BATCH_RECORDS]:
            stored = Text(event) if isinstance(event, str) else event
            records.append(Record(self.generation, seq, stored))
            seq += 1
        return records

    def wake(self) -> None:
        """Let every waiting `read` check again."""
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter.set()

    def deliver(self) -> bool:
        """Deliver new records to every follower; return whether there are more for any of them.

        Followers at the same position get the same `Record` objects, so that a dialect encodes each one
        only once.
        """
        self.is_due = has_more = False
        pieces: dict[int, list[Record]] = {}
        for follower in self.followers.copy():
            if follower.is_paused:
                continue
            records = pieces.get(follower.after)
            if records is None:
                records = pieces[follower.after] = self.records(follower.after)
            if not records:
                continue
            taken = follower.reader.deliver(records)
            follower.after += taken
            follower.is_paused = not taken
            has_more |= taken > 0 and follower.after + 1 < len(self.events)
        return has_more


class Schedule(Protocol):
    """What a follower needs from the log that holds its stream."""

    def has(self, stream: Stream) -> bool:
        """Return whether the stream is still kept."""
        ...

    def schedule(self, stream: Stream) -> None:
        """Deliver to the stream's followers soon."""
        ...


class Follower(Following):
    """A reader's position in a stream."""

    __slots__ = ("_schedule", "_stream", "after", "is_paused", "reader")

    def __init__(self, schedule: Schedule, stream: Stream, after: int, reader: Reader) -> None:
        self.after = after
        self._schedule = schedule
        self._stream = stream
        self.reader = reader
        self.is_paused = False
        stream.followers.append(self)
        schedule.schedule(stream)

    @override
    def resume(self) -> None:
        if self.is_paused:
            self.is_paused = False
            if self._schedule.has(self._stream):
                self._schedule.schedule(self._stream)
            else:
                self.reader.lost()

    @override
    def close(self) -> None:
        self.is_paused = True
        if self in self._stream.followers:
            self._stream.followers.remove(self)
