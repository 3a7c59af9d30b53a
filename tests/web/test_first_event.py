"""The wait before a deferred head loses no record and delivers none twice."""

from collections.abc import Callable, Sequence

import anyio
import anyio.lowlevel
from starlette.responses import Response
from typing_extensions import override

from streamsvc.config.settings import GenerationSettings
from streamsvc.engine.audience import ViewerSlot
from streamsvc.eventlog.base import BATCH_RECORDS, BEFORE_FIRST
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.events import Event, Record, Text
from streamsvc.web.stream.first_event import DeferredHead, FirstEventWait
from streamsvc.web.stream.viewer import LogPosition
from streamsvc.web.stream.wire import Listener, Wire
from support.doubles import Room
from support.events import START


class Nowhere(Wire):
    """A wire that must not be written to."""

    def __init__(self, *, is_lost: bool = False) -> None:
        self.listener: Listener | None = None
        self.is_full = False
        self._is_lost = is_lost

    @property
    @override
    def is_lost(self) -> bool:
        return self._is_lost

    @override
    def write(self, data: bytes) -> None:
        raise AssertionError(data)

    @override
    def abort(self) -> None:
        raise AssertionError


def is_text(event: Event) -> bool:
    return isinstance(event, Text)


class Waits(DeferredHead):
    """Waits for an event, and keeps the records it gets."""

    def __init__(self, seconds: float, due: Callable[[Event], bool] = is_text) -> None:
        self.seconds = seconds
        self.taken: list[Record] = []
        self._due = due

    @override
    def is_due(self, event: Event) -> bool:
        return self._due(event)

    @override
    def take(self, records: Sequence[Record]) -> None:
        self.taken += records

    @override
    async def answer(self) -> Response | None:
        raise AssertionError


def records(*events: Event, after: int = BEFORE_FIRST) -> list[Record]:
    return [Record("gen_a", seq, event) for seq, event in enumerate(events, after + 1)]


async def test_wait_takes_records_up_to_the_deciding_one() -> None:
    """The stream delivers the rest; more records may arrive before the waiting task runs."""
    waits = Waits(60)
    wait = FirstEventWait(Nowhere(), ViewerSlot(), waits)
    arrived = records(START, Text("one "), Text("two "), Text("three "))
    assert wait.deliver(arrived) == 2
    assert wait.deliver(arrived[2:]) == 0
    assert waits.taken == arrived[:2]


async def test_wait_reads_a_long_log_batch_by_batch() -> None:
    log = MemoryEventLog(GenerationSettings())
    log.append("gen_a", START)
    for number in range(3 * BATCH_RECORDS):
        log.append("gen_a", Text(str(number)))
    waits = Waits(60, lambda event: isinstance(event, Text) and event.text == "767")
    with anyio.fail_after(10):
        await FirstEventWait(Nowhere(), ViewerSlot(), waits).watch(
            LogPosition(log, "gen_a", BEFORE_FIRST, lambda _: ViewerSlot())
        )
    assert [record.seq for record in waits.taken] == list(range(3 * BATCH_RECORDS + 1))


async def test_wait_ends_at_its_time_limit_or_with_the_log() -> None:
    log = MemoryEventLog(GenerationSettings())
    log.append("gen_a", START)
    with anyio.fail_after(10):
        for generation, seconds, taken in (("gen_a", 0.01, records(START)), ("gen_b", 60, [])):
            waits = Waits(seconds)
            await FirstEventWait(Nowhere(), ViewerSlot(), waits).watch(
                LogPosition(log, generation, BEFORE_FIRST, lambda _: ViewerSlot())
            )
            assert waits.taken == taken


async def test_wait_that_is_interrupted_ends_and_says_why() -> None:
    log, waits = MemoryEventLog(GenerationSettings()), Waits(60)
    log.append("gen_a", START)
    wait = FirstEventWait(Nowhere(), ViewerSlot(), waits)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait.watch, LogPosition(log, "gen_a", BEFORE_FIRST, no_slot))
            while not waits.taken:
                await anyio.lowlevel.checkpoint()
            wait.interrupted()
    assert waits.was_interrupted
    assert waits.taken == records(START)


async def test_disconnect_frees_the_viewer_slot_at_once() -> None:
    log, room, wire = MemoryEventLog(GenerationSettings()), Room(), Nowhere()
    log.append("gen_a", START)
    with anyio.fail_after(10), ViewerSlot(room) as slot:
        wait = FirstEventWait(wire, slot, Waits(60))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait.watch, LogPosition(log, "gen_a", BEFORE_FIRST, lambda _: slot))
            await anyio.wait_all_tasks_blocked()
            assert room.size == 1
            wait.on_disconnect()
            assert room.size == 0
    assert room.size == 0


async def test_client_that_left_before_the_wait_is_not_waited_for() -> None:
    waits = Waits(60)
    with anyio.fail_after(20):
        await FirstEventWait(Nowhere(is_lost=True), ViewerSlot(), waits).watch(
            LogPosition(MemoryEventLog(GenerationSettings()), "gen_a", BEFORE_FIRST, no_slot)
        )


async def test_room_to_write_does_not_end_the_wait_and_two_ends_are_one() -> None:
    log, waits = MemoryEventLog(GenerationSettings()), Waits(60)
    log.append("gen_a", START)
    wait = FirstEventWait(Nowhere(), ViewerSlot(), waits)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait.watch, LogPosition(log, "gen_a", BEFORE_FIRST, no_slot))
            await anyio.wait_all_tasks_blocked()
            wait.on_writable()
            log.append("gen_a", Text("one "))
            while len(waits.taken) < 2:
                await anyio.lowlevel.checkpoint()
            wait.on_disconnect()
            wait.lost()
    assert waits.taken == records(START, Text("one "))


def no_slot(_generation: str) -> ViewerSlot:
    return ViewerSlot()
