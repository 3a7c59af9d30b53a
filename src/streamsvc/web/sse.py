"""A log, followed for one viewer as an event stream; the only user of sse_starlette.

The response is the viewer: it joins the audience when it begins to send and leaves when the
connection ends, however that comes about. Everything about bytes and headers that `docs/wire.md`
promises for streams is kept here.
"""

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import anyio
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from streamsvc.dialects.base import BrokenOff, Dialect, lost_block, preamble
from streamsvc.errors import Overloaded
from streamsvc.eventlog.base import EventLog, Reader
from streamsvc.events import Done, Record
from streamsvc.settings import StreamSettings
from streamsvc.web.wire import CONNECTION, Listener, Wire, send_wire, until_gone

logger = logging.getLogger(__name__)

WRITE_BYTES = 65_536
"""How much goes out in one write, about: it is what a viewer who does not read costs."""

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform"}


class Place(NamedTuple):
    """Where a viewer looks.

    Attributes:
        log: where the records are.
        generation: whose they are.
        after: the viewer's cursor.
        viewer: makes the context that is held while the viewer of a generation is connected.
    """

    log: EventLog
    generation: str
    after: int
    viewer: Callable[[str], AbstractContextManager[None]]


class EventStream(EventSourceResponse):
    """The answer to one viewer: a generation's records behind a cursor, up to its end.

    Args:
        place: where the viewer looks.
        dialect: makes the frames.
        settings: how a stream looks, and how long a viewer may leave it unread.
        headers: further headers of the answer.
        instead: decides, in its time, whether another answer is given in the place of the stream. The
            viewer is one meanwhile.
        on_done: is called when the `Done` has gone out.
    """

    def __init__(
        self,
        place: Place,
        *,
        dialect: Dialect,
        settings: StreamSettings,
        headers: dict[str, str],
        instead: Callable[[], Awaitable[Response | None]] | None = None,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(
            _Nothing(),
            headers={**STREAM_HEADERS, **dialect.headers, **headers},
            media_type=dialect.media_type,
        )
        del self._send_lock  # a queue for tasks of the library's own, in every stream that is held
        self._place = place
        self._dialect = dialect
        self._settings = settings
        self._instead = instead
        self._on_done = on_done

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, and watch the client; the library has more tasks, and one turn of each a word."""
        offered: Wire | None = scope.get("extensions", {}).get(CONNECTION)
        with self._place.viewer(self._place.generation):
            if self._instead is not None and await self._is_answered(
                receive, send, self._instead, offered
            ):
                return
            head = {"type": "http.response.start", "status": self.status_code}
            await send({**head, "headers": self.raw_headers})
            self.raw_headers = []  # held for as long as the stream is
            if offered is not None:
                await self._stream(offered, send)
            else:
                async with send_wire(receive, send) as wire:
                    await self._stream(wire, send)

    async def _is_answered(
        self,
        receive: Receive,
        send: Send,
        instead: Callable[[], Awaitable[Response | None]],
        wire: Wire | None,
    ) -> bool:
        """Give the other answer, if there is one; tell whether that was done, or the client has left."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_gone, receive, tasks.cancel_scope)
            other = await instead()
            if other is not None:
                with anyio.move_on_after(self._settings.send_timeout_seconds) as sending:
                    await other({"type": "http"}, receive, send)
                if sending.cancelled_caught and wire is not None:
                    drop(wire)
            tasks.cancel_scope.cancel()
            return other is not None
        return True

    async def _stream(self, wire: Wire, send: Send) -> None:
        viewing = _Viewing(
            wire, self._place.generation, self._dialect, self._settings, self._on_done
        )
        await viewing.watch(self._place)
        if not viewing.is_over:
            return
        with anyio.move_on_after(self._settings.send_timeout_seconds) as ending:
            await wire.flush()
            await send({"type": "http.response.body", "body": b""})
        if ending.cancelled_caught:
            drop(wire)


class _Viewing(Reader, Listener):
    """A viewer, between the log and the wire: small, because there is one for each stream that is held.

    Attributes:
        is_over: whether all has been written; else the client has left, or the connection is dropped
            without a tidy end, so that a client that can comes back with its cursor.
    """

    __slots__ = (
        "_dialect",
        "_encode",
        "_ended",
        "_generation",
        "_mistake",
        "_now",
        "_on_done",
        "_opening",
        "_patience_seconds",
        "_ping_seconds",
        "_resume",
        "_sent_at",
        "_timer",
        "_wire",
        "is_over",
    )

    def __init__(
        self,
        wire: Wire,
        generation: str,
        dialect: Dialect,
        settings: StreamSettings,
        on_done: Callable[[], None] | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.is_over = False
        self._wire = wire
        self._generation = generation
        self._dialect = dialect
        self._encode = dialect.encoder().encode
        self._opening = preamble(settings.retry_ms) if dialect.is_resumable else b""
        self._ping_seconds = settings.ping_seconds if dialect.keepalive else math.inf
        self._patience_seconds = settings.send_timeout_seconds
        self._on_done = on_done
        self._mistake: Exception | None = None
        self._now = loop.time
        self._sent_at = loop.time()
        self._ended: asyncio.Future[None] = loop.create_future()

    async def watch(self, place: Place) -> None:
        """Write what the log says, until there is no more or nobody to read it."""
        following = place.log.follow(place.generation, after=place.after, reader=self)
        self._resume = following.resume
        self._look_at_the_clock()
        self._wire.listener = self
        try:
            if not self._wire.is_lost:
                await self._ended
        finally:
            self._wire.listener = None
            self._timer.cancel()
            following.close()
        if self._mistake is not None:
            raise self._mistake

    # What the wire says

    @override
    def has_room(self) -> None:
        self._resume()

    @override
    def is_gone(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    # What the log says

    @override
    def deliver(self, records: Sequence[Record]) -> int:
        if self._wire.is_full or self._ended.done():
            return 0
        taken = size_bytes = 0
        blocks: list[bytes] = []
        try:
            for record in records:
                block = self._encode(record)
                blocks.append(block)
                size_bytes += len(block)
                taken += 1
                if isinstance(record.event, self._dialect.ends):
                    self._end(record)
                    break
                if size_bytes >= WRITE_BYTES:
                    break
        except BrokenOff:
            self._write(b"".join(blocks))
            self._break_off()
            return 0
        except Exception as exc:  # noqa: BLE001  # raised where it is this response that fails
            self._mistake = exc
            self._break_off()
            return 0
        self._write(b"".join(blocks))
        return taken

    @override
    def lost(self) -> None:
        try:
            self._write(self._dialect.lost(self._generation))
        except BrokenOff:
            self._break_off()
        else:
            self._end(None)

    def _write(self, data: bytes) -> None:
        if data:
            self._wire.write(self._opening + data)
            self._opening = b""
            self._sent_at = self._now()

    def _end(self, record: Record | None) -> None:
        self.is_over = True
        if record is not None and isinstance(record.event, Done) and self._on_done is not None:
            self._on_done()
        self.is_gone()

    def _break_off(self) -> None:
        self._wire.abort()
        self.is_gone()

    # What the clock says

    def _look_at_the_clock(self) -> None:
        """Send a keepalive in silence, and give up a viewer that does not read.

        A timer looks at the clock now and then; there is none for each block.
        """
        now = self._now()
        due = now + self._patience_seconds  # until then a block may have been stuck as long
        if self._wire.is_full:
            due = self._sent_at + self._patience_seconds
            if now >= due:
                drop(self._wire)
                self.is_gone()
                return
        elif self._ping_seconds < math.inf:
            if now >= self._sent_at + self._ping_seconds:
                self._wire.write(self._dialect.keepalive)
                self._sent_at = now
            due = min(due, self._sent_at + self._ping_seconds)
        self._timer = asyncio.get_running_loop().call_later(due - now, self._look_at_the_clock)


def drop(wire: Wire) -> None:
    """Give up a viewer that does not read."""
    logger.info("viewer.dropped reason=too_slow")
    wire.abort()


class _Nothing(AsyncIterator[bytes]):
    """What the library is given to iterate over."""

    @override
    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    await until_gone(receive)
    scope.cancel()


def gone_response(generation: str, settings: StreamSettings) -> Response:
    """Answer a cursor that cannot be honoured: one `done`, never a shorter or a new stream."""
    return _whole(preamble(settings.retry_ms) + lost_block(generation))


def busy_response(error: Overloaded, settings: StreamSettings) -> Response:
    """Tell an EventSource to come back later: a browser takes any other status as final."""
    logger.info("request.refused code=%s %s", error.code, error.message)
    retry_ms = random.randint(settings.retry_ms, 3 * settings.retry_ms)  # noqa: S311  # a jitter
    return _whole(preamble(retry_ms) + b": busy\n")


def head_response() -> Response:
    """Answer HEAD: the head of a stream, and nothing is created."""
    return _whole(b"")


def _whole(body: bytes) -> Response:
    headers = {**STREAM_HEADERS, "X-Accel-Buffering": "no"}
    return Response(body, headers=headers, media_type="text/event-stream")
