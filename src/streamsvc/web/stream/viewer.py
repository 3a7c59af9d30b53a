"""The fast implementation of a stream, between the log and the wire: takes records, writes frames, watches the clock.

Nothing here waits for a token: the log calls, the wire is written to at once, and a timer that many viewers share
checks the clock now and then. What comes before and after the frames is up to `response`. `pull` does the same for servers that offer no
wire.
"""

import asyncio
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from typing_extensions import override

from streamsvc.config.settings import StreamSettings
from streamsvc.dialects.base import BrokenOff, Dialect
from streamsvc.dialects.sse import preamble
from streamsvc.engine.audience import ViewerSlot
from streamsvc.eventlog.base import EventLog, Following, Reader
from streamsvc.events import Done, Record
from streamsvc.hooks import GAP_BOUNDS, DropReason
from streamsvc.web.stream.receipt import WORDS, Receipt
from streamsvc.web.stream.rounds import Round, Rounds, Timed
from streamsvc.web.stream.wire import Listener, Wire

WRITE_BYTES = 65_536
"""Roughly how much goes out in one write, which is the memory that a viewer costs if it does not read."""


class LogPosition(NamedTuple):
    """A viewer's position in the log of a generation.

    Attributes:
        log: has the records.
        generation: whose records they are.
        after: the viewer's cursor, the number of the last record it has.
        viewer: makes the slot that a viewer holds while it is connected.
        cut_at: see `sse.preamble`.
    """

    log: EventLog
    generation: str
    after: int
    viewer: Callable[[str], ViewerSlot]
    cut_at: str = ""


