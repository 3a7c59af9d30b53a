"""A log, followed for one viewer as an event stream.

The response is the viewer: it joins the audience when it begins to send and leaves when the connection
ends, for whatever reason. On our own server's connections, the log writes to the wire (`viewer`); on any other
ASGI server, sse_starlette asks for the frames (`pull`) and handles the connection. What `docs/reference/http.md` promises
about the bytes and headers of streams is implemented here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

import anyio
import anyio.lowlevel
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from streamsvc.config.settings import StreamSettings
from streamsvc.dialects.base import BrokenOff, Dialect
from streamsvc.engine.audience import ViewerSlot
from streamsvc.events import Record
from streamsvc.hooks import Hooks
from streamsvc.web.request_trace import trace_of
from streamsvc.web.scopes import forget_request
from streamsvc.web.stream.first_event import DeferredHead, FirstEventWait
from streamsvc.web.stream.pull import first_event, frames
from streamsvc.web.stream.receipt import Receipt
from streamsvc.web.stream.rounds import Rounds
from streamsvc.web.stream.shutdown import Shutdown
from streamsvc.web.stream.viewer import LogPosition, Viewer
from streamsvc.web.stream.whole import STREAM_HEADERS
from streamsvc.web.stream.wire import CONNECTION, Wire


class _Keepalive(ServerSentEvent):
    """A ping for the library that sends the dialect's own keepalive: one comment line, no blank line after it."""

    def __init__(self, line: bytes) -> None:
        super().__init__()
        self._line = line

    @override
    def encode(self) -> bytes:
        return self._line


class EventStream(EventSourceResponse):
    """The response to one viewer: a generation's records after a cursor, up to its end.

    Args:
        place: the viewer's position.
        dialect: makes the frames.
        settings: how a stream looks, and how long a viewer may leave it unread.
        shutdown: how a stream learns that a server other than ours stops.
        hooks: get a report when the viewer joins and leaves, with what it got.
        rounds: the timers of all viewers.
        headers: additional response headers.
        instead: may replace the stream with a different response.
        on_done: called when the `Done` is written.
    """

    def __init__(  # noqa: PLR0913  # what a stream needs, passed by name
        self,
        place: LogPosition,
        *,
        dialect: Dialect,
        settings: StreamSettings,
        shutdown: Shutdown,
        hooks: Hooks,
        rounds: Rounds,
        headers: dict[str, str],
        instead: DeferredHead | None = None,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        # The base class's constructor waits until its machinery is needed (`_pull`): it costs 25 µs and
        # 1.2 kB per stream (sse_starlette 3.7), and on our own connections none of it is used.
        own = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.raw_headers = [*_head(type(dialect)), *own]
        self._place = place
        self._dialect = dialect
        self._settings = settings
        self._shutdown = shutdown
        self._hooks = hooks
        self._rounds = rounds
        self._instead = instead
        self._on_done = on_done

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, and watch the client."""
        offered: Wire | None = (scope.get("extensions") or {}).get(CONNECTION)
        place = self._place
        trace = trace_of(scope)
        self._receipt = Receipt(
            place.generation,
            self._dialect.name,
            place.after,
            self._hooks,
            trace=trace.own.traceparent if trace else "",
        )
        with self._receipt, place.viewer(place.generation) as slot:
            # A generation that has just been started calls its provider now: the head can use the time until
            # the first token comes.
            await anyio.lowlevel.checkpoint()
            if offered is None:
                await self._pull(slot, scope, receive, send)
                return
            begun = await self._begin(offered, slot, receive, send)
            if begun is not None:
                forget_request(scope)
                viewing = Viewer(
                    offered,
                    slot,
                    self._receipt,
                    self._dialect,
                    self._settings,
                    rounds=self._rounds,
                    on_done=self._on_done,
                )
                try:
                    viewing.begin(place, begun)
                    await viewing.ended  # here: each frame between costs 0.3 kB
                finally:
                    viewing.end()
                if viewing.is_over:
                    end = {"type": "http.response.body", "body": viewing.last}
                    await self._send(offered, send, end)

    # On a connection of our own server

    async def _begin(
        self, wire: Wire, slot: ViewerSlot, receive: Receive, send: Send
    ) -> Sequence[Record] | None:
        """Send the head of the stream, and return the records read so far; None: there is no stream."""
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
        await self._send(wire, send, head)
        self.raw_headers = []
        return None if wire.is_lost else begun

    async def _send(self, wire: Wire, send: Send, message: Message) -> None:
        """Send a message. The server waits only while the wire is full, so a timer is set only then."""
        if wire.is_full:
            await self._in_time(wire, send(message))
        else:
            await send(message)

    async def _in_time(self, wire: Wire, sending: Awaitable[None]) -> None:
        """Wait until something is sent, and drop a viewer that does not read, which ends the wait."""
        patience_seconds = self._settings.send_timeout_seconds
        patience = asyncio.get_running_loop().call_later(patience_seconds, self._receipt.drop, wire)
        try:
            await sending
        finally:
            patience.cancel()

    # On any other ASGI server

    async def _pull(self, slot: ViewerSlot, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response with the library's own machinery.

        A response that cannot end normally is left incomplete: the server then cuts the connection.
        """
        in_time = _in_time(send, self._settings.send_timeout_seconds)
        begun: Sequence[Record] = ()
        try:
            if (instead := self._instead) is not None:
                is_there = await first_event(
                    self._place, instead, receive, on_disconnect=slot.leave, shutdown=self._shutdown
                )
                if not is_there:
                    return
                begun = instead.begun
                if other := await instead.answer():
                    await other({"type": "http"}, receive, in_time)
                    return
            self._prepare(slot, begun)
            await super().__call__(scope, receive, in_time)
        except* SendTimeoutError:  # of the frames and of a ping, maybe at once
            self._receipt.reason = "too_slow"
        except* BrokenOff:
            self._receipt.reason = "broken_off"

    def _prepare(self, slot: ViewerSlot, begun: Sequence[Record]) -> None:
        """Run the base class's constructor: from here on, this is the library's response."""

        async def on_disconnect(_message: Message) -> None:
            slot.leave()

        def ping() -> _Keepalive:
            self._receipt.keepalives += 1
            return _Keepalive(keepalive)

        keepalive, settings, head = self._dialect.keepalive, self._settings, self.raw_headers
        super().__init__(
            frames(
                self._place,
                begun,
                dialect=self._dialect,
                settings=settings,
                on_done=self._on_done,
                receipt=self._receipt,
            ),
            ping=settings.ping_seconds if keepalive else 0,
            ping_message_factory=ping,
            send_timeout=settings.send_timeout_seconds,
            client_close_handler_callable=on_disconnect,
            shutdown_event=self._shutdown.begun,
            shutdown_grace_period=self._shutdown.grace_seconds,
        )
        self.raw_headers = head


def _in_time(send: Send, seconds: float) -> Send:
    """Limit the time of sends for which the library has no timeout: the head and the end of a response.

    Otherwise a client that does not read could hold the viewer slot for as long as it likes.
    """

    async def sent(message: Message) -> None:
        if message.get("more_body"):
            await send(message)
            return
        with anyio.move_on_after(seconds) as patience:
            await send(message)
        if patience.cancelled_caught:
            raise SendTimeoutError

    return sent


@cache
def _head(kind: type[Dialect]) -> list[tuple[bytes, bytes]]:
    """Return the header fields of every stream of a dialect; sse_starlette knows which ones proxies need."""
    response = EventSourceResponse(
        iter(()), headers={**STREAM_HEADERS, **kind.headers}, media_type=kind.media_type
    )
    return response.raw_headers
