"""The event log in the memory of this process.

A closed log is kept for a while, so that a reconnect can have the rest and then its 204, and is
then dropped by `sweep`; earlier where there are too many, or too many bytes, and then the one
whose time is over next. An open log is never dropped.
"""

import heapq
import sys
from collections.abc import Callable, Sequence

import anyio
import anyio.lowlevel
from typing_extensions import override

from streamsvc.config.settings import GenerationSettings
from streamsvc.errors import CursorLost, GenerationNotFound, Overloaded
from streamsvc.eventlog.base import (
    BATCH_RECORDS,
    EventLog,
    Following,
    LogClosed,
    LogEnded,
    LogFull,
    Reader,
)
from streamsvc.eventloop import now, soon
from streamsvc.events import Done, Event, Outcome, Reasoning, Record, Start, Text

RECORD_BYTES = 16
"""What a piece of text costs beside itself, about: a place in a list. The few other events cost more."""


class _Stream:
    """The events of one generation, who waits for the next one, and who is given all of them."""

    __slots__ = ("closed", "events", "followers", "generation", "is_due", "size_bytes", "waiting")

    def __init__(self, generation: str) -> None:
        self.generation = generation
        self.events: list[Event | str] = []  # a `Text` is its bare text: of these there are many
        self.size_bytes = 0
        self.closed = False
        self.waiting: list[anyio.Event] = []
        self.followers: list[_Following] = []
        self.is_due = False

    def records(self, after: int) -> list[Record]:
        """Return the records behind a cursor, at most `BATCH_RECORDS` of them."""
        seq = after + 1
        records: list[Record] = []
        # Not a comprehension, which is a call more.
        for event in self.events[seq : seq + BATCH_RECORDS]:
            stored = Text(event) if isinstance(event, str) else event
            records.append(Record(self.generation, seq, stored))
            seq += 1
        return records

    def wake(self) -> None:
        """Let everybody look again who waits."""
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter.set()

    def deliver(self) -> bool:
        """Give every follower what it does not have yet; those at the same place get the same.

        Returns whether there is more for any of them.
        """
        self.is_due = has_more = False
        at = -2
        records: list[Record] = []
        for follower in self.followers.copy():
            if follower.is_paused:
                continue
            if follower.after != at:
                at = follower.after
                records = self.records(at)
            if not records:
                continue
            taken = follower.reader.deliver(records)
            follower.after += taken
            follower.is_paused = not taken
            has_more |= taken > 0 and follower.after + 1 < len(self.events)
        return has_more


class _Following(Following):
    """One follower of a log that is there."""

    __slots__ = ("_log", "_stream", "after", "is_paused", "reader")

    def __init__(self, log: "MemoryEventLog", stream: _Stream, after: int, reader: Reader) -> None:
        self.after = after
        self._log = log
        self._stream = stream
        self.reader = reader
        self.is_paused = False
        stream.followers.append(self)
        log.schedule(stream)

    @override
    def resume(self) -> None:
        if self.is_paused:
            self.is_paused = False
            if self._log.has(self._stream):
                self._log.schedule(self._stream)
            else:
                self.reader.lost()

    @override
    def close(self) -> None:
        self.is_paused = True
        if self in self._stream.followers:
            self._stream.followers.remove(self)


class _Lost(Following):
    """The follower of a log that is not there."""

    def __init__(self, reader: Reader) -> None:
        self._reader: Reader | None = reader

    def tell(self) -> None:
        """Say so, once."""
        if self._reader is not None:
            self._reader.lost()

    @override
    def resume(self) -> None:
        pass

    @override
    def close(self) -> None:
        self._reader = None


