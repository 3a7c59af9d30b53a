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

from streamsvc.clock import soon
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
from streamsvc.events import Done, Event, Outcome, Reasoning, Record, Start, Text
from streamsvc.settings import GenerationSettings

RECORD_BYTES = 16
"""What a piece of text costs beside itself, about: a place in a list. The few other events cost more."""


_WORDS = (Text, Reasoning)


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
        start = after + 1
        generation = self.generation
        return [
            Record(generation, seq, Text(event) if isinstance(event, str) else event)
            for seq, event in enumerate(self.events[start : start + BATCH_RECORDS], start)
        ]

    def wake(self) -> None:
        """Let everybody look again who waits."""
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter.set()

    def deliver(self) -> None:
        """Give every follower what it does not have yet; those at the same place get the same."""
        self.is_due = False
        at, records = -2, list[Record]()
        for follower in self.followers.copy():
            if follower.is_paused:
                continue
            if follower.after != at:
                at = follower.after
                records = self.records(at)
            if records:
                follower.take(records)


class _Following(Following):
    """One follower of a log that is there."""

    __slots__ = ("_log", "_reader", "_stream", "after", "is_paused")

    def __init__(self, log: "MemoryEventLog", stream: _Stream, after: int, reader: Reader) -> None:
        self.after = after
        self._log = log
        self._stream = stream
        self._reader = reader
        self.is_paused = False
        stream.followers.append(self)
        log.schedule(stream)

    def take(self, records: Sequence[Record]) -> None:
        """Pass the next records on."""
        taken = self._reader.deliver(records)
        self.after += taken
        if not taken:
            self.is_paused = True
        elif self.after + 1 < len(self._stream.events):
            self._log.schedule(self._stream)

    @override
    def resume(self) -> None:
        if self.is_paused:
            self.is_paused = False
            if self._log.has(self._stream):
                self._log.schedule(self._stream)
            else:
                self._reader.lost()

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

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        self._streams: dict[str, _Stream] = {}
        self._size_bytes = 0
        self._expiries: list[tuple[float, str]] = []
        self._closed_one = anyio.Event()
        self._soon: Callable[[Callable[[], object]], object] | None = None
        self._due: list[_Stream] = []

    def __len__(self) -> int:
        """How many logs are held."""
        return len(self._streams)

    @property
    def size_bytes(self) -> int:
        """What all logs come to in memory, about."""
        return self._size_bytes

    @override
    async def append(self, generation: str, event: Event) -> Record:
        stream = self._open(generation) if isinstance(event, Start) else self._find(generation)
        if stream.closed:
            raise LogClosed
        size_bytes = RECORD_BYTES
        if isinstance(event, _WORDS):
            size_bytes += event.text.__sizeof__()
            self._check_room(stream.size_bytes + size_bytes, size_bytes)
        elif isinstance(event, Start):
            own = (text for pair in event.metadata.items() for text in pair)
            size_bytes += sum(map(sys.getsizeof, own))
        record = Record(generation, len(stream.events), event)
        stream.events.append(event.text if type(event) is Text else event)
        stream.size_bytes += size_bytes
        self._size_bytes += size_bytes
        if isinstance(event, Done):
            stream.closed = True
            self._schedule_drop(generation, event)
        if stream.waiting:
            stream.wake()
        if stream.followers:
            self.schedule(stream)
        if self._expiries:
            self._make_room()
        return record

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
        stream = self._streams.get(generation)
        if stream is None or after >= len(stream.events):
            lost = _Lost(reader)
            self._call_soon(lost.tell)
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
                self._call_soon(self._deliver)

    def _deliver(self) -> None:
        due, self._due = iter(self._due), []
        try:
            for stream in due:
                stream.deliver()
        finally:  # a reader that breaks its contract is no reason for others to wait
            for stream in due:
                stream.is_due = False
                self.schedule(stream)

    def _call_soon(self, call: Callable[[], object]) -> None:
        if self._soon is None:
            self._soon = soon()
        self._soon(call)

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
            while self._expiries and self._expiries[0][0] <= anyio.current_time():
                self._drop_next()
            self._closed_one = anyio.Event()
            due = self._expiries[0][0] if self._expiries else float("inf")
            with anyio.CancelScope(deadline=due):
                await self._closed_one.wait()

    def _open(self, generation: str) -> _Stream:
        """Return a new log, if there is room for one.

        Raises:
            Overloaded: the logs of running generations alone fill the memory they may have.
        """
        while self._expiries and self._size_bytes >= self._settings.max_total_log_bytes:
            self._drop_next()
        if self._size_bytes >= self._settings.max_total_log_bytes:
            raise Overloaded("generations.max_total_log_bytes")
        return self._streams.setdefault(generation, _Stream(generation))

    def _check_room(self, log_bytes: int, more_bytes: int) -> None:
        """Refuse what would make one log, or all that are open, larger than they may be.

        Raises:
            LogFull: what the generation has said so far stands.
        """
        settings = self._settings
        is_full = self._size_bytes + more_bytes > settings.max_total_log_bytes
        if log_bytes > settings.max_log_bytes or (is_full and not self._expiries):
            raise LogFull

    def _make_room(self) -> None:
        """Drop closed logs before their time, while there are too many or too much."""
        settings = self._settings
        while self._expiries and (
            self._size_bytes > settings.max_total_log_bytes
            or len(self._expiries) > settings.keep_count
        ):
            self._drop_next()

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
        heapq.heappush(self._expiries, (anyio.current_time() + keep, generation))
        self._closed_one.set()
