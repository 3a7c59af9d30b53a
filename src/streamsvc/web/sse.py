"""A log, followed for one viewer as an event stream; the only user of sse_starlette.

The response is the viewer: it joins the audience when it begins to send and leaves when the
connection ends, however that comes about. Everything about bytes and headers that `docs/wire.md`
promises for streams is kept here.
"""

import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from functools import partial

import anyio
from sse_starlette.sse import AppStatus, EventSourceResponse, SendTimeoutError
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from streamsvc.dialects.base import KEEPALIVE, Dialect, json_line, preamble
from streamsvc.errors import CursorLost, GenerationNotFound, Overloaded
from streamsvc.eventlog.base import EventLog
from streamsvc.events import Done
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
        blocks: whole blocks of the event stream, or keepalives.
        viewer: makes the context that is held while the viewer is connected.
        settings: how long one write may take before the viewer counts as too slow.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        blocks: AsyncIterator[bytes],
        *,
        viewer: Callable[[], AbstractContextManager[None]],
        settings: StreamSettings,
        headers: dict[str, str],
    ) -> None:
        super().__init__(
            blocks,
            headers={**STREAM_HEADERS, **headers},
            ping=0,  # keepalives come from `follow`, in silence only
            sep="\n",
        )
        self._viewer = viewer
        self._send_timeout_seconds = settings.send_timeout_seconds

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._viewer():
            try:
                await super().__call__(scope, receive, partial(self._send_in_time, send))
            except SendTimeoutError:
                # The connection ends without a `done`, so the client comes back with its cursor.
                logger.info("viewer.dropped reason=too_slow")
                if extension := scope.get("extensions", {}).get(DROP_CONNECTION):
                    extension["abort"]()
                    while (await receive())["type"] != "http.disconnect":
                        pass

    async def _send_in_time(self, send: Send, message: Message) -> None:
        """Send any message, also the last: the library's own timeout leaves that one out."""
        with anyio.move_on_after(self._send_timeout_seconds) as scope:
            await send(message)
        if scope.cancelled_caught:
            raise SendTimeoutError


async def follow(
    log: EventLog, generation: str, *, after: int, dialect: Dialect, settings: StreamSettings
) -> AsyncIterator[bytes]:
    """Yield a generation's records behind the cursor *after* as blocks, up to its `Done`.

    What piled up goes out in few writes. In silence there is a keepalive every `ping_seconds`.
    """
    opening = preamble(settings.retry_ms)
    while True:
        try:
            records = await log.read(generation, after=after, wait_seconds=settings.ping_seconds)
        except (GenerationNotFound, CursorLost):
            yield opening + not_resumable(generation)
            return
        if not records:
            yield KEEPALIVE
            continue
        blocks = [opening]
        waiting_bytes = 0
        for record in records:
            block = dialect.encode(record)
            blocks.append(block)
            waiting_bytes += len(block)
            if waiting_bytes >= WRITE_BYTES:
                yield b"".join(blocks)
                blocks.clear()
                waiting_bytes = 0
        if blocks:
            yield b"".join(blocks)
        if isinstance(records[-1].event, Done):
            return
        opening = b""
        after = records[-1].seq


def not_resumable(generation: str) -> bytes:
    """Return the block that says that a cursor cannot be honoured.

    It is no record of any log, so its id has a word in the place of the number.
    """
    data = {
        "type": "done",
        "status": "failed",
        "finish_reason": "error",
        "usage": None,
        "error": {"code": CursorLost.code, "message": CursorLost.message, "retryable": True},
    }
    return b"id: %b.gone\nevent: done\ndata: %b\n\n" % (generation.encode(), json_line(data))


def gone_response(generation: str, settings: StreamSettings) -> Response:
    """Answer a cursor that cannot be honoured: one `done`, never a shorter or a new stream."""
    return _whole(preamble(settings.retry_ms) + not_resumable(generation))


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
