"""A log, followed for one viewer as an event stream; the only user of sse_starlette.

The response is the viewer: it joins the audience when it begins to send and leaves when the
connection ends, however that comes about. Everything about bytes and headers that `docs/wire.md`
promises for streams is kept here.
"""

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import anyio.lowlevel
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from streamsvc.dialects.base import Dialect, lost_block, preamble
from streamsvc.errors import Overloaded
from streamsvc.settings import StreamSettings
from streamsvc.web.viewing import Place, Viewing, drop
from streamsvc.web.wire import CONNECTION, Wire, send_wire, until_gone

logger = logging.getLogger(__name__)

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform"}


class EventStream(EventSourceResponse):
    """The answer to one viewer: a generation's records behind a cursor, up to its end.

    Args:
        place: where the viewer looks.
        dialect: makes the frames.
        settings: how a stream looks, and how long a viewer may leave it unread.
        headers: further headers of the answer.
        instead: decides, in its time, whether another answer is given in the place of the stream. The
            viewer is one meanwhile.
        on_done: is called when the `Done` is written.
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
            # A generation that has just been started asks its provider now: the head has the time until
            # the first token comes.
            await anyio.lowlevel.checkpoint()
            if self._instead is not None and await self._is_answered(
                receive, send, self._instead, offered
            ):
                return
            with anyio.move_on_after(self._settings.send_timeout_seconds) as heading:
                head = {"type": "http.response.start", "status": self.status_code}
                await send({**head, "headers": self.raw_headers})
                self.raw_headers = []  # held for as long as the stream is
            if heading.cancelled_caught:
                if offered is not None:
                    drop(offered)
                return
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
        viewing = Viewing(
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
