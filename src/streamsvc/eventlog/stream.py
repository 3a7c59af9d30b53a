"""The records of one generation in memory, with the readers that wait for the next one and the followers.

A *position* is an index in `Stream.events`. Here it is the sequence number; in `shared.SharedStream`, whose numbers
jump, it is not.
"""

from typing import Protocol

import anyio
from typing_extensions import override

from streamsvc.errors import CursorLost
from streamsvc.eventlog.base import BATCH_RECORDS, BEFORE_FIRST, Following, Reader
from streamsvc.events import Event, Record, Text


class Stream:
    """One generation's log.

    A `Text` is stored as its bare string and becomes an event again when it is read: an answer has many,
    and the object would take 24 bytes more for each.

    Attributes:
        generation: its id.
        events: by position.
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

    @property
    def tail(self) -> int:
        """The sequence number of the last record; `BEFORE_FIRST` if there is none."""
        return len(self.events) - 1

    def position_of(self, cursor: int) -> int | None:
        """Return the position of the record with a sequence number; None if it may still come.

        Raises:
            CursorLost: there will never be a record with this number.
        """
        if cursor >= len(self.events):
            raise CursorLost
        return cursor

    def cursor_at(self, position: int) -> int:
        """Return the sequence number of the record at a position."""
        return position

    def records(self, position: int, *, offset: int = 0, most: int = BATCH_RECORDS) -> list[Record]:
        """Return the records after a position, at most *most*; their numbers are *offset* above their positions."""
        first = position + 1
        seq = first + offset
        records: list[Record] = []
        # Not a comprehension, which is one more call before CPython 3.12.
        for event in self.events[first : first + most]:
            stored = Text(event) if isinstance(event, str) else event
            records.append(Record(self.generation, seq, stored))
            seq += 1
        return records

    def run_after(self, position: int, most: int) -> list[Event | str]:
        """Return events after a position as they are kept, at most *most*, with consecutive numbers."""
        return self.events[position + 1 : position + 1 + most]

    def admit(self, follower: "Follower", cursor: int) -> bool:
        """Let a follower have the records after its cursor; return False if there will never be any."""
        if cursor >= len(self.events):
            return False
        follower.position = cursor
        self.followers.append(follower)
        return True

    def forget(self, follower: "Follower") -> None:
        """Let a follower have nothing more."""
        if follower in self.followers:
            self.followers.remove(follower)

    def dismiss(self) -> "list[Follower]":
        """Return all followers; they get nothing more from here, not even after `resume`."""
        followers, self.followers = self.followers, []
        for follower in followers:
            follower.is_paused = False
        return followers

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
            records = pieces.get(follower.position)
            if records is None:
                records = pieces[follower.position] = self.records(follower.position)
            if not records:
                continue
            taken = follower.reader.deliver(records)
            follower.position += taken
            follower.is_paused = not taken
            has_more |= taken > 0 and follower.position + 1 < len(self.events)
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
    """A reader's position in a stream; call `admit` of the stream next.

    Attributes:
        reader: gets the records.
        stream: has them; another stream of the same generation may take its place.
        position: of the last record that the reader has taken.
        is_paused: whether the reader has taken none of the records that were delivered last.
    """

    __slots__ = ("_schedule", "is_paused", "position", "reader", "stream")

    def __init__(self, schedule: Schedule, stream: Stream, reader: Reader) -> None:
        self._schedule = schedule
        self.stream = stream
        self.reader = reader
        self.position = BEFORE_FIRST
        self.is_paused = False

    @override
    def begin(self) -> None:
        if self._schedule.has(self.stream) and self.stream.deliver():
            self._schedule.schedule(self.stream)

    @override
    def resume(self) -> None:
        if self.is_paused:
            self.is_paused = False
            if self._schedule.has(self.stream):
                self._schedule.schedule(self.stream)
            else:
                self.reader.lost()

    @override
    def close(self) -> None:
        self.is_paused = True
        self.stream.forget(self)
