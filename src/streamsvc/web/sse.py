"""A log, followed for one viewer as an event stream; the only user of sse_starlette.

The response is the viewer: it joins the audience when it begins to send and leaves when the
connection ends, however that comes about. Everything about bytes and headers that `docs/wire.md`
promises for streams is kept here.
"""

import logging
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing
from functools import partial

import anyio
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from streamsvc.clock import clock
from streamsvc.dialects.base import BrokenOff, Dialect, Ends, lost_block, preamble
from streamsvc.errors import CursorLost, GenerationNotFound, Overloaded
from streamsvc.eventlog.base import EventLog
from streamsvc.events import Done, Record
from streamsvc.settings import StreamSettings

logger = logging.getLogger(__name__)

CONNECTION = "streamsvc.connection"
"""The extension of the ASGI scope with which the server lets us `abort` a connection that does not read,
and `send` the body of a stream without passing through all the middleware for each word."""

WRITE_BYTES = 65_536
"""How much goes out in one write, about: it is what a viewer who does not read costs."""

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform"}


class EventStream(EventSourceResponse):
    """The answer to one viewer.

    Args:
        blocks: whole blocks of the stream.
        dialect: whose they are.
        viewer: makes the context that is held while the viewer is connected.
        settings: how long one write may take before the viewer counts as too slow.
        headers: further headers of the answer.
        instead: decides, in its time, whether another answer is given in the place of the stream. The
            viewer is one meanwhile.
    """

    def __init__(
        self,
        blocks: AsyncGenerator[bytes],
        *,
        dialect: Dialect,
        viewer: Callable[[], AbstractContextManager[None]],
        settings: StreamSettings,
        headers: dict[str, str],
        instead: Callable[[], Awaitable[Response | None]] | None = None,
    ) -> None:
        super().__init__(
            blocks,
            headers={**STREAM_HEADERS, **dialect.headers, **headers},
            media_type=dialect.media_type,
        )
        self._viewer = viewer
        self._instead = instead
        self._blocks = blocks
        self._keepalive: Message = {
            "type": "http.response.body",
            "body": dialect.keepalive,
            "more_body": True,
        }
        self._ping_seconds = settings.ping_seconds if dialect.keepalive else math.inf
        self._send_timeout_seconds = settings.send_timeout_seconds
        self._now = clock()
        self._has_begun = anyio.Event()
        self._sent_at = 0.0
        self._is_sending = False
        self._is_broken = False

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, watch the client, and keep the time; the library has more tasks for less."""
        connection = scope.get("extensions", {}).get(CONNECTION, {})
        send_body = connection.get("send", send)
        with self._viewer():
            async with anyio.create_task_group() as tasks:
                # The words have a task of their own: each of them would else be handed down through all
                # the middleware that is waiting here.
                tasks.start_soon(self._stream, send, send_body, tasks.cancel_scope)
                tasks.start_soon(self._keep_time, send_body, tasks.cancel_scope)
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()
            # The connection ends without a `done`, so a client that can comes back with its cursor.
            if self._is_broken and connection:
                connection["abort"]()
                while (await receive())["type"] != "http.disconnect":
                    pass

    async def _stream(self, send: Send, send_body: Send, scope: anyio.CancelScope) -> None:
        if await self._begin(send):
            await self._stream_response(send_body)
        scope.cancel()

    async def _begin(self, send: Send) -> bool:
        """Send the head, or the answer that is given instead; tell whether there is a stream."""
        other = await self._instead() if self._instead else None
        self._has_begun.set()
        if other is not None:
            await other({"type": "http"}, _nothing, partial(self._send, send))
            return False
        head = {"type": "http.response.start", "status": self.status_code}
        await self._send(send, {**head, "headers": self.raw_headers})
        return True

    @override
    async def _stream_response(self, send: Send) -> None:
        async with aclosing(self._blocks) as blocks:
            try:
                async for block in blocks:
                    self._sent_at = self._now()
                    self._is_sending = True
                    await send({"type": "http.response.body", "body": block, "more_body": True})
                    self._is_sending = False
            except BrokenOff:
                self._is_broken = True
                return
        await self._send(send, {"type": "http.response.body", "body": b""})

    async def _send(self, send: Send, message: Message) -> None:
        self._sent_at = self._now()
        self._is_sending = True
        await send(message)
        self._is_sending = False

    async def _keep_time(self, send: Send, scope: anyio.CancelScope) -> None:
        """Send keepalives in silence, and give up a viewer that does not read.

        One task that looks at the clock now and then, and no timer for each block.
        """
        patience = self._send_timeout_seconds
        await self._has_begun.wait()
        while True:
            now = self._now()
            if self._is_sending:
                due = self._sent_at + patience
                if now >= due:
                    break
            else:
                due = self._sent_at + self._ping_seconds
                if now >= due:
                    with anyio.move_on_after(patience) as sending:
                        await self._send(send, self._keepalive)
                    if sending.cancelled_caught:
                        break
                    continue
                due = min(due, now + patience)  # until then a block may have been stuck as long
            await anyio.sleep(due - now)
        logger.info("viewer.dropped reason=too_slow")
        self._is_broken = True
        scope.cancel()


async def _nothing() -> Message:
    """Receive for a response that does not ask."""
    raise RuntimeError


async def follow(
    log: EventLog,
    generation: str,
    *,
    after: int,
    dialect: Dialect,
    settings: StreamSettings,
    on_done: Callable[[], None] | None = None,
) -> AsyncGenerator[bytes]:
    """Yield a generation's records behind the cursor *after* as blocks, up to its end.

    What piled up goes out in few writes.
    *on_done* is called when the `Done` has gone out.

    Raises:
        BrokenOff: behind all that could be said.
    """
    opening = preamble(settings.retry_ms) if dialect.is_resumable else b""
    encode = dialect.encoder().encode
    while True:
        try:
            records = await log.read(generation, after=after, wait_seconds=math.inf)
        except (GenerationNotFound, CursorLost):
            yield opening + dialect.lost(generation)
            return
        records = _up_to_the_end(records, dialect.ends)
        for write in _writes(records, encode):
            yield opening + write
            opening = b""
        if records:
            after, last = records[-1].seq, records[-1].event
            if on_done and isinstance(last, Done):
                on_done()
            if isinstance(last, dialect.ends):
                return


def _up_to_the_end(records: Sequence[Record], ends: Ends) -> Sequence[Record]:
    for at, record in enumerate(records, 1):
        if isinstance(record.event, ends):
            return records[:at]
    return records


def _writes(records: Sequence[Record], encode: Callable[[Record], bytes]) -> Iterable[bytes]:
    """Return the blocks of some records, many in one piece."""
    if len(records) == 1:  # as words are that come one by one
        block = encode(records[0])
        return (block,) if block else ()
    return _joined(records, encode)


def _joined(records: Sequence[Record], encode: Callable[[Record], bytes]) -> Iterator[bytes]:
    blocks: list[bytes] = []
    waiting_bytes = 0
    try:
        for record in records:
            block = encode(record)
            blocks.append(block)
            waiting_bytes += len(block)
            if waiting_bytes >= WRITE_BYTES:
                yield b"".join(blocks)
                blocks.clear()
                waiting_bytes = 0
    except BrokenOff:
        yield b"".join(blocks)
        raise
    if waiting_bytes:
        yield b"".join(blocks)


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
