"""What is waited for before the head of an answer: a status says more to some clients than a stream does."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from starlette.responses import Response
from typing_extensions import override

from streamsvc.engine.audience import Seat
from streamsvc.eventlog.base import Reader
from streamsvc.events import Event, Record
from streamsvc.web.viewing import Place
from streamsvc.web.wire import Listener, Wire


class Instead(NamedTuple):
    """Another answer that may be given in the place of a stream.

    Attributes:
        is_due: tells whether an event is the one that is waited for.
        answer: makes the answer of the records up to that event, or of as many as there are when the time
            is over or the log is lost; None: it is to be the stream.
        seconds: how long to wait.
    """

    is_due: Callable[[Event], bool]
    answer: Callable[[Sequence[Record]], Response | None]
    seconds: float = math.inf


class Beginning(Reader, Listener):
    """The wait; the viewer is one meanwhile.

    Attributes:
        records: what has come.
    """

    def __init__(self, wire: Wire, seat: Seat, is_due: Callable[[Event], bool]) -> None:
        self.records: list[Record] = []
        self._wire = wire
        self._seat = seat
        self._is_due = is_due
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def watch(self, place: Place, seconds: float) -> None:
        """Follow the log until it is decided, or the time is over, or the client has left."""
        following = place.log.follow(place.generation, after=place.after, reader=self)
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
    def has_room(self) -> None:
        pass

    @override
    def is_gone(self) -> None:
        self._seat.leave()
        self._end()

    @override
    def deliver(self, records: Sequence[Record]) -> int:
        if self._ended.done():  # whoever waits has its turn after this
            return 0
        for taken, record in enumerate(records, 1):
            self.records.append(record)
            if self._is_due(record.event):
                self._end()
                return taken
        return len(records)

    @override
    def lost(self) -> None:
        self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
