"""The in-memory log passes the conformance suite, and drops ended logs after their time."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from typing_extensions import override

from conformance import (
    CONTRACT,
    DONE,
    START,
    Check,
    Following,
    every_reader_gets_everything,
    settled,
    write,
)
from streamsvc.config.settings import GenerationSettings
from streamsvc.errors import GenerationNotFound, Overloaded
from streamsvc.eventlog.base import BEFORE_FIRST, LogFull
from streamsvc.eventlog.memory import RECORD_BYTES, MemoryEventLog
from streamsvc.events import (
    Event,
    Outcome,
    Record,
    Status,
    Text,
    ToolCallArguments,
    ToolCallReady,
)
from support.doubles import run_in_virtual_time, virtual_backends

KEEP_FINISHED = 300.0
KEEP_ABANDONED = 60.0
ABANDONED = replace(DONE, status=Status.STOPPED, outcome=Outcome.NO_VIEWERS)
STOPPED = replace(DONE, status=Status.STOPPED, outcome=Outcome.CLIENT_STOP)

seconds = st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0, 3.0])


anyio_backend = virtual_backends()


def new_log() -> MemoryEventLog:
    settings = GenerationSettings(
        keep_finished_seconds=KEEP_FINISHED, keep_abandoned_seconds=KEEP_ABANDONED
    )
    return MemoryEventLog(settings)


@asynccontextmanager
async def swept_log() -> AsyncIterator[MemoryEventLog]:
    """Yield a log whose sweeper is running."""
    log = new_log()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.sweep)
        yield log
        tasks.cancel_scope.cancel()


async def is_kept(log: MemoryEventLog, generation: str) -> bool:
    await anyio.wait_all_tasks_blocked()
    try:
        return bool(await log.read(generation, after=BEFORE_FIRST))
    except GenerationNotFound:
        return False


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:honest")
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_the_in_memory_log_conforms(check: Check) -> None:
    async with swept_log() as log:
        await check(log)


@pytest.mark.promise("fan-out:shared")
@pytest.mark.promise("resume:no-gap")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(deadline=None)
@given(
    pauses=st.lists(seconds, max_size=12),
    readers=st.lists(st.tuples(seconds, seconds), min_size=1, max_size=4),
)
@example(pauses=[0.0] * 600, readers=[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_readers_at_any_speed_get_everything(
    backend: str, pauses: Sequence[float], readers: Sequence[tuple[float, float]]
) -> None:
    async def check() -> None:
        await every_reader_gets_everything(new_log(), pauses, readers)

    run_in_virtual_time(backend, check)


@pytest.mark.parametrize(
    ("done", "keep"),
    [(DONE, KEEP_FINISHED), (STOPPED, KEEP_FINISHED), (ABANDONED, KEEP_ABANDONED)],
)
async def test_a_closed_log_is_kept_for_its_time_and_then_dropped(done: Event, keep: float) -> None:
    async with swept_log() as log:
        await write(log, START, Text("a"), done)
        await anyio.sleep(keep - 1)
        assert await is_kept(log, "gen_a")
        await anyio.sleep(1)
        assert not await is_kept(log, "gen_a")
        assert len(log) == 0
        with pytest.raises(GenerationNotFound):
            log.append("gen_a", Text("late"))


async def test_the_time_of_a_log_begins_with_its_end() -> None:
    """A long answer is therefore kept for the same time as a short one."""
    async with swept_log() as log:
        await write(log, START)
        await anyio.sleep(10 * KEEP_FINISHED)
        await write(log, DONE)
        await anyio.sleep(KEEP_FINISHED - 1)
        assert await is_kept(log, "gen_a")


@pytest.mark.promise("cancel:clean")
async def test_only_closed_logs_are_dropped_and_then_completely() -> None:
    async with swept_log() as log:
        await write(log, START, Text("a"))
        for number in range(100):
            await write(log, START, ABANDONED, generation=f"gen_{number}")
        assert len(log) == 101
        await anyio.sleep(10 * KEEP_FINISHED)
        assert await is_kept(log, "gen_a")
        assert len(log) == 1
        assert log._expiries == []


async def test_an_earlier_expiry_wakes_the_sweeper() -> None:
    async with swept_log() as log:
        await write(log, START, DONE, generation="gen_long")
        await anyio.sleep(1)
        await write(log, START, ABANDONED, generation="gen_short")
        await anyio.sleep(KEEP_ABANDONED)
        assert not await is_kept(log, "gen_short")
        assert await is_kept(log, "gen_long")
        await anyio.sleep(KEEP_FINISHED - KEEP_ABANDONED - 1)
        assert not await is_kept(log, "gen_long")


async def test_logs_that_are_due_together_are_dropped_together() -> None:
    async with swept_log() as log:
        for number in range(3):
            await write(log, START, DONE, generation=f"gen_{number}")
        await anyio.sleep(KEEP_FINISHED)
        await anyio.wait_all_tasks_blocked()
        assert len(log) == 0


async def test_a_reader_in_the_middle_of_a_dropped_log_gets_an_error() -> None:
    """Its next read fails, so that the answer does not just look shorter."""
    async with swept_log() as log:
        await write(log, START, Text("a"), DONE)
        await log.read("gen_a", after=BEFORE_FIRST)
        await anyio.sleep(KEEP_FINISHED)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(GenerationNotFound):
            await log.read("gen_a", after=0)


@pytest.mark.promise("resume:honest")
async def test_a_follower_paused_before_the_end_of_a_dropped_log_is_lost() -> None:
    async with swept_log() as log:
        await write(log, START, DONE)
        reader = Following(takes=0)
        following = log.follow("gen_a", after=BEFORE_FIRST, reader=reader)
        await anyio.sleep(KEEP_FINISHED)
        await anyio.wait_all_tasks_blocked()
        following.resume()
        assert reader.is_lost


class Broken(Following):
    """A reader that breaks its contract by raising."""

    @override
    def deliver(self, records: Sequence[Record]) -> int:
        raise ValueError


@pytest.mark.promise("fan-out:shared")
@pytest.mark.parametrize(
    "anyio_backend", ["asyncio"]
)  # under trio an exception in a callback ends the run
async def test_a_reader_that_raises_does_not_hold_up_other_generations() -> None:
    log = new_log()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    reader = Following()
    await write(log, START, generation="gen_a")
    await write(log, START, generation="gen_b")
    log.follow("gen_a", after=BEFORE_FIRST, reader=Broken())
    log.follow("gen_b", after=BEFORE_FIRST, reader=reader)
    await settled()
    await write(log, Text("b"), generation="gen_b")
    await settled()
    assert [record.seq for record in reader.taken] == [0, 1]


@pytest.mark.promise("cancel:clean")
async def test_followers_that_closed_are_not_remembered() -> None:
    log = new_log()
    await write(log, START)
    for _ in range(3):
        log.follow("gen_a", after=0, reader=Following()).close()
    assert log._streams["gen_a"].followers == []


@pytest.mark.promise("cancel:clean")
async def test_readers_that_gave_up_are_not_remembered() -> None:
    log = new_log()
    await write(log, START)
    for _ in range(100):
        with anyio.move_on_after(1):
            await log.read("gen_a", after=0, wait_seconds=1000)
    assert log._streams["gen_a"].waiting == []


def bounded_log(**bounds: Any) -> MemoryEventLog:
    return MemoryEventLog(GenerationSettings(**bounds))


async def test_a_full_log_refuses_words_and_takes_the_end() -> None:
    log = bounded_log(max_log_bytes=4096)
    await write(log, START)
    with pytest.raises(LogFull):
        await write(log, *[Text("a" * 100)] * 100)
    held = len(await log.read("gen_a", after=BEFORE_FIRST))
    assert 10 < held < 40
    (done,) = await write(log, DONE)
    assert done.seq == held


@pytest.mark.promise("content:whole")
async def test_a_full_log_takes_the_complete_calls_of_its_drafts() -> None:
    """Viewers get all calls of an answer, or none."""
    for bounds in {"max_log_bytes": 4096}, {"max_total_log_bytes": 4096}:
        log = bounded_log(**bounds)
        await write(log, START)
        with pytest.raises(LogFull):
            await write(log, *[ToolCallArguments(0, "a" * 100)] * 100)
        calls = [
            ToolCallReady(index=index, id=f"call_{index}", name="get", arguments='{"a":1}')
            for index in range(40)
        ]
        await write(log, *calls, DONE)
        assert log.size_bytes > 4096


async def test_beyond_the_limit_the_next_log_to_expire_goes_first() -> None:
    log = bounded_log(keep_count=2)
    await write(log, START, DONE, generation="gen_finished")
    await write(log, START, ABANDONED, generation="gen_abandoned")
    await write(log, START, generation="gen_open")
    await write(log, START, DONE, generation="gen_latest")
    assert not await is_kept(log, "gen_abandoned")
    for kept in ("gen_finished", "gen_open", "gen_latest"):
        assert await is_kept(log, kept)


@pytest.mark.promise("resume:honest")
async def test_closed_logs_make_room_for_words_and_open_ones_never_do() -> None:
    """If open logs alone fill the memory, a new one is refused, and they can take no more text."""
    log = bounded_log(max_total_log_bytes=8192)
    await write(log, START, Text("a" * 2000), DONE, generation="gen_ended")
    await write(log, START, Text("a" * 3000), generation="gen_open")
    assert await is_kept(log, "gen_ended")
    room = 8192 - 2 * RECORD_BYTES - 3000 - 2 * sys.getsizeof("") - RECORD_BYTES
    await write(log, Text("a" * room), generation="gen_open")
    assert not await is_kept(log, "gen_ended")
    assert await is_kept(log, "gen_open")
    assert log.size_bytes == 8192
    with pytest.raises(Overloaded):
        await write(log, START, generation="gen_new")
    with pytest.raises(LogFull):
        await write(log, Text("a"), generation="gen_open")
    await write(log, DONE, generation="gen_open")
    await write(log, START, generation="gen_new")


async def test_the_size_of_all_logs_is_the_sum_of_their_records() -> None:
    async with swept_log() as log:
        assert log.size_bytes == 0
        await write(log, START, Text("a" * 1000), DONE)
        assert 1000 < log.size_bytes < 3000
        await anyio.sleep(KEEP_FINISHED)
        await anyio.wait_all_tasks_blocked()
        assert log.size_bytes == 0


async def test_closed_logs_that_fill_the_memory_make_room_for_a_new_one() -> None:
    log = bounded_log(max_total_log_bytes=4096)
    await write(log, START)
    room = 4096 - log.size_bytes - 2 * RECORD_BYTES
    await write(log, Text("a" * (room - sys.getsizeof(""))), DONE)
    assert log.size_bytes == 4096
    await write(log, START, generation="gen_new")
    assert not await is_kept(log, "gen_a")


async def test_the_clients_metadata_counts_too() -> None:
    log = bounded_log()
    await write(log, replace(START, metadata={"key": "a" * 5000}))
    assert log.size_bytes > 5000
