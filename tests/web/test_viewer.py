"""The fast implementation of a stream at its edges: a frame that fails, a log that is gone, a client that has left."""

from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest
from typing_extensions import override

from streamsvc.config.settings import GenerationSettings, StreamSettings
from streamsvc.dialects.ai_sdk.frames import AISDKDialect
from streamsvc.dialects.base import BrokenOff, Dialect, Encoder
from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.openai.frames import OpenAIDialect
from streamsvc.dialects.plain.frames import PlainDialect
from streamsvc.engine.audience import ViewerSlot
from streamsvc.eventlog.base import BEFORE_FIRST, EPOCH_SEQS
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.eventlog.shared import SharedMemory
from streamsvc.events import Event, Record, Text
from streamsvc.web.stream.receipt import Receipt
from streamsvc.web.stream.rounds import Rounds
from streamsvc.web.stream.viewer import LogPosition, Viewer
from streamsvc.web.stream.wire import Listener, Wire
from support.doubles import Room
from support.events import START, WHOLE
from support.logged import logged

GENERATION = "gen_a"


class Recorded(Wire):
    """A wire that keeps what is written to it."""

    def __init__(self, *, is_lost: bool = False) -> None:
        self.listener: Listener | None = None
        self.is_full = False
        self.written: list[bytes] = []
        self._is_lost = is_lost

    @property
    @override
    def is_lost(self) -> bool:
        return self._is_lost

    @override
    def write(self, data: bytes) -> None:
        self.written.append(data)

    @override
    def abort(self) -> None:
        self._is_lost = True


class Clumsy(PlainDialect, Encoder):
    """Cannot write a text, and has no words for a log that is gone."""

    @override
    def encoder(self) -> Encoder:
        return self

    @override
    def encode(self, record: Record) -> bytes:
        if isinstance(record.event, Text):
            raise TypeError(record.event.text)
        return b""

    @override
    def lost(self, generation: str) -> bytes:
        raise BrokenOff


def log_of(*events: Event) -> MemoryEventLog:
    log = MemoryEventLog(GenerationSettings())
    for event in events:
        log.append(GENERATION, event)
    return log


async def watched(viewer: Viewer, place: LogPosition, begun: Sequence[Record]) -> None:
    """Watch to the end, as a response does."""
    try:
        viewer.begin(place, begun)
        await viewer.ended
    finally:
        viewer.end()


async def watch(wire: Wire, log: MemoryEventLog, room: Room, dialect: Dialect) -> Viewer:
    """Watch to the end; return the viewer."""
    with ViewerSlot(room) as slot, anyio.fail_after(20):
        viewer = Viewer(
            wire,
            slot,
            Receipt(GENERATION, "native", BEFORE_FIRST, logged()),
            dialect,
            StreamSettings(),
            rounds=Rounds(0.01),
            on_done=None,
        )
        place = LogPosition(log, GENERATION, BEFORE_FIRST, lambda _: slot)
        begun: Sequence[Record] = ()
        await watched(viewer, place, begun)
        return viewer


@pytest.mark.promise("cancel:disconnect")
async def test_frame_that_fails_cuts_the_stream_and_is_raised() -> None:
    wire, room = Recorded(), Room()
    with pytest.raises(TypeError, match="one"):
        await watch(wire, log_of(START, Text("one"), WHOLE), room, Clumsy())
    assert wire.is_lost
    assert wire.written == []
    assert room.size == 0


@pytest.mark.promise("resume:honest")
async def test_dialect_without_words_for_a_lost_log_breaks_off() -> None:
    wire = Recorded()
    viewer = await watch(wire, log_of(), Room(), Clumsy())
    assert wire.is_lost
    assert not viewer.is_over


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    ("dialect", "end"),
    [
        (NativeDialect(), None),
        (AISDKDialect(), None),
        (PlainDialect(), None),
        (PlainDialect("e-1"), b"\ne-1 failed interrupted\n"),
        (OpenAIDialect(include_usage=False), b"data: [DONE]\n\n"),
    ],
    ids=["native", "ai-sdk", "plain", "plain with a last line", "openai"],
)
async def test_interrupted_stream_is_cut_or_says_so(dialect: Dialect, end: bytes | None) -> None:
    """Other processes may have the rest: clients that can come back must, and no half answer looks complete."""
    wire, room, log = Recorded(), Room(), SharedMemory(GenerationSettings())
    for event in START, Text("one"):
        log.append(GENERATION, event)
    viewers: list[Viewer] = []

    async def look() -> None:
        viewers.append(await watch(wire, log, room, dialect))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        while b"one" not in b"".join(wire.written):
            await anyio.lowlevel.checkpoint()
        log.interrupt(GENERATION)
    assert room.size == 0
    assert wire.is_lost is (end is None)
    assert viewers[0].is_over is (end is not None)
    assert b"one" in b"".join(wire.written)
    if end is not None:
        assert b"interrupted" in viewers[0].last
        assert viewers[0].last.endswith(end)


async def test_records_read_before_the_stream_are_not_sent_twice() -> None:
    """Also if their numbers jump."""
    wire, log = Recorded(), SharedMemory(GenerationSettings())
    copy = log.open_copy(GENERATION)
    records = [
        Record(GENERATION, seq, event)
        for seq, event in ((0, START), (EPOCH_SEQS, Text("one")), (EPOCH_SEQS + 1, WHOLE))
    ]
    log.extend(copy, records[:2])
    with ViewerSlot() as slot, anyio.fail_after(20):
        viewer = Viewer(
            wire,
            slot,
            Receipt(GENERATION, "native", BEFORE_FIRST, logged()),
            PlainDialect(),
            StreamSettings(),
            rounds=Rounds(0.01),
            on_done=None,
        )
        place = LogPosition(log, GENERATION, BEFORE_FIRST, lambda _: slot)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched, viewer, place, records[:2])
            await anyio.wait_all_tasks_blocked()
            log.extend(copy, records[2:])
    assert wire.written == [b"one"]
    assert viewer.is_over


async def test_log_that_is_dropped_after_the_end_changes_nothing() -> None:
    wire = Recorded()
    viewer = await watch(wire, log_of(START, Text("one"), WHOLE), Room(), PlainDialect())
    viewer.lost()
    assert viewer.is_over
    assert (wire.written, viewer.last) == ([], b"one")
    assert not wire.is_lost


@pytest.mark.promise("cancel:disconnect")
async def test_client_that_left_before_the_stream_is_not_waited_for() -> None:
    viewer = await watch(Recorded(is_lost=True), log_of(START), Room(), PlainDialect())
    assert not viewer.is_over
