"""The event log in the memory of this process.

A closed log is kept for a while, so that a client that reconnects gets the rest, and then a 204. Then `sweep`
drops it. If there are too many logs, or too many bytes, the one that would expire next is dropped early. An
open log is never dropped.
"""

import heapq
import math
import sys
from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.lowlevel
import msgspec
from typing_extensions import override

from streamsvc.config.settings import GenerationSettings
from streamsvc.errors import GenerationNotFound, Overloaded
from streamsvc.eventlog.base import (
    BATCH_RECORDS,
    EventLog,
    Following,
    LogClosed,
    LogEnded,
    LogFull,
    Reader,
)
from streamsvc.eventlog.stream import Follower, Stream
from streamsvc.eventloop import NO_WAIT, now, soon
from streamsvc.events import (
    Done,
    Event,
    Logprobs,
    Outcome,
    Reasoning,
    Record,
    Refusal,
    Start,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)

RECORD_BYTES = 16
"""Roughly what a piece of text costs besides itself: a slot in a list. The few other events cost more."""

_SWEEP_SECONDS = 0.1
"""The shortest time between two sweeps of expired logs: a busy service closes a thousand logs in a second."""

_EVENT_BYTES = 80
"""Roughly what an event that is stored as an object costs, besides its strings."""

_BOUNDED = (Refusal, Logprobs, ToolCallBegun, ToolCallArguments)
"""Pieces of an answer other than text; a log must not grow without limit through them either.

Complete tool calls always fit: they repeat what their drafts said, and viewers must get all of them or none.
"""


class _Lost(Following):
    """The follower of a log that does not exist."""

    def __init__(self, reader: Reader) -> None:
        self._reader: Reader | None = reader

    def notify(self) -> None:
        """Call the reader's `lost`, unless it has closed in the meantime."""
        if self._reader is not None:
            self._reader.lost()

    @override
    def begin(self) -> None:
        pass

    @override
    def resume(self) -> None:
        pass

    @override
    def close(self) -> None:
        self._reader = None


