"""The memory of one process of many: copies of logs that others write, take-overs, and followers that are moved."""

import anyio
import pytest
from takeover_conformance import TAKEOVERS, Subject, numbered
from takeover_conformance import Check as TakeoverCheck
from typing_extensions import override

from conformance import CONTRACT, DONE, START, Check, Following, settled, write
from streamsvc.config.settings import GenerationSettings
from streamsvc.errors import CursorLost, CursorReplaced, GenerationNotFound, Overloaded
from streamsvc.eventlog.base import BEFORE_FIRST, EPOCH_SEQS, LogEnded
from streamsvc.eventlog.shared import SharedMemory, SharedStream
from streamsvc.events import Event, Reasoning, Record, Text, ToolCallReady
from support.doubles import virtual_backends
from support.stored import stored_records

anyio_backend = virtual_backends()


def new_log(**bounds: float) -> SharedMemory:
    return SharedMemory(GenerationSettings(**bounds))  # type: ignore[arg-type]


class Copied(Subject):
    """A log whose generation another process has written: here, a copy of what it has stored."""

    def __init__(self) -> None:
        self._log = new_log()
        self.copy: SharedStream | None = None

    @property
    @override
    def log(self) -> SharedMemory:
        return self._log

    @override
    async def other_writes(self, *events: Event) -> None:
        self.copy = self.copy or self._log.open_copy("gen_a")
        self._log.extend(self.copy, numbered(*events, first=self.copy.next_seq))

    @override
    async def take_over(self) -> None:
        assert self.copy is not None
        self._log.own(self.copy, 1)


@pytest.mark.promise("resume:no-gap")
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_own_logs_are_as_in_the_in_memory_log(check: Check) -> None:
    log = new_log()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.sweep)
        await check(log)
        tasks.cancel_scope.cancel()


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:honest")
@pytest.mark.promise("scale:one-writer")
@pytest.mark.parametrize("check", TAKEOVERS, ids=lambda check: check.__name__)
async def test_the_memory_of_one_process_of_many_conforms(check: TakeoverCheck) -> None:
    await check(Copied())


async def test_a_copy_is_read_and_followed_as_it_grows() -> None:
    log = new_log()
    copy = log.open_copy("gen_a")
    assert copy.tail == BEFORE_FIRST
    reader = Following()
    log.follow("gen_a", after=BEFORE_FIRST, reader=reader)
    await settled()
    assert await log.read("gen_a", after=BEFORE_FIRST) == []
    written = numbered(START, Text("a"), Reasoning("b"), DONE)
    for record in written:
        log.extend(copy, [record])
        await settled()
    assert reader.deliveries == [[record] for record in written]
    assert await log.read("gen_a", after=0) == written[1:]
    assert (copy.tail, copy.closed, copy.next_seq) == (3, True, 4)


async def test_records_that_a_copy_has_already_are_left_out() -> None:
    log = new_log()
    copy = log.open_copy("gen_a")
    written = numbered(START, Text("a"), Text("b"))
    log.extend(copy, written[:2])
    log.extend(copy, written)
    assert await log.read("gen_a", after=BEFORE_FIRST) == written
    log.extend(copy, numbered(DONE, first=3))
    log.extend(copy, numbered(Text("late"), first=4))
    assert copy.tail == 3


async def test_a_copy_with_jumps_is_loaded_in_one_go() -> None:
    log = new_log()
    copy = log.open_copy("gen_a")
    third = 3 * EPOCH_SEQS  # the second epoch has no records
    written = numbered(START, Text("a")) + numbered(Text("b"), DONE, first=third)
    log.extend(copy, written)
    assert [record async for record in stored_records(log, "gen_a")] == written
    assert (copy.tail, copy.cursor_at(1), copy.cursor_at(2)) == (third + 1, 1, third)
    for after in (2, EPOCH_SEQS, 2 * EPOCH_SEQS + 7):
        with pytest.raises(CursorReplaced):
            await log.read("gen_a", after=after)


