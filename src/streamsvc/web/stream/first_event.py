"""Waits for an event before sending the response head: some clients understand a status better than a stream."""

import asyncio
import math
from collections.abc import Sequence
from typing import Protocol

from starlette.responses import Response
from typing_extensions import override

from streamsvc.engine.audience import ViewerSlot
from streamsvc.eventlog.base import Reader
from streamsvc.events import Event, Record
from streamsvc.web.stream.viewer import LogPosition
from streamsvc.web.stream.wire import Listener, Wire


class DeferredHead(Protocol):
    """A response head that waits for an event, which may lead to a different response instead of a stream.

    Attributes:
        seconds: the maximum wait.
        was_interrupted: whether the wait has ended because this process cannot get the remaining records.
    """

    seconds: float
    was_interrupted: bool = False

    @property
    def begun(self) -> Sequence[Record]:
        """The records that were taken, for the stream to begin with; none if there will be no stream."""
        return ()

    def is_due(self, event: Event) -> bool:
        """Return whether an event ends the wait."""
        ...

    def take(self, records: Sequence[Record]) -> None:
        """Take the next records, at least one, none after the one that ends the wait."""
        ...

    async def answer(self) -> Response | None:
        """Return the response once the wait is over, based on what was taken; None means the stream."""
        ...


class FirstEventWait(Reader, Listener):
    """The wait on our own server's connection, during which the viewer holds its slot."""

    def __init__(self, wire: Wire, slot: ViewerSlot, instead: DeferredHead) -> None:
        self._wire = wire
        self._slot = slot
        self._instead = instead
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def watch(self, place: LogPosition) -> None:
        """Follow the log until the event comes, the time is over or the client has left."""
        following = place.log.follow(place.generation, after=place.after, reader=self)
        seconds = self._instead.seconds
        timer = self._loop.call_later(seconds, self._end) if seconds < math.inf else None
        self._wire.listener = self
        try:
            if not self._wire.is_lost:
                await self._ended
        finally:
            self._wire.listener = None
            if timer is not None:
                timer.cancel()
            following.close()

    @override
    def on_writable(self) -> None:
        pass

    @override
    def on_disconnect(self) -> None:
        self._slot.leave()
        self._end()

    @override
    def deliver(self, records: Sequence[Record]) -> int:
        if self._ended.done():  # the waiting task runs after this
            return 0
        for taken, record in enumerate(records, 1):
            if self._instead.is_due(record.event):
                self._end()
                records = records[:taken]
                break
        self._instead.take(records)
        return len(records)

    @override
    def lost(self) -> None:
        self._end()

    @override
    def interrupted(self) -> None:
        self._instead.was_interrupted = True
        self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
