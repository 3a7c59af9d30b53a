"""The event log in the memory of this process.

A closed log is kept for a while, so that a reconnect can have the rest and then its 204, and is
then dropped by `sweep`; earlier where there are too many, or too many bytes, and then the one
whose time is over next. An open log is never dropped.
"""

import asyncio
import heapq
import math
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import anyio
import anyio.lowlevel
from typing_extensions import override

from streamsvc.errors import CursorLost, GenerationNotFound, Overloaded
from streamsvc.eventlog.base import BATCH_RECORDS, EventLog, LogClosed, LogEnded, LogFull
from streamsvc.events import Done, Event, Outcome, Reasoning, Record, Start, Text
from streamsvc.settings import GenerationSettings

RECORD_BYTES = 160
"""What a record costs beside its text, in CPython 3.11: two structs, a number, a place in a list."""


class _Waiter(Protocol):
    """The part of a future that is needed here: an event of anyio's costs several times as much."""

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> None: ...

    def __await__(self) -> Generator[Any, None, None]: ...


class _EventWaiter(_Waiter):
    """The same on event loops that have no futures."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    @override
    def done(self) -> bool:
        return self._event.is_set()

    @override
    def set_result(self, result: None, /) -> None:
        self._event.set()

    @override
    def __await__(self) -> Generator[Any, None, None]:
        return self._event.wait().__await__()


class _Stream:
    """The records of one generation, and who waits for the next one."""

    __slots__ = ("closed", "records", "size_bytes", "waiting")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.size_bytes = 0
        self.closed = False
        self.waiting: list[_Waiter] = []

    def wake(self) -> None:
        """Let everybody look again who waits."""
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


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
        self._new_waiter: Callable[[], _Waiter] | None = None

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
        if isinstance(event, Text | Reasoning):
            size_bytes += sys.getsizeof(event.text)
            self._check_room(stream.size_bytes + size_bytes, size_bytes)
        elif isinstance(event, Start):
            size_bytes += sum(
                sys.getsizeof(text) for pair in event.metadata.items() for text in pair
            )
        record = Record(generation, len(stream.records), event)
        stream.records.append(record)
        stream.size_bytes += size_bytes
        self._size_bytes += size_bytes
        if isinstance(event, Done):
            stream.closed = True
            self._schedule_drop(generation, event)
        if stream.waiting:
            stream.wake()
        if self._expiries:
            self._make_room()
        return record

    @override
    async def read(
        self, generation: str, *, after: int, wait_seconds: float = 0.0
    ) -> Sequence[Record]:
        stream = self._find(generation)
        start = after + 1
        if start > len(stream.records):
            raise CursorLost
        if start == len(stream.records):
            if stream.closed:
                raise LogEnded
            if not wait_seconds:
                return []
            await self._wait(stream, wait_seconds)
        records = stream.records[start : start + BATCH_RECORDS]
        if len(records) == BATCH_RECORDS:
            await anyio.lowlevel.checkpoint()
        return records

    async def _wait(self, stream: _Stream, wait_seconds: float) -> None:
        """Wait for the next record, at most so long."""
        if wait_seconds < math.inf:
            with anyio.move_on_after(wait_seconds):
                await self._wait(stream, math.inf)
            return
        waiter = self._make_waiter()
        stream.waiting.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter in stream.waiting:
                stream.waiting.remove(waiter)
            raise

    def _make_waiter(self) -> "_Waiter":
        if self._new_waiter is None:
            try:
                self._new_waiter = asyncio.get_running_loop().create_future
            except RuntimeError:
                self._new_waiter = _EventWaiter
        return self._new_waiter()

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
        return self._streams.setdefault(generation, _Stream())

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
