"""The conformance suite of `EventLog`, as checks that take a log.

A test of an implementation runs every check of `CONTRACT`, and no check knows the implementation. The clock may be
virtual; a check waits for at most a second on it. Several processes may share a log: then a check writes in one and
reads in another, and `settled` waits for what is in between.
"""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
from typing_extensions import override

from streamsvc.errors import CursorLost, GenerationNotFound
from streamsvc.eventlog.base import (
    BATCH_RECORDS,
    BEFORE_FIRST,
    EventLog,
    LogClosed,
    LogEnded,
    Reader,
)
from streamsvc.events import (
    Done,
    Event,
    Outcome,
    Progress,
    Reasoning,
    Record,
    Restart,
    Start,
    Status,
    Text,
)
from support.doubles import read_all
from support.stored import stored_records

Check = Callable[[EventLog], Awaitable[None]]

START = Start(generation="gen_a", provider="fake", model="words", created=1)
DONE = Done(
    status=Status.COMPLETED,
    finish_reason="stop",
    outcome=Outcome.COMPLETED,
    provider="fake",
    model="words",
)

CONTRACT: list[Check] = []


class Distant(EventLog):
    """A log whose readers are in another process than its writer."""

    @abstractmethod
    async def settle(self) -> None:
        """Wait until the readers' process has what the writer's process has stored."""


def contract(check: Check) -> Check:
    """Add a check to `CONTRACT`."""
    CONTRACT.append(check)
    return check


async def write(log: EventLog, *events: Event, generation: str = "gen_a") -> list[Record]:
    """Append events one after another; return the records that they should become."""
    stored: list[Record] = []
    with suppress(GenerationNotFound):
        stored = [record async for record in stored_records(log, generation)]
    for event in events:
        log.append(generation, event)
    await log.flush(generation)
    return [Record(generation, seq, event) for seq, event in enumerate(events, len(stored))]


@contract
async def records_are_numbered_from_zero_without_holes(log: EventLog) -> None:
    events: list[Event] = [START, Text("a"), Reasoning("b"), Text("c"), DONE]
    await write(log, *events)
    records = [Record("gen_a", seq, event) for seq, event in enumerate(events)]
    assert await log.read("gen_a", after=BEFORE_FIRST) == records


@contract
async def every_log_is_numbered_separately(log: EventLog) -> None:
    await write(log, START, Text("a"))
    await write(log, START, generation="gen_b")
    await write(log, Text("b"))
    assert await log.read("gen_b", after=BEFORE_FIRST) == [Record("gen_b", 0, START)]
    assert await log.read("gen_a", after=1) == [Record("gen_a", 2, Text("b"))]


@contract
async def events_come_back_as_they_went_in(log: EventLog) -> None:
    """No character is lost or changed."""
    text = Text("\x00\r\n\u2028 é \U0001f980 e\u0301 \ufeff")
    start = Start(generation="g", provider="p", model="m", created=1, metadata={"ключ": "\n"})
    status = Progress(state="retrying", provider="p", reason="upstream_cut")
    restart = Restart(reason="upstream_cut", provider="q", model="n")
    events: list[Event] = [start, text, status, restart, text, DONE]
    await write(log, *events)
    assert [record.event for record in await read_all(log, "gen_a")] == events


@contract
async def a_read_returns_exactly_the_records_after_the_cursor(log: EventLog) -> None:
    written = await write(log, START, Text("a"), Text("b"), DONE)
    for after in range(BEFORE_FIRST, 3):
        assert await log.read("gen_a", after=after) == written[after + 1 :]


@contract
async def a_read_with_stored_records_does_not_wait(log: EventLog) -> None:
    await write(log, START, Text("a"))
    began = anyio.current_time()
    await log.read("gen_a", after=0, wait_seconds=3)
    assert anyio.current_time() - began < 1


