"""The portable way of a stream: frames are read from the log, and a client that leaves ends the wait."""

import math
from collections.abc import Sequence

import anyio
import pytest
from starlette.responses import Response
from starlette.types import Message
from typing_extensions import override

from streamsvc.config.settings import GenerationSettings, StreamSettings
from streamsvc.dialects.base import BrokenOff
from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.plain.frames import PlainDialect
from streamsvc.engine.audience import ViewerSlot
from streamsvc.errors import CursorReplaced, StoreUnavailable
from streamsvc.eventlog.base import BEFORE_FIRST, WAIT_SECONDS
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.events import Event, Record, Text
from streamsvc.web.stream.first_event import DeferredHead
from streamsvc.web.stream.pull import first_event, frames
from streamsvc.web.stream.receipt import Receipt
from streamsvc.web.stream.shutdown import Shutdown
from streamsvc.web.stream.viewer import LogPosition
from support.doubles import virtual_backends
from support.events import FAILED, START, WHOLE
from support.logged import logged

GENERATION = "gen_a"

anyio_backend = virtual_backends()


def position(*events: Event, after: int = BEFORE_FIRST) -> LogPosition:
    """Return a viewer's place in a log with these events."""
    log = MemoryEventLog(GenerationSettings())
    for event in events:
        log.append(GENERATION, event)
    return LogPosition(log, GENERATION, after, lambda _: ViewerSlot())


async def pull(
    place: LogPosition, dialect: NativeDialect | PlainDialect, done: list[str] | None = None
) -> list[bytes]:
    """Return the pieces of a stream; *done* is told of its `Done`."""
    on_done = None if done is None else lambda: done.append("done")
    pieces: list[bytes] = []
    try:
        stream = frames(
            place,
            (),
            dialect=dialect,
            settings=StreamSettings(),
            on_done=on_done,
            receipt=Receipt(GENERATION, dialect.name, place.after, logged()),
        )
        async for piece in stream:
            pieces.append(piece)  # noqa: PERF401  # what came before an error counts, too
    except BrokenOff:
        pieces.append(b"broken off")
    return pieces


class Waits(DeferredHead):
    """Waits for a text."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.taken: list[Record] = []

    @override
    def is_due(self, event: Event) -> bool:
        return isinstance(event, Text)

    @override
    def take(self, records: Sequence[Record]) -> None:
        self.taken += records

    @override
    async def answer(self) -> Response | None:
        raise AssertionError


async def stays() -> Message:
    """Receive nothing from a client that stays."""
    await anyio.sleep_forever()
    raise AssertionError


async def wait(place: LogPosition, head: Waits) -> bool:
    """Wait for the first event of a client that stays; return whether it is still there."""
    return await first_event(
        place, head, stays, on_disconnect=pytest.fail, shutdown=Shutdown(drain_seconds=1)
    )


async def test_a_complete_answer_is_reported_as_done() -> None:
    done: list[str] = []
    assert await pull(position(START, Text("one"), WHOLE), PlainDialect(), done) == [b"one"]
    assert done == ["done"]


async def test_a_broken_answer_sends_its_text_and_breaks_off() -> None:
    done: list[str] = []
    pieces = await pull(position(START, Text("one"), FAILED), PlainDialect(), done)
    assert pieces == [b"one", b"broken off"]
    assert not done


async def test_an_answer_that_breaks_before_any_text_sends_nothing() -> None:
    assert await pull(position(START, FAILED), PlainDialect()) == [b"broken off"]


async def test_a_cursor_at_the_end_gets_no_frame() -> None:
    place = position(START, Text("one"), WHOLE, after=2)
    assert await pull(place, NativeDialect()) == []


@pytest.mark.promise("resume:honest")
async def test_a_stream_whose_log_is_gone_says_so() -> None:
    [said] = await pull(position(), NativeDialect())
    assert b"retry:" in said
    assert b'"code":"not_resumable"' in said


class Failing(MemoryEventLog):
    """Fails after two records."""

    error: Exception

    @override
    async def read(
        self, generation: str, *, after: int, wait_seconds: float = 0.0
    ) -> Sequence[Record]:
        if after == 1:
            raise self.error
        return (await super().read(generation, after=after, wait_seconds=wait_seconds))[:2]


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("error", [StoreUnavailable("silent"), CursorReplaced()])
async def test_a_stream_that_is_interrupted_is_cut_or_says_so(error: Exception) -> None:
    place = position(START, Text("one"), WHOLE)
    log = Failing(GenerationSettings())
    log.error = error
    log._streams = place.log._streams  # type: ignore[attr-defined]
    place = place._replace(log=log)
    assert await pull(place, PlainDialect()) == [b"one", b"broken off"]
    assert (await pull(place, NativeDialect()))[-1] == b"broken off"
    line = await pull(place, PlainDialect("e-1"))
    assert line == [b"one", b"\ne-1 failed interrupted\n"]
    head = Waits(math.inf)
    assert await wait(place._replace(after=1), head)
    assert (head.was_interrupted, head.taken) == (True, [])


async def test_a_silence_longer_than_one_read_goes_on() -> None:
    place = position(START)
    async with anyio.create_task_group() as tasks:

        async def speak() -> None:
            await anyio.sleep(3 * WAIT_SECONDS)
            place.log.append(GENERATION, Text("late"))
            place.log.append(GENERATION, WHOLE)

        tasks.start_soon(speak)
        assert b"".join(await pull(place, PlainDialect())) == b"late"


async def test_the_wait_ends_with_the_first_text() -> None:
    place, head = position(START, Text("one"), Text("two")), Waits(math.inf)
    assert await wait(place, head)
    assert [record.seq for record in head.taken] == [0, 1]


async def test_the_wait_goes_on_until_the_text_comes() -> None:
    place, head = position(START), Waits(math.inf)
    async with anyio.create_task_group() as tasks:

        async def speak() -> None:
            await anyio.sleep(1)
            place.log.append(GENERATION, Text("one"))

        tasks.start_soon(speak)
        assert await wait(place, head)
    assert [record.seq for record in head.taken] == [0, 1]


async def test_the_wait_ends_at_its_time_limit() -> None:
    head = Waits(5)
    assert await wait(position(START), head)
    assert [record.seq for record in head.taken] == [0]


@pytest.mark.parametrize("events", [(), (START, WHOLE)], ids=["dropped", "ended"])
async def test_the_wait_ends_with_the_log(events: tuple[Event, ...]) -> None:
    head = Waits(math.inf)
    assert await wait(position(*events), head)
    assert len(head.taken) == len(events)


@pytest.mark.promise("cancel:disconnect")
async def test_a_client_that_leaves_ends_the_wait() -> None:
    left: list[str] = []
    messages: list[Message] = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def leaves() -> Message:
        return messages.pop(0)

    is_there = await first_event(
        position(START),
        Waits(math.inf),
        leaves,
        on_disconnect=lambda: left.append("left"),
        shutdown=Shutdown(drain_seconds=1),
    )
    assert not is_there
    assert left == ["left"]
