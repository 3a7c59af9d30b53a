"""The wait before a head: nothing that is read for it is lost or told twice."""

from collections.abc import Callable, Sequence

import anyio
from starlette.responses import Response
from typing_extensions import override

from streamsvc.config.settings import GenerationSettings
from streamsvc.engine.audience import ViewerSlot
from streamsvc.eventlog.base import BATCH_RECORDS, BEFORE_FIRST
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.events import Event, Record, Start, Text
from streamsvc.web.stream.first_event import DeferredHead, FirstEventWait
from streamsvc.web.stream.viewer import LogPosition
from streamsvc.web.stream.wire import Listener, Wire
from support.doubles import Room

START = Start(generation="gen_a", provider="fake", model="words", created=0)


class Nowhere(Wire):
    """A wire that nothing is written to."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self.is_full = False
        self.on_disconnect = False

    @property
    @override
    def is_lost(self) -> bool:
        return self.on_disconnect

    @override
    def write(self, data: bytes) -> None:
        raise AssertionError(data)

    @override
    def abort(self) -> None:
        raise AssertionError


def is_text(event: Event) -> bool:
    return isinstance(event, Text)


class Waits(DeferredHead):
    """For an event, and remembers what it was given."""

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


async def test_it_takes_the_records_up_to_the_one_that_decides_and_no_more() -> None:
    """The others are the stream's, which follows from there; whoever waits may have his turn later."""
    waits = Waits(60)
    it = FirstEventWait(Nowhere(), ViewerSlot(), waits)
    told = records(START, Text("one "), Text("two "), Text("three "))
    assert it.deliver(told) == 2
    assert it.deliver(told[2:]) == 0
    assert waits.taken == told[:2]


async def test_a_long_log_is_waited_for_to_its_end() -> None:
    log = MemoryEventLog(GenerationSettings())
    log.append("gen_a", START)
    for number in range(3 * BATCH_RECORDS):
        log.append("gen_a", Text(str(number)))
    waits = Waits(60, lambda event: isinstance(event, Text) and event.text == "767")
    with anyio.fail_after(5):
        await FirstEventWait(Nowhere(), ViewerSlot(), waits).watch(
            LogPosition(log, "gen_a", BEFORE_FIRST, lambda _: ViewerSlot())
        )
    assert [record.seq for record in waits.taken] == list(range(3 * BATCH_RECORDS + 1))


async def test_it_ends_when_its_time_is_over_or_the_log_is_gone() -> None:
    log = MemoryEventLog(GenerationSettings())
    log.append("gen_a", START)
    with anyio.fail_after(5):
        for generation, seconds, taken in (("gen_a", 0.01, records(START)), ("gen_b", 60, [])):
            waits = Waits(seconds)
            await FirstEventWait(Nowhere(), ViewerSlot(), waits).watch(
                LogPosition(log, generation, BEFORE_FIRST, lambda _: ViewerSlot())
            )
            assert waits.taken == taken


async def test_a_client_that_leaves_leaves_its_seat_in_the_same_moment() -> None:
    log, room, wire = MemoryEventLog(GenerationSettings()), Room(), Nowhere()
    log.append("gen_a", START)
    with anyio.fail_after(5), ViewerSlot(room) as slot:
        it = FirstEventWait(wire, slot, Waits(60))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.watch, LogPosition(log, "gen_a", BEFORE_FIRST, lambda _: slot))
            await anyio.wait_all_tasks_blocked()
            assert room.size == 1
            it.on_disconnect()
            assert room.size == 0
    assert room.size == 0