@contract
async def a_read_without_a_wait_returns_at_once_with_nothing(log: EventLog) -> None:
    await write(log, START)
    began = anyio.current_time()
    assert await log.read("gen_a", after=0) == []
    assert anyio.current_time() - began < 1


@contract
async def a_waiting_reader_is_given_the_next_record(log: EventLog) -> None:
    """The append wakes it long before its wait ends, and each append ends one read."""
    await write(log, START)
    answers: list[Sequence[Record]] = []

    async def read() -> None:
        answers.extend([await log.read("gen_a", after=n, wait_seconds=1000) for n in range(3)])

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            for text in "abc":
                await anyio.sleep(0.1)
                await write(log, Text(text))
    assert answers == [[Record("gen_a", seq, Text(text))] for seq, text in enumerate("abc", 1)]


@contract
async def an_append_wakes_all_waiting_readers_of_this_log_only(log: EventLog) -> None:
    await write(log, START)
    await write(log, START, generation="gen_b")
    answers: dict[str, list[Sequence[Record]]] = {"gen_a": [], "gen_b": []}

    async def read(generation: str, wait_seconds: float) -> None:
        answers[generation].append(await log.read(generation, after=0, wait_seconds=wait_seconds))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(read, "gen_a", 1000)
            tasks.start_soon(read, "gen_b", 0.4)
            await anyio.sleep(0.1)
            (record,) = await write(log, Text("a"))
    assert answers == {"gen_a": [[record]] * 3, "gen_b": [[]]}


@contract
async def a_wait_ends_after_its_time_without_records(log: EventLog) -> None:
    await write(log, START)
    began = anyio.current_time()
    with anyio.fail_after(5):
        assert await log.read("gen_a", after=0, wait_seconds=0.4) == []
    assert 0.4 <= anyio.current_time() - began < 1.9


@contract
async def a_cancelled_read_loses_no_record(log: EventLog) -> None:
    """Another reader's wake-up is not lost, either."""
    await write(log, START)
    answers: list[Sequence[Record]] = []

    async def read() -> None:
        answers.append(await log.read("gen_a", after=0, wait_seconds=1000))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            for _ in range(3):
                with anyio.move_on_after(0.1) as cut:
                    await log.read("gen_a", after=0, wait_seconds=1000)
                assert cut.cancelled_caught
            (record,) = await write(log, Text("a"))
    assert answers == [[record]]
    assert await log.read("gen_a", after=0) == [record]


@contract
async def the_end_wakes_a_waiting_reader(log: EventLog) -> None:
    await write(log, START)
    answers: list[Sequence[Record]] = []

    async def read() -> None:
        answers.append(await log.read("gen_a", after=0, wait_seconds=1000))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.sleep(0.1)
            (done,) = await write(log, DONE)
    assert answers == [[done]]


@contract
async def a_reader_at_the_end_of_a_closed_log_does_not_wait(log: EventLog) -> None:
    """An empty result would make it poll."""
    await write(log, START, DONE)
    with anyio.fail_after(5), pytest.raises(LogEnded):
        await log.read("gen_a", after=1, wait_seconds=1000)


@contract
async def nothing_can_be_appended_after_the_end(log: EventLog) -> None:
    """The attempt does not change the log."""
    written = await write(log, START, DONE)
    for event in (Text("late"), DONE, START):
        with pytest.raises(LogClosed):
            log.append("gen_a", event)
    assert await log.read("gen_a", after=BEFORE_FIRST) == written


@contract
async def a_cursor_far_beyond_the_last_record_is_lost(log: EventLog) -> None:
    await write(log, START, Text("a"))
    with pytest.raises(CursorLost):
        await log.read("gen_a", after=1_000_000, wait_seconds=1)


@contract
async def a_cursor_beyond_the_last_record_gets_nothing(log: EventLog) -> None:
    """While another process writes, that record may still come: its own viewers have it first."""
    await write(log, START, Text("a"))
    with suppress(CursorLost):
        assert await log.read("gen_a", after=2, wait_seconds=0.05) == []


