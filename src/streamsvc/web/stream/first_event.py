"""What is waited for before the head of an answer: a status says more to some clients than a stream does."""

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
    """Another answer that may be given in the place of a stream, and what is known for it.

    Attributes:
        seconds: how long to wait.
    """

    seconds: float

    @property
    def begun(self) -> Sequence[Record]:
        """What was taken, for the stream to begin with; nothing where there will be none."""
        return ()

    def is_due(self, event: Event) -> bool:
        """Tell whether an event is the one that is waited for."""
        ...

    def take(self, records: Sequence[Record]) -> None:
        """Take the next records, at least one, at most up to the one that is waited for."""
        ...

    async def answer(self) -> Response | None:
        """Return the answer, of what was taken when the wait was over; None: it is to be the stream."""
        ...


class FirstEventWait(Reader, Listener):
    """The wait; the viewer is one meanwhile."""

    def __init__(self, wire: Wire, slot: ViewerSlot, instead: DeferredHead) -> None:
        self._wire = wire
        self._slot = slot
        self._instead = instead
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def watch(self, place: LogPosition) -> None:
        """Follow the log until it is decided, or the time is over, or the client has left."""
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
        if self._ended.done():  # whoever waits has its turn after this
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

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
