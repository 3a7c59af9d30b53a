"""The portable implementation of a stream: frames are read from the log when the server asks for them.

The log is read starting at the viewer's cursor, so a viewer that does not read costs one piece of memory and
delays nobody. `viewer` is the fast implementation, on our own server's connections.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import anyio
from starlette.types import Receive

from streamsvc.config.settings import StreamSettings
from streamsvc.dialects.base import BrokenOff, Dialect
from streamsvc.dialects.sse import preamble
from streamsvc.errors import CursorLost, CursorReplaced, GenerationNotFound, StoreUnavailable
from streamsvc.eventlog.base import WAIT_SECONDS, LogEnded
from streamsvc.events import Done, Record
from streamsvc.web.stream.first_event import DeferredHead
from streamsvc.web.stream.receipt import WORDS, Receipt
from streamsvc.web.stream.shutdown import Shutdown
from streamsvc.web.stream.viewer import WRITE_BYTES, LogPosition

_INTERRUPTIONS = (CursorReplaced, StoreUnavailable)
"""After these, another request may get the rest."""


async def frames(
    place: LogPosition,
    begun: Sequence[Record],
    *,
    dialect: Dialect,
    settings: StreamSettings,
    on_done: Callable[[], None] | None,
    receipt: Receipt,
) -> AsyncIterator[bytes]:
    """Yield the body of a stream in pieces of whole blocks, at most about `WRITE_BYTES` long.

    Args:
        place: the viewer's position.
        begun: the records after its cursor that have already been read.
        dialect: makes the frames.
        settings: the reconnection time.
        on_done: called when the `Done` is sent.
        receipt: notes what is sent.

    Raises:
        BrokenOff: the dialect cannot say how the answer ends.
    """
    encode = dialect.encoder().encode
    opening = preamble(settings.retry_ms, cut_at=place.cut_at) if dialect.is_resumable else b""
    blocks, has_words = b"", False
    try:
        records = begun or await _next(place, place.after)
        while records:
            for record in records:
                blocks += encode(record)
                has_words |= type(record.event) in WORDS
                is_end = type(record.event) in dialect.ends
                if blocks and (is_end or record is records[-1] or len(blocks) >= WRITE_BYTES):
                    yield opening + blocks
                    receipt.wrote(blocks, has_words=has_words)
                    opening = blocks = b""
                if is_end:
                    receipt.reason = "finished"
                    _finish(record, on_done)
                    return
            records = await _next(place, records[-1].seq)
    except BrokenOff:
        if blocks:
            yield opening + blocks
        raise
    except (GenerationNotFound, CursorLost, StoreUnavailable) as exc:
        is_lost = not isinstance(exc, _INTERRUPTIONS)
        receipt.reason = "lost" if is_lost else "interrupted"
        yield opening + (dialect.lost(place.generation) if is_lost else dialect.interrupted())


async def _next(place: LogPosition, after: int) -> Sequence[Record]:
    """Wait for the next records; none means that the log has ended."""
    with suppress(LogEnded):
        while not (
            records := await place.log.read(
                place.generation, after=after, wait_seconds=WAIT_SECONDS
            )
        ):
            pass
        return records
    return ()


def _finish(record: Record, on_done: Callable[[], None] | None) -> None:
    if isinstance(record.event, Done) and on_done is not None:
        on_done()


async def first_event(
    place: LogPosition,
    head: DeferredHead,
    receive: Receive,
    *,
    on_disconnect: Callable[[], None],
    shutdown: Shutdown,
) -> bool:
    """Read the log until *head* is decided or its time is over.

    Args:
        place: the position to read from.
        head: takes the records.
        receive: the server's, which reports when the client leaves.
        on_disconnect: called in that case, which also ends the wait.
        shutdown: watched during the wait.

    Returns:
        Whether the client is still there.
    """
    is_there = True
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            nonlocal is_there
            while (await receive())["type"] != "http.disconnect":
                pass
            is_there = False
            on_disconnect()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        tasks.start_soon(shutdown.watch)
        with anyio.move_on_after(head.seconds):
            await _take(place, head)
        tasks.cancel_scope.cancel()
    return is_there


async def _take(place: LogPosition, head: DeferredHead) -> None:
    """Hand over records up to the one that is waited for, or the end of the log."""
    try:
        records = await _next(place, place.after)
        while records:
            for taken, record in enumerate(records, 1):
                if head.is_due(record.event):
                    head.take(records[:taken])
                    return
            head.take(records)
            records = await _next(place, records[-1].seq)
    except (GenerationNotFound, CursorLost, StoreUnavailable) as exc:
        head.was_interrupted = isinstance(exc, _INTERRUPTIONS)