@contract
async def a_cursor_beyond_the_end_is_lost(log: EventLog) -> None:
    await write(log, START, Text("a"), DONE)
    for after in (3, 1_000_000):
        with pytest.raises(CursorLost):
            await log.read("gen_a", after=after, wait_seconds=1)


@contract
async def a_log_that_was_never_opened_is_not_found(log: EventLog) -> None:
    """Only a `Start` opens one."""
    with pytest.raises(GenerationNotFound):
        await log.read("gen_a", after=BEFORE_FIRST, wait_seconds=1)
    for event in (Text("a"), DONE):
        with pytest.raises(GenerationNotFound):
            log.append("gen_a", event)


@contract
async def a_long_log_is_read_in_batches(log: EventLog) -> None:
    written = await write(log, START, *[Text(str(n)) for n in range(2 * BATCH_RECORDS)], DONE)
    batch = await log.read("gen_a", after=0)
    assert batch == written[1 : BATCH_RECORDS + 1]
    assert await read_all(log, "gen_a") == written
    assert [record async for record in stored_records(log, "gen_a")] == written


@contract
async def reading_a_long_log_lets_others_run(log: EventLog) -> None:
    """A replay of thousands of records must not delay live streams."""
    await write(log, START, *[Text("a")] * (4 * BATCH_RECORDS), DONE)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await anyio.lowlevel.checkpoint()
        before = turns
        await read_all(log, "gen_a")
        assert turns - before >= 3
        tasks.cancel_scope.cancel()


async def every_reader_gets_everything(
    log: EventLog, pauses: Sequence[float], readers: Sequence[tuple[float, float]]
) -> None:
    """At any speeds, no reader misses a record, gets one twice, or holds up the writer.

    Args:
        log: an empty log.
        pauses: the pauses of the writer, one before each record.
        readers: for each reader, when it arrives and how long it takes after each read.
    """
    seen: list[list[Record]] = []

    async def read(comes: float, takes: float) -> None:
        await anyio.sleep(comes)
        records: list[Record] = []
        while not records or not isinstance(records[-1].event, Done):
            after = records[-1].seq if records else BEFORE_FIRST
            records += await log.read("gen_a", after=after, wait_seconds=0.7)
            await anyio.sleep(takes)
        seen.append(records)

    written = await write(log, START)
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for reader in readers:
            tasks.start_soon(read, *reader)
        for number, pause in enumerate(pauses):
            await anyio.sleep(pause)
            written += await write(log, Text(str(number)))
        written += await write(log, DONE)
        assert anyio.current_time() - began == pytest.approx(sum(pauses), abs=0.5)
    assert seen == [written] * len(readers)


class Following(Reader):
    """A reader that takes a set number of records.

    Attributes:
        takes: how many records of each delivery it takes; by default all.
        deliveries: all deliveries.
        taken: the records that it took from them.
    """

    def __init__(self, takes: int = BATCH_RECORDS) -> None:
        self.takes = takes
        self.deliveries: list[list[Record]] = []
        self.taken: list[Record] = []
        self.is_lost = self.is_interrupted = False

    @override
    def deliver(self, records: Sequence[Record]) -> int:
        self.deliveries.append(list(records))
        self.taken += records[: self.takes]
        return min(self.takes, len(records))

    @override
    def lost(self) -> None:
        self.is_lost = True

    @override
    def interrupted(self) -> None:
        self.is_interrupted = True


async def settled(log: EventLog | None = None) -> None:
    """Wait until all pending deliveries are done: of a log, or of one in the memory of this process."""
    if isinstance(log, Distant):
        await log.settle()
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


@contract
async def a_follower_gets_stored_and_new_records(log: EventLog) -> None:
    written = await write(log, START, Text("a"))
    reader = Following()
    following = log.follow("gen_a", after=0, reader=reader)
    assert reader.deliveries == []  # never during the call
    await settled(log)
    assert reader.deliveries == [written[1:]]
    written += await write(log, Text("b"))
    await settled(log)
    written += await write(log, DONE)
    await settled(log)
    assert reader.deliveries == [[written[1]], [written[2]], [written[3]]]
    following.close()


