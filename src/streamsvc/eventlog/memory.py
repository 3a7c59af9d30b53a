"""The event log in the memory of this process.

A closed log is kept for a while, so that a reconnect can have the rest and then its 204, and is
then dropped by `sweep`. An open log is never dropped.
"""

import heapq
from collections.abc import Sequence

import anyio
import anyio.lowlevel
from typing_extensions import override

from streamsvc.errors import CursorLost, GenerationNotFound
from streamsvc.eventlog.base import BATCH_RECORDS, EventLog, LogClosed
from streamsvc.events import Done, Event, Outcome, Record, Start
from streamsvc.settings import GenerationSettings


class _Stream:
    """The records of one generation, and the event its waiting readers share."""

    __slots__ = ("closed", "grown", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.closed = False
        self.grown: anyio.Event | None = None


class MemoryEventLog(EventLog):
    """See the module.

    Args:
        settings: how long a closed log is kept, finished or abandoned.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        self._streams: dict[str, _Stream] = {}
        self._expiries: list[tuple[float, str]] = []
        self._closed_one = anyio.Event()

    def __len__(self) -> int:
        """How many logs are held."""
        return len(self._streams)

    @override
    async def append(self, generation: str, event: Event) -> Record:
        if isinstance(event, Start):
            stream = self._streams.setdefault(generation, _Stream())
        else:
            stream = self._find(generation)
        if stream.closed:
            raise LogClosed
        record = Record(generation, len(stream.records), event)
        stream.records.append(record)
        if isinstance(event, Done):
            stream.closed = True
            self._schedule_drop(generation, event)
        if stream.grown is not None:
            stream.grown.set()
            stream.grown = None
        return record

    @override
    async def read(
        self, generation: str, *, after: int, wait_seconds: float = 0.0
    ) -> Sequence[Record]:
        stream = self._find(generation)
        start = after + 1
        if start > len(stream.records):
            raise CursorLost
        if start == len(stream.records) and not stream.closed and wait_seconds:
            if stream.grown is None:
                stream.grown = anyio.Event()
            with anyio.move_on_after(wait_seconds):
                await stream.grown.wait()
        records = stream.records[start : start + BATCH_RECORDS]
        if len(records) == BATCH_RECORDS:
            await anyio.lowlevel.checkpoint()
        return records

    async def sweep(self) -> None:
        """Drop closed logs as their time comes; runs until it is cancelled."""
        while True:
            while self._expiries and self._expiries[0][0] <= anyio.current_time():
                _, generation = heapq.heappop(self._expiries)
                del self._streams[generation]
            self._closed_one = anyio.Event()
            due = self._expiries[0][0] if self._expiries else float("inf")
            with anyio.CancelScope(deadline=due):
                await self._closed_one.wait()

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