class MemoryEventLog(EventLog):
    """See the module.

    Args:
        settings: how long a closed log is kept, finished or abandoned, and how much at most.
    """

    _soon: Callable[[Callable[[], object]], object]

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        self._max_log_bytes = settings.max_log_bytes
        self._max_total_bytes = settings.max_total_log_bytes
        self._streams: dict[str, _Stream] = {}
        self._size_bytes = 0
        self._expiries: list[tuple[float, str]] = []
        self._closed_one = anyio.Event()
        self._due: list[_Stream] = []

    def __len__(self) -> int:
        """How many logs are held."""
        return len(self._streams)

    @property
    def size_bytes(self) -> int:
        """What all logs come to in memory, about."""
        return self._size_bytes

    @override
    def append(self, generation: str, event: Event) -> None:
        stream = self._streams.get(generation) or self._open(generation, event)
        if stream.closed:
            raise LogClosed
        if type(event) is Text or type(event) is Reasoning:
            size_bytes = RECORD_BYTES + event.text.__sizeof__()
            if stream.size_bytes + size_bytes > self._max_log_bytes:
                raise LogFull
            if self._size_bytes + size_bytes > self._max_total_bytes:
                self._make_room(size_bytes)
        else:
            size_bytes = self._note(stream, event)
        stream.events.append(event.text if type(event) is Text else event)
        stream.size_bytes += size_bytes
        self._size_bytes += size_bytes
        if stream.waiting:
            stream.wake()
        if stream.followers:
            self.schedule(stream)
        while len(self._expiries) > self._settings.keep_count:
            self._drop_next()

    @override
    async def flush(self, generation: str) -> None:
        pass

    @override
    async def read(
        self, generation: str, *, after: int, wait_seconds: float = 0.0
    ) -> Sequence[Record]:
        stream = self._find(generation)
        if after >= len(stream.events):
            raise CursorLost
        if after + 1 == len(stream.events):
            if stream.closed:
                raise LogEnded
            if not wait_seconds:
                return []
            await self._wait(stream, wait_seconds)
        records = stream.records(after)
        if len(records) == BATCH_RECORDS:
            await anyio.lowlevel.checkpoint()
        return records

    @override
    def follow(self, generation: str, *, after: int, reader: Reader) -> Following:
        self._soon = soon()
        stream = self._streams.get(generation)
        if stream is None or after >= len(stream.events):
            lost = _Lost(reader)
            self._soon(lost.tell)
            return lost
        return _Following(self, stream, after, reader)

    def has(self, stream: _Stream) -> bool:
        """Tell whether a log is still kept."""
        return self._streams.get(stream.generation) is stream

    def schedule(self, stream: _Stream) -> None:
        """Have the followers of a log look at it soon, once for all that is appended until then."""
        if not stream.is_due:
            stream.is_due = True
            self._due.append(stream)
            if len(self._due) == 1:  # one callback serves all logs
                self._soon(self._deliver)

    def _deliver(self) -> None:
        due, self._due = iter(self._due), []
        try:
            for stream in due:
                if stream.deliver():
                    self.schedule(stream)
        finally:  # a reader that breaks its contract is no reason for others to wait
            for stream in due:
                stream.is_due = False
                self.schedule(stream)

    async def _wait(self, stream: _Stream, wait_seconds: float) -> None:
        """Wait for the next record, at most so long."""
        waiter = anyio.Event()
        stream.waiting.append(waiter)
        with anyio.move_on_after(wait_seconds):
            try:
                await waiter.wait()
            finally:
                if waiter in stream.waiting:
                    stream.waiting.remove(waiter)

    async def sweep(self) -> None:
        """Drop closed logs as their time comes; runs until it is cancelled."""
        while True:
            while self._expiries and self._expiries[0][0] <= now():
                self._drop_next()
            self._closed_one = anyio.Event()
            due = self._expiries[0][0] if self._expiries else float("inf")
            with anyio.CancelScope(deadline=due):
                await self._closed_one.wait()

    def _open(self, generation: str, event: Event) -> _Stream:
        """Return a new log, if there is room for one.

        Raises:
            GenerationNotFound: it does not begin with a `Start`.
            Overloaded: the logs of running generations alone fill the memory they may have.
        """
        if not isinstance(event, Start):
            raise GenerationNotFound
        while self._expiries and self._size_bytes >= self._max_total_bytes:
            self._drop_next()
        if self._size_bytes >= self._max_total_bytes:
            raise Overloaded("generations.max_total_log_bytes")
        stream = self._streams[generation] = _Stream(generation)
        return stream

    def _note(self, stream: _Stream, event: Event) -> int:
        """Do what an event asks for that is no word; return its size."""
        size_bytes = RECORD_BYTES
        if isinstance(event, Start):
            own = (text for pair in event.metadata.items() for text in pair)
            size_bytes += sum(map(sys.getsizeof, own))
        elif isinstance(event, Done):
            stream.closed = True
            self._schedule_drop(stream.generation, event)
        return size_bytes

    def _make_room(self, more_bytes: int) -> None:
        """Drop closed logs before their time until so much more fits.

        Raises:
            LogFull: what the generation has said so far stands.
        """
        while self._expiries and self._size_bytes + more_bytes > self._max_total_bytes:
            self._drop_next()
        if self._size_bytes + more_bytes > self._max_total_bytes:
            raise LogFull

    def _drop_next(self) -> None:
        """Drop the closed log whose time is over next."""
        _, generation = heapq.heappop(self._expiries)
        self._size_bytes -= self._streams.pop(generation).size_bytes

    def _find(self, generation: str) -> _Stream:
        try:
            return self._streams[generation]
        except KeyError:
            raise GenerationNotFound from None

    def _schedule_drop(self, generation: str, done: Done) -> None:
        abandoned = done.outcome is Outcome.NO_VIEWERS
        settings = self._settings
        keep = settings.keep_abandoned_seconds if abandoned else settings.keep_finished_seconds
        heapq.heappush(self._expiries, (now() + keep, generation))
        self._closed_one.set()