class MemoryEventLog(EventLog):
    """All logs of this process.

    Args:
        settings: how long a closed log is kept, finished or abandoned, and the memory limits.
    """

    # Set by each `follow`, because the log is made before a loop runs. `append` needs it only for a log
    # that has followers, so never before the first `follow`.
    _soon: Callable[[Callable[[], object]], object]

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        self._max_log_bytes = settings.max_log_bytes
        self._max_total_bytes = settings.max_total_log_bytes
        self._streams: dict[str, Stream] = {}
        self._size_bytes = 0
        self._expiries: list[tuple[float, str]] = []
        self._sooner = anyio.Event()
        self._due: list[Stream] = []

    def __len__(self) -> int:
        """The number of logs."""
        return len(self._streams)

    @property
    def size_bytes(self) -> int:
        """Roughly how much memory all logs take."""
        return self._size_bytes

    @override
    def append(self, generation: str, event: Event) -> None:
        stream = self._streams.get(generation) or self._open(generation, event)
        if stream.closed:
            raise LogClosed
        if type(event) is Text or type(event) is Reasoning:
            # CPython's own count of the string's bytes; `sys.getsizeof` would be one more call.
            size_bytes = RECORD_BYTES + event.text.__sizeof__()
            if stream.size_bytes + size_bytes > self._max_log_bytes:
                raise LogFull
            if self._size_bytes + size_bytes > self._max_total_bytes:
                self._make_room(size_bytes)
        else:
            size_bytes = self._take_rare(stream, event)
        stream.events.append(event.text if type(event) is Text else event)
        stream.size_bytes += size_bytes
        self._size_bytes += size_bytes
        if stream.waiting:
            stream.wake()
        if stream.followers:
            self.schedule(stream)
        if type(event) is Done:
            self._schedule_drop(generation, event)

    @override
    def flush(self, generation: str) -> Awaitable[None]:
        return NO_WAIT

    @override
    async def adopt(self, generation: str) -> None:
        """Do nothing: no other process could have written the log."""

    @override
    async def read(
        self, generation: str, *, after: int, wait_seconds: float = 0.0
    ) -> Sequence[Record]:
        stream = self._find(generation)
        position = stream.position_of(after)
        if position is None or position + 1 == len(stream.events):
            if stream.closed:
                raise LogEnded
            if not wait_seconds:
                return []
            await self._wait(stream, wait_seconds)
            stream = self._streams.get(generation, stream)  # a copy may have replaced it
            position = stream.position_of(after)
        records = [] if position is None else stream.records(position)
        if len(records) == BATCH_RECORDS:
            await anyio.lowlevel.checkpoint()
        return records

    @override
    def follow(self, generation: str, *, after: int, reader: Reader) -> Following:
        self._soon = soon()
        stream = self._streams.get(generation)
        if stream is not None:
            follower = Follower(self, stream, reader)
            if stream.admit(follower, after):
                self.schedule(stream)
                return follower
        lost = _Lost(reader)
        self._soon(lost.notify)
        return lost

    def has(self, stream: Stream) -> bool:
        """Return whether a log is still kept."""
        return self._streams.get(stream.generation) is stream

    def schedule(self, stream: Stream) -> None:
        """Deliver to a log's followers in the loop's next iteration, once for everything appended until then."""
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
        finally:  # a reader that raises, against its contract, must not make others wait
            for stream in due:
                stream.is_due = False
                self.schedule(stream)

    async def _wait(self, stream: Stream, wait_seconds: float) -> None:
        """Wait for the next record."""
        waiter = anyio.Event()
        stream.waiting.append(waiter)
        with anyio.move_on_after(wait_seconds):
            try:
                await waiter.wait()
            finally:
                if waiter in stream.waiting:
                    stream.waiting.remove(waiter)

    async def sweep(self) -> None:
        """Drop closed logs when they expire; runs until it is cancelled."""
        while True:
            while self._expiries and self._expiries[0][0] <= now():
                self._drop_next()
            self._sooner = anyio.Event()
            due = self._expiries[0][0] if self._expiries else math.inf
            with anyio.CancelScope(deadline=max(due, now() + _SWEEP_SECONDS)):
                await self._sooner.wait()

    def _open(self, generation: str, event: Event) -> Stream:
        """Return a new log.

        Raises:
            GenerationNotFound: the event is not a `Start`.
            Overloaded: see `_insert`.
        """
        if not isinstance(event, Start):
            raise GenerationNotFound
        stream = Stream(generation)
        self._insert(stream)
        return stream

    def _insert(self, stream: Stream, *, beyond_limit: bool = False) -> None:
        """Add an empty log.

        Raises:
            Overloaded: unless *beyond_limit*, the logs of running generations alone fill the memory that all logs may use.
        """
        while self._expiries and self._size_bytes >= self._max_total_bytes:
            self._drop_next()
        if self._size_bytes >= self._max_total_bytes and not beyond_limit:
            raise Overloaded("generations.max_total_log_bytes")
        self._streams[stream.generation] = stream

    def _take_rare(self, stream: Stream, event: Event) -> int:
        """Return the size of an event other than text; note whether it is the last one.

        Raises:
            LogFull: it is a piece of an answer that does not fit. Other events always fit.
        """
        size_bytes = size_of(event)
        if isinstance(event, _BOUNDED):
            if stream.size_bytes + size_bytes > self._max_log_bytes:
                raise LogFull
            self._make_room(size_bytes)
        stream.closed = type(event) is Done
        return size_bytes

    def _make_room(self, more_bytes: int) -> None:
        """Drop closed logs early until *more_bytes* fit.

        Raises:
            LogFull: they cannot fit; the generation's answer so far is kept.
        """
        while self._expiries and self._size_bytes + more_bytes > self._max_total_bytes:
            self._drop_next()
        if self._size_bytes + more_bytes > self._max_total_bytes:
            raise LogFull

    def _drop_next(self) -> None:
        """Drop the closed log that would expire next."""
        _, generation = heapq.heappop(self._expiries)
        self._size_bytes -= self._streams.pop(generation).size_bytes

    def _find(self, generation: str) -> Stream:
        try:
            return self._streams[generation]
        except KeyError:
            raise GenerationNotFound from None

    def _schedule_drop(self, generation: str, done: Done) -> None:
        abandoned = done.outcome is Outcome.NO_VIEWERS
        settings = self._settings
        keep = settings.keep_abandoned_seconds if abandoned else settings.keep_finished_seconds
        heapq.heappush(self._expiries, (now() + keep, generation))
        while len(self._expiries) > settings.keep_count:
            self._drop_next()
        if self._expiries and self._expiries[0][1] == generation:
            self._sooner.set()


def size_of(event: Event) -> int:
    """Return roughly how much memory an event takes: for a `Start`, including the client's metadata."""
    match event:
        case Text(text=text) | Reasoning(text=text):
            return RECORD_BYTES + text.__sizeof__()
        case Start():
            own = (text for pair in event.metadata.items() for text in pair)
            return RECORD_BYTES + sum(map(sys.getsizeof, own))
        case Refusal(text=text) | ToolCallArguments(arguments=text):
            return _EVENT_BYTES + sys.getsizeof(text)
        case ToolCallBegun(id=call_id, name=name):
            return _EVENT_BYTES + sys.getsizeof(call_id) + sys.getsizeof(name)
        case Logprobs() | ToolCallReady():
            # Values of any shape: the size of their JSON is a rough measure, a few times less than Python's objects.
            return _EVENT_BYTES + len(msgspec.json.encode(event))
        case _:
            return RECORD_BYTES