class Viewer(Reader, Listener, Timed):
    """Writes one stream. Small, because every open stream has one.

    Attributes:
        ended: done when the log has ended or the client has left.
        is_over: whether everything has been written. If not, the client has left, or the connection must be
            dropped without a normal end, so that a client that can resume does so with its cursor.
        last: the last frames, if it is over: they go out with the end of the response, in one write.
    """

    __slots__ = (
        "_dialect",
        "_encode",
        "_following",
        "_gaps",
        "_mistake",
        "_now",
        "_on_done",
        "_opening",
        "_patience_seconds",
        "_ping_seconds",
        "_receipt",
        "_retry_ms",
        "_round",
        "_rounds",
        "_sent_at",
        "_slot",
        "_wire",
        "ended",
        "is_over",
        "last",
    )

    def __init__(  # noqa: PLR0913  # what a stream needs, some of it passed by name
        self,
        wire: Wire,
        slot: ViewerSlot,
        receipt: Receipt,
        dialect: Dialect,
        settings: StreamSettings,
        *,
        rounds: Rounds,
        on_done: Callable[[], None] | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.is_over = False
        self.last = b""
        self._wire = wire
        self._following: Following | None = None
        self._slot = slot
        self._dialect = dialect
        self._encode = dialect.encoder().encode
        self._opening = b""
        self._retry_ms = settings.retry_ms
        self._ping_seconds = settings.ping_seconds if dialect.keepalive else math.inf
        self._patience_seconds = settings.send_timeout_seconds
        self._on_done = on_done
        self._receipt = receipt
        self._gaps = receipt.gaps.counts
        self._mistake: Exception | None = None
        self._rounds = rounds
        self._round: Round | None = None
        self._now = loop.time
        self._sent_at = loop.time()
        self.ended: asyncio.Future[None] = loop.create_future()

    def begin(self, place: LogPosition, begun: Sequence[Record]) -> None:
        """Begin to write records; await `ended`, then call `end`, whatever happens.

        No coroutine of this class waits, because every open stream would keep it.

        Args:
            place: the position to start from.
            begun: the records after its cursor that have already been read; they go out with the head.
        """
        if self._dialect.is_resumable:
            self._opening = preamble(self._retry_ms, cut_at=place.cut_at)
        taken = self.deliver(begun) if begun else 0
        after = begun[taken - 1].seq if taken else place.after
        following = place.log.follow(place.generation, after=after, reader=self)
        self._following = following
        self.on_time()
        self._wire.listener = self
        if self._wire.is_lost:
            self._finish()
        else:
            following.begin()  # the first frames go out with the head of the response, in one write

    def end(self) -> None:
        """Stop, and raise whatever a frame has raised. The last frames are left to the caller."""
        self._wire.listener = None
        if self._round is not None:
            self._round.leave(self)
        if self._following is not None:
            self._following.close()
            self._following = None  # it holds this one
        if self._mistake is not None:
            raise self._mistake

    # Called by the wire

    @override
    def on_writable(self) -> None:
        if self._following is not None:
            self._following.resume()

    @override
    def on_disconnect(self) -> None:
        self._slot.leave()  # here, so that the upstream call is closed before this viewer's task runs
        self._finish()

    # Called by the log

    @override
    def deliver(self, records: Sequence[Record]) -> int:
        if self._wire.is_full or self.ended.done():
            return 0
        taken = size_bytes = 0
        blocks: list[bytes] = []
        receipt = self._receipt
        is_waiting = receipt.first_at is None
        try:
            for record in records:
                block = self._encode(record)
                blocks.append(block)
                size_bytes += len(block)
                taken += 1
                kind = type(record.event)
                is_waiting = is_waiting and kind not in WORDS
                if kind in self._dialect.ends:
                    self._end(record)
                    break
                if size_bytes >= WRITE_BYTES:
                    break
        except BrokenOff:
            self._write(b"".join(blocks))
            self._break_off("broken_off")
            return 0
        except Exception as exc:  # noqa: BLE001  # raised again in `end`, as an error of this response
            self._mistake = exc
            self._break_off("broken_off")
            return 0
        self._write(b"".join(blocks))
        if not is_waiting and receipt.first_at is None:
            receipt.first_at = receipt.last_at
        return taken

    @override
    def lost(self) -> None:
        self._end_early("lost", partial(self._dialect.lost, self._receipt.generation))

    @override
    def interrupted(self) -> None:
        self._end_early("interrupted", self._dialect.interrupted)

    def _end_early(self, reason: DropReason, frame: Callable[[], bytes]) -> None:
        if self.ended.done():
            return
        try:
            last = frame()
        except BrokenOff:
            self._break_off(reason)
        else:
            self._end(None)
            self._write(last)
            self._receipt.reason = reason

    def _write(self, data: bytes) -> None:
        if data:
            if self.is_over:
                self.last = self._opening + data
            else:
                self._wire.write(self._opening + data)
            self._opening = b""
            now, receipt = self._now(), self._receipt
            if receipt.first_at is not None:
                self._gaps[bisect_left(GAP_BOUNDS, now - receipt.last_at)] += 1
            receipt.sent_bytes += len(data)
            self._sent_at = receipt.last_at = now

    def _end(self, record: Record | None) -> None:
        self.is_over = True
        self._receipt.reason = "finished"
        if record is not None and isinstance(record.event, Done) and self._on_done is not None:
            self._on_done()
        self._finish()

    def _finish(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _break_off(self, reason: DropReason) -> None:
        self._receipt.reason = reason
        self._wire.abort()
        self.on_disconnect()  # breaks off even what began before this object became the wire's listener

    # Called by the timer

    @override
    def on_time(self) -> None:
        """Send a keepalive in silence, and drop a viewer that does not read. Blocks set no timers."""
        self._round = None
        now = self._now()
        due = now + self._patience_seconds  # until then, a block may have been stuck for as long
        if self._wire.is_full:
            due = self._sent_at + self._patience_seconds
            if now >= due:
                self._receipt.drop(self._wire)
                self.on_disconnect()
                return
        elif self._ping_seconds < math.inf:
            if now >= self._sent_at + self._ping_seconds:
                self._wire.write(self._dialect.keepalive)
                self._receipt.keepalives += 1
                self._sent_at = now
            due = min(due, self._sent_at + self._ping_seconds)
        self._round = self._rounds.join(due, self)
