"""A log, followed for one viewer as an event stream; the only user of sse_starlette.

The response is the viewer: it joins the audience when it begins to send and leaves when the
connection ends, however that comes about. Everything about bytes and headers that `docs/wire.md`
promises for streams is kept here.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

import anyio.lowlevel
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from streamsvc.config.settings import StreamSettings
from streamsvc.dialects.base import Dialect
from streamsvc.dialects.sse import lost_block, preamble
from streamsvc.engine.audience import ViewerSlot
from streamsvc.events import Record
from streamsvc.web.stream.first_event import DeferredHead, FirstEventWait
from streamsvc.web.stream.viewer import LogPosition, Viewer, drop
from streamsvc.web.stream.wire import CONNECTION, Wire, send_wire

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform"}


class EventStream(Response):
    """The answer to one viewer: a generation's records behind a cursor, up to its end.

    Args:
        place: where the viewer looks.
        dialect: makes the frames.
        settings: how a stream looks, and how long a viewer may leave it unread.
        headers: further headers of the answer.
        instead: another answer that may be given in the place of the stream.
        on_done: is called when the `Done` is written.
    """

    def __init__(
        self,
        place: LogPosition,
        *,
        dialect: Dialect,
        settings: StreamSettings,
        headers: dict[str, str],
        instead: DeferredHead | None = None,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        # Not the base class's: this is held for as long as the stream is, and there is no content.
        own = ((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items())
        self.raw_headers = [*_head(type(dialect)), *own]
        self._place = place
        self._dialect = dialect
        self._settings = settings
        self._instead = instead
        self._on_done = on_done

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, and watch the client."""
        offered: Wire | None = scope.get("extensions", {}).get(CONNECTION)
        with self._place.viewer(self._place.generation) as slot:
            # A generation that has just been started asks its provider now: the head has the time until
            # the first token comes.
            await anyio.lowlevel.checkpoint()
            if offered is not None:
                begun = await self._begin(offered, slot, receive, send)
                if begun is not None:
                    # Held for as long as the stream is, and browsers send kilobytes.
                    scope["headers"].clear()
                    await self._stream(offered, slot, begun, send)
            else:
                async with send_wire(receive, send) as wire:
                    begun = await self._begin(wire, slot, receive, send)
                    if begun is not None:
                        await self._stream(wire, slot, begun, send)

    async def _begin(
        self, wire: Wire, slot: ViewerSlot, receive: Receive, send: Send
    ) -> Sequence[Record] | None:
        """Send the head of the stream, and return what has been read of it; None: there is no stream."""
        begun: Sequence[Record] = ()
        other: Response | None = None
        instead, self._instead = self._instead, None
        if instead is not None:
            await FirstEventWait(wire, slot, instead).watch(self._place)
            if wire.is_lost:
                return None
            begun = instead.begun
            other = await instead.answer()
        if other is not None:
            await self._in_time(wire, other({"type": "http"}, receive, send))
            return None
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await self._in_time(wire, send(head))
        self.raw_headers = []
        return None if wire.is_lost else begun

    async def _stream(
        self, wire: Wire, slot: ViewerSlot, begun: Sequence[Record], send: Send
    ) -> None:
        viewing = Viewer(
            wire, slot, self._place.generation, self._dialect, self._settings, self._on_done
        )
        await viewing.watch(self._place, begun)
        if viewing.is_over:
            await self._in_time(wire, _end(wire, send))

    async def _in_time(self, wire: Wire, sending: Awaitable[None]) -> None:
        """Wait until something is sent, and give up a viewer that does not read: that ends the wait."""
        patience_seconds = self._settings.send_timeout_seconds
        patience = asyncio.get_running_loop().call_later(patience_seconds, drop, wire)
        try:
            await sending
        finally:
            patience.cancel()


async def _end(wire: Wire, send: Send) -> None:
    await wire.flush()
    await send({"type": "http.response.body", "body": b""})


@cache
def _head(kind: type[Dialect]) -> list[tuple[bytes, bytes]]:
    """Return the header fields of every stream of a dialect: sse_starlette knows what proxies need."""
    response = EventSourceResponse(
        iter(()), headers={**STREAM_HEADERS, **kind.headers}, media_type=kind.media_type
    )
    return response.raw_headers


def gone_response(generation: str, settings: StreamSettings) -> Response:
    """Answer a cursor that cannot be honoured: one `done`, never a shorter or a new stream."""
    return _whole(preamble(settings.retry_ms) + lost_block(generation))


def busy_response(settings: StreamSettings) -> Response:
    """Tell an EventSource to come back later: a browser takes any other status as final."""
    retry_ms = random.randint(settings.retry_ms, 3 * settings.retry_ms)  # noqa: S311  # a jitter
    return _whole(preamble(retry_ms) + b": busy\n")


def head_response() -> Response:
    """Answer HEAD: the head of a stream, and nothing is created."""
    return _whole(b"")


def _whole(body: bytes) -> Response:
    headers = {**STREAM_HEADERS, "X-Accel-Buffering": "no"}
    return Response(body, headers=headers, media_type="text/event-stream")
