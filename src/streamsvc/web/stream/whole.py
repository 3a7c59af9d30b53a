"""Responses in the form of a stream that contain no records of a generation and are complete at once."""

import math
import random

from starlette.responses import Response

from streamsvc.config.settings import StreamSettings
from streamsvc.dialects.sse import lost_block, preamble
from streamsvc.errors import CursorLost, Overloaded, RateLimited, RequestError

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform"}
"""Of every stream, whole or not."""


def gone_response(
    generation: str,
    settings: StreamSettings,
    because: type[CursorLost] | RequestError = CursorLost,
    *,
    cut_at: str = "",
) -> Response:
    """Answer a client that can get no stream: with one `done`, never with a shorter or a new stream.

    Args:
        generation: the id in the `done`, with which an EventSource reconnects, and gets a 204.
        settings: the reconnection time.
        because: what the `done` says.
        cut_at: see `sse.preamble`.
    """
    return _whole(preamble(settings.retry_ms, cut_at=cut_at) + lost_block(generation, because))


def busy_response(settings: StreamSettings, refusal: Overloaded, *, cut_at: str = "") -> Response:
    """Ask an EventSource to come back later; with any status but 200, a browser would give up.

    If it is known when its request would be admitted, that is when it comes back.

    Args:
        settings: the reconnection time.
        refusal: why it cannot be answered now.
        cut_at: see `sse.preamble`.
    """
    retry_ms = random.randint(settings.retry_ms, 3 * settings.retry_ms)  # noqa: S311  # a jitter
    word = b"busy"
    if isinstance(refusal, RateLimited):
        word = refusal.code.encode()
        if refusal.wait_seconds is not None:
            retry_ms = math.ceil(refusal.wait_seconds * 1000)
    return _whole(preamble(retry_ms, cut_at=cut_at) + b": %b\n" % word)


def head_response() -> Response:
    """Answer HEAD with the headers of a stream; nothing is created."""
    return _whole(b"")


def _whole(body: bytes) -> Response:
    headers = {**STREAM_HEADERS, "X-Accel-Buffering": "no"}
    return Response(body, headers=headers, media_type="text/event-stream")