async def test_a_cursor_beyond_the_tail_of_a_running_copy_waits() -> None:
    """A viewer of the process that writes it may be ahead of what is stored."""
    log = new_log()
    copy = log.open_copy("gen_a")
    log.extend(copy, numbered(START))
    ahead, beyond = Following(), Following()
    log.follow("gen_a", after=1, reader=ahead)
    log.follow("gen_a", after=7, reader=beyond)
    await settled()
    assert await log.read("gen_a", after=1) == []
    answers: list[list[Record]] = []

    async def read() -> None:
        while not answers or not answers[-1]:
            answers.append([*await log.read("gen_a", after=1, wait_seconds=1000)])

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await settled()
            log.extend(copy, numbered(Text("a"), first=1))
            await settled()
            log.extend(copy, numbered(Text("b"), DONE, first=2))
    await settled()
    rest = numbered(Text("b"), DONE, first=2)
    assert ahead.taken == answers[-1] == rest
    assert (beyond.is_lost, beyond.deliveries) == (True, [])
    for after in (4, EPOCH_SEQS):
        with pytest.raises(CursorLost):
            await log.read("gen_a", after=after)


async def test_a_new_epoch_interrupts_those_whose_record_was_never_stored() -> None:
    log = new_log()
    copy = log.open_copy("gen_a")
    log.extend(copy, numbered(START))
    stored, unstored, next_one = Following(), Following(), Following()
    for after, reader in ((0, stored), (1, unstored), (EPOCH_SEQS, next_one)):
        log.follow("gen_a", after=after, reader=reader)
    await settled()
    log.begin_epoch(copy, 1)
    log.begin_epoch(copy, 1)
    await settled()
    assert [it.is_interrupted for it in (stored, unstored, next_one)] == [False, True, False]
    log.extend(copy, numbered(Text("a"), DONE, first=EPOCH_SEQS))
    await settled()
    assert stored.taken == numbered(Text("a"), DONE, first=EPOCH_SEQS)
    assert next_one.taken == stored.taken[1:]
    assert unstored.deliveries == []
    assert len(copy.spans) == 2


async def test_a_copy_takes_the_place_of_a_log_with_its_followers() -> None:
    """The process that wrote it was slow, and another one has taken over: the last words were never stored."""
    log = new_log()
    written = await write(log, START, Text("a"), Text("unstored"))
    own = log.stream("gen_a")
    assert own is not None
    assert own.tail == 2
    stored, unstored, slow = Following(), Following(), Following(takes=0)
    log.follow("gen_a", after=1, reader=stored).close()
    log.follow("gen_a", after=2, reader=unstored)
    following = log.follow("gen_a", after=BEFORE_FIRST, reader=slow)
    behind = Following(takes=0)
    log.follow("gen_a", after=0, reader=behind)
    await settled()
    copy = log.open_copy("gen_a")
    slow.takes = 100
    following.resume()
    log.extend(copy, written[:2])
    log.extend(copy, numbered(Text("b"), DONE, first=EPOCH_SEQS))
    await settled()
    rest = numbered(Text("b"), DONE, first=EPOCH_SEQS)
    assert slow.taken == [*written[:2], *rest]
    assert (unstored.is_interrupted, unstored.deliveries) == (True, [])
    assert len(behind.deliveries) == 1  # still paused
    assert stored.deliveries == []
    assert log.size_bytes == copy.size_bytes


async def test_a_waiting_read_goes_on_with_the_copy() -> None:
    log = new_log()
    await write(log, START)
    answers: list[Record] = []

    async def read() -> None:
        while not answers:
            answers.extend(await log.read("gen_a", after=0, wait_seconds=1000))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await settled()
            copy = log.open_copy("gen_a")
            await settled()
            log.extend(copy, numbered(START))
            await settled()
            log.extend(copy, numbered(DONE, first=EPOCH_SEQS))
    assert answers == numbered(DONE, first=EPOCH_SEQS)


async def test_followers_of_a_copy_move_on_to_the_next_copy() -> None:
    log = new_log()
    log.open_copy("gen_a")
    early, closed = Following(), Following()
    log.follow("gen_a", after=BEFORE_FIRST, reader=early)
    following = log.follow("gen_a", after=BEFORE_FIRST, reader=closed)
    copy = log.open_copy("gen_a")
    following.close()
    log.extend(copy, numbered(START, DONE))
    await settled()
    assert early.taken == numbered(START, DONE)
    assert closed.deliveries == []


