"""A log, followed for one viewer as an event stream; the only user of sse_starlette.

The response is the viewer: it joins the audience when it begins to send and leaves when the
connection ends, however that comes about. Everything about bytes and headers that `docs/wire.md`
promises for streams is kept here.
"""

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

import anyio
from sse_starlette.sse import AppStatus, EventSourceResponse, SendTimeoutError
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from streamsvc.dialects.base import BrokenOff, Dialect, Ends, lost_block, preamble
from streamsvc.errors import CursorLost, GenerationNotFound, Overloaded
from streamsvc.eventlog.base import EventLog
from streamsvc.events import Done, Record
from streamsvc.settings import StreamSettings

logger = logging.getLogger(__name__)

DROP_CONNECTION = "streamsvc.drop_connection"
"""The extension of the ASGI scope with which the server lets us drop a connection."""

WRITE_BYTES = 65_536
"""How much goes out in one write, about: it is what a viewer who does not read costs."""

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform"}

# The drain is ours (`server`): without this the library would cut every stream at SIGTERM.
AppStatus.enable_automatic_graceful_drain = False


class EventStream(EventSourceResponse):
    """The answer to one viewer.

    Args:
        blocks: whole blocks of the stream, or keepalives.
        dialect: whose they are.
        viewer: makes the context that is held while the viewer is connected.
        settings: how long one write may take before the viewer counts as too slow.
        headers: further headers of the answer.
        instead: decides, in its time, whether another answer is given in the place of the stream. The
            viewer is one meanwhile.
    """

    def __init__(
        self,
        blocks: AsyncIterator[bytes],
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
            ping=0,  # keepalives come from `follow`, in silence only
            sep="\n",
        )
        self._viewer = viewer
        self._instead = instead
        self._send_timeout_seconds = settings.send_timeout_seconds

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._viewer():
            try:
                await super().__call__(scope, receive, partial(self._send_in_time, send))
            except SendTimeoutError:
                # The connection ends without a `done`, so the client comes back with its cursor.
                logger.info("viewer.dropped reason=too_slow")
                await _drop_connection(scope, receive)
            except BrokenOff:
                await _drop_connection(scope, receive)

    @override
    async def _stream_response(self, send: Send) -> None:
        if self._instead is not None and (other := await self._instead()) is not None:
            await other({"type": "http"}, _nothing, send)
        else:
            await super()._stream_response(send)

    async def _send_in_time(self, send: Send, message: Message) -> None:
        """Send any message, also the last: the library's own timeout leaves that one out."""
        with anyio.move_on_after(self._send_timeout_seconds) as scope:
            await send(message)
        if scope.cancelled_caught:
            raise SendTimeoutError


async def _nothing() -> Message:
    """Receive for a response that does not ask."""
    raise RuntimeError


async def _drop_connection(scope: Scope, receive: Receive) -> None:
    if extension := scope.get("extensions", {}).get(DROP_CONNECTION):
        extension["abort"]()
        while (await receive())["type"] != "http.disconnect":
            pass


async def follow(
    log: EventLog,
    generation: str,
    *,
    after: int,
    dialect: Dialect,
    settings: StreamSettings,
    on_done: Callable[[], None] | None = None,
) -> AsyncIterator[bytes]:
    """Yield a generation's records behind the cursor *after* as blocks, up to its end.

    What piled up goes out in few writes. In silence there is a keepalive every `ping_seconds`.
    *on_done* is called when the `Done` has gone out.

    Raises:
        BrokenOff: behind all that could be said.
    """
    opening = preamble(settings.retry_ms) if dialect.is_resumable else b""
    encode = dialect.encoder().encode
    while True:
        try:
            records = await log.read(generation, after=after, wait_seconds=settings.ping_seconds)
        except (GenerationNotFound, CursorLost):
            yield opening + dialect.lost(generation)
            return
        if not records and dialect.keepalive:
            yield dialect.keepalive
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


def _writes(records: Sequence[Record], encode: Callable[[Record], bytes]) -> Iterator[bytes]:
    """Yield the blocks of some records, many in one piece."""
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