@contract
async def a_follower_gets_queued_records_in_one_delivery(log: EventLog) -> None:
    await write(log, START)
    reader = Following()
    log.follow("gen_a", after=0, reader=reader)
    await settled(log)
    for text in "abc":
        log.append("gen_a", Text(text))
    assert reader.deliveries == []  # nor during an append
    await log.flush("gen_a")
    await settled(log)
    assert reader.deliveries == [
        [Record("gen_a", seq, Text(text)) for seq, text in enumerate("abc", 1)]
    ]


@contract
async def a_follower_that_takes_nothing_is_paused_until_it_asks(log: EventLog) -> None:
    written = await write(log, START, Text("a"))
    reader = Following(takes=0)
    following = log.follow("gen_a", after=BEFORE_FIRST, reader=reader)
    await settled(log)
    written += await write(log, Text("b"))
    await settled(log)
    assert len(reader.deliveries) == 1
    reader.takes = BATCH_RECORDS
    following.resume()
    written += await write(log, DONE)
    await settled(log)
    assert reader.taken == written


@contract
async def a_follower_that_takes_a_part_gets_the_rest_at_once(log: EventLog) -> None:
    texts = [Text(str(number)) for number in range(2 * BATCH_RECORDS)]
    written = await write(log, START, *texts, DONE)
    reader = Following(takes=100)
    log.follow("gen_a", after=BEFORE_FIRST, reader=reader)
    await settled(log)
    assert reader.taken == written
    assert max(map(len, reader.deliveries)) == BATCH_RECORDS


@contract
async def followers_at_different_cursors_each_get_their_records(log: EventLog) -> None:
    written = await write(log, START, Text("a"), Text("b"))
    readers = [Following() for _ in range(3)]
    for after, reader in enumerate(readers, BEFORE_FIRST):
        log.follow("gen_a", after=after, reader=reader)
    await settled(log)
    written += await write(log, DONE)
    await settled(log)
    assert [reader.taken for reader in readers] == [written[at:] for at in range(3)]


@contract
async def followers_at_the_same_cursor_get_the_same_objects(log: EventLog) -> None:
    """A dialect can then encode each record once, even with another follower in between."""
    await write(log, START, *map(Text, "abc"))
    readers = [Following(), Following(takes=1), Following()]
    followings = [
        log.follow("gen_a", after=after, reader=reader)
        for after, reader in zip((0, 1, 0), readers, strict=True)
    ]
    await settled(log)
    first, _, third = (reader.deliveries[0] for reader in readers)
    assert [record.seq for record in first] == [1, 2, 3]
    assert all(one is other for one, other in zip(first, third, strict=True))
    for following in followings:
        following.close()


@contract
async def a_closed_follower_gets_nothing_more(log: EventLog) -> None:
    await write(log, START)
    reader = Following()
    following = log.follow("gen_a", after=BEFORE_FIRST, reader=reader)
    following.close()
    following.resume()
    await write(log, DONE)
    await settled(log)
    assert reader.deliveries == []
    following.close()


@contract
async def a_follower_of_an_unknown_generation_is_lost(log: EventLog) -> None:
    await write(log, START)
    unknown, beyond, left = Following(), Following(), Following()
    log.follow("gen_b", after=BEFORE_FIRST, reader=unknown).resume()
    log.follow("gen_a", after=7, reader=beyond)
    log.follow("gen_b", after=BEFORE_FIRST, reader=left).close()
    assert not unknown.is_lost
    await settled(log)
    await write(log, DONE)
    await settled(log)
    assert (unknown.is_lost, beyond.is_lost, left.is_lost) == (True, True, False)
    assert beyond.deliveries == []