async def test_an_interrupted_log_is_kept_and_its_followers_leave() -> None:
    log = new_log()
    written = await write(log, START)
    readers = [Following(takes=0), Following()]
    followings = [log.follow("gen_a", after=BEFORE_FIRST, reader=reader) for reader in readers]
    await settled()
    log.interrupt("gen_a")
    log.interrupt("gen_b")
    await write(log, Text("a"))
    for following in followings:
        following.resume()
    await settled()
    assert [(it.is_interrupted, len(it.deliveries)) for it in readers] == [(True, 1), (True, 1)]
    assert (await log.read("gen_a", after=BEFORE_FIRST))[:1] == written


async def test_a_dropped_log_is_lost_to_its_readers() -> None:
    log = new_log()
    copy = log.open_copy("gen_a")
    log.extend(copy, numbered(START))
    here, seeking = Following(takes=0), Following()
    following = log.follow("gen_a", after=BEFORE_FIRST, reader=here)
    log.follow("gen_a", after=4, reader=seeking)
    await settled()
    answers: list[object] = []

    async def read() -> None:
        answers.append(await log.read("gen_a", after=0, wait_seconds=1000))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await settled()
            log.drop("gen_a")
    log.drop("gen_a")
    following.resume()
    log.extend(copy, numbered(DONE, first=1))
    await settled()
    assert (here.is_lost, seeking.is_lost, answers) == (True, True, [[]])
    assert (len(here.deliveries), log.size_bytes, log.stream("gen_a")) == (1, 0, None)
    with pytest.raises(GenerationNotFound):
        await log.read("gen_a", after=BEFORE_FIRST)


async def test_a_reader_may_close_another_while_both_learn_of_a_loss() -> None:
    class Closing(Following):
        @override
        def lost(self) -> None:
            super().lost()
            other.close()

    log = new_log()
    copy = log.open_copy("gen_a")
    log.extend(copy, numbered(START))
    first, second = Closing(), Following()
    log.follow("gen_a", after=5, reader=first)
    other = log.follow("gen_a", after=6, reader=second)
    log.extend(copy, numbered(DONE, first=1))
    await settled()
    assert (first.is_lost, second.is_lost) == (True, False)


async def test_a_closed_copy_expires_as_any_log() -> None:
    log = new_log(keep_finished_seconds=300)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.sweep)
        log.extend(log.open_copy("gen_a"), numbered(START, DONE))
        await anyio.sleep(200)
        log.extend(log.open_copy("gen_a"), numbered(START, DONE))  # its time begins again
        await anyio.sleep(200)
        with pytest.raises(LogEnded):
            await log.read("gen_a", after=1)
        await anyio.sleep(200)
        with pytest.raises(GenerationNotFound):
            await log.read("gen_a", after=1)
        tasks.cancel_scope.cancel()
    assert log.size_bytes == 0


async def test_copies_count_towards_the_memory_of_all_logs() -> None:
    log = new_log(max_total_log_bytes=8192)
    log.extend(log.open_copy("gen_ended"), numbered(START, Text("a" * 3000), DONE))
    call = ToolCallReady(index=0, id="call_1", name="get", arguments="{}")
    copy = log.open_copy("gen_a")
    log.extend(copy, numbered(START, Text("a" * 3000), call))
    assert 6000 < log.size_bytes < 8192
    log.extend(copy, numbered(Text("a" * 6000), first=3))  # makes room, and is never refused
    assert log.stream("gen_ended") is None
    assert log.size_bytes == copy.size_bytes > 8192
    with pytest.raises(Overloaded):
        log.open_copy("gen_b")


async def test_followers_of_a_log_without_room_for_a_copy_are_interrupted() -> None:
    log = new_log(max_total_log_bytes=8192)
    await write(log, START)
    reader = Following()
    log.follow("gen_a", after=0, reader=reader)
    log.extend(log.open_copy("gen_other"), numbered(START, Text("a" * 9000)))
    with pytest.raises(Overloaded):
        log.open_copy("gen_a")
    assert reader.is_interrupted
    with pytest.raises(Overloaded):
        log.open_copy("gen_unknown")
    assert log.open_copy("gen_unknown", beyond_limit=True).is_copy
