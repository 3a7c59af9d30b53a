"""What every event log that several processes can write does at a take-over, as checks that take a log.

A test of an implementation runs every check of `TAKEOVERS` with a log whose generations another process has written
so far, and a function that has this process take over one of them.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import anyio
import pytest
from typing_extensions import override

from conformance import DONE, START, Following, settled
from streamsvc.errors import CursorLost, CursorReplaced
from streamsvc.eventlog.base import BATCH_RECORDS, BEFORE_FIRST, EPOCH_SEQS, EventLog, LogEnded
from streamsvc.events import Event, Record, Text
from support.stored import stored_records


class Subject(Protocol):
    """A log, and the other process that has written it so far."""

    @property
    def log(self) -> EventLog:
        """The log of this process."""
        ...

    async def other_writes(self, *events: Event) -> None:
        """Have the other process append to `gen_a`, and have it stored; its first event is a `Start`."""
        ...

    async def take_over(self) -> None:
        """Make this process the writer of `gen_a`."""
        ...


Check = Callable[[Subject], Awaitable[None]]

TAKEOVERS: list[Check] = []


def contract(check: Check) -> Check:
    """Add a check to `TAKEOVERS`."""
    TAKEOVERS.append(check)
    return check


def numbered(*events: Event, first: int = 0) -> list[Record]:
    return [Record("gen_a", seq, event) for seq, event in enumerate(events, first)]


async def taken(subject: Subject, *events: Event) -> list[Record]:
    """Append to the log after a take-over; return the records that these events should become."""
    for event in events:
        subject.log.append("gen_a", event)
    await subject.log.flush("gen_a")
    return numbered(*events, first=EPOCH_SEQS)


class Watched(Following):
    """A reader that can be waited for: a store may be in between."""

    def __init__(self, takes: int = BATCH_RECORDS) -> None:
        super().__init__(takes)
        self._called = anyio.Event()

    @override
    def deliver(self, records: Sequence[Record]) -> int:
        self._called.set()
        return super().deliver(records)

    @override
    def lost(self) -> None:
        self._called.set()
        super().lost()

    @override
    def interrupted(self) -> None:
        self._called.set()
        super().interrupted()

    async def until(self, condition: Callable[["Watched"], object]) -> None:
        """Wait until something is true of this reader."""
        with anyio.fail_after(10):
            while not condition(self):
                self._called = anyio.Event()
                await self._called.wait()


@contract
async def after_a_take_over_the_numbers_go_on_from_the_next_epoch(subject: Subject) -> None:
    await subject.other_writes(START, Text("a"))
    await subject.take_over()
    written = numbered(START, Text("a")) + await taken(subject, Text("b"), DONE)
    assert [record async for record in stored_records(subject.log, "gen_a")] == written
    for position, record in enumerate(written[:-1]):
        after = [*await subject.log.read("gen_a", after=record.seq)]
        assert after
        assert after == written[position + 1 : position + 1 + len(after)]
    with pytest.raises(LogEnded):
        await subject.log.read("gen_a", after=EPOCH_SEQS + 1)


@contract
async def a_follower_passes_from_one_epoch_to_the_next(subject: Subject) -> None:
    await subject.other_writes(START, Text("a"))
    early, late = Watched(), Watched(takes=1)
    subject.log.follow("gen_a", after=BEFORE_FIRST, reader=early)
    await early.until(lambda it: len(it.taken) == 2)
    await subject.take_over()
    written = numbered(START, Text("a")) + await taken(subject, Text("b"))
    subject.log.follow("gen_a", after=0, reader=late)
    await taken(subject, DONE)
    written += numbered(DONE, first=EPOCH_SEQS + 1)
    await early.until(lambda it: len(it.taken) >= 4)
    await late.until(lambda it: len(it.taken) >= 3)
    assert early.taken == written
    assert late.taken == written[1:]


@contract
async def a_batch_may_end_at_a_take_over_and_lacks_nothing(subject: Subject) -> None:
    texts: Sequence[Event] = [Text(str(number)) for number in range(BATCH_RECORDS + 10)]
    await subject.other_writes(START, *texts)
    await subject.take_over()
    written = numbered(START, *texts) + await taken(subject, *texts, DONE)
    reader = Watched(takes=100)
    subject.log.follow("gen_a", after=3, reader=reader)
    await reader.until(lambda it: len(it.taken) >= len(written) - 4)
    assert reader.taken == written[4:]
    assert [record async for record in stored_records(subject.log, "gen_a")] == written


@contract
async def a_cursor_that_was_never_stored_is_replaced(subject: Subject) -> None:
    """The viewer has words that nobody else will ever have: a replay from the start shows the answer."""
    await subject.other_writes(START, Text("a"))
    await subject.take_over()
    await taken(subject, Text("b"))
    for after in (2, 57, EPOCH_SEQS - 1):
        with pytest.raises(CursorReplaced):
            await subject.log.read("gen_a", after=after, wait_seconds=1)
        reader = Watched()
        following = subject.log.follow("gen_a", after=after, reader=reader)
        await reader.until(lambda it: it.is_interrupted)
        following.resume()
        await settled(subject.log)
        assert (reader.deliveries, reader.is_lost) == ([], False)


@contract
async def a_cursor_beyond_all_epochs_is_lost(subject: Subject) -> None:
    await subject.other_writes(START, Text("a"))
    await subject.take_over()
    await taken(subject, Text("b"), DONE)
    for after in (EPOCH_SEQS + 2, 2 * EPOCH_SEQS, 999 * EPOCH_SEQS):
        with pytest.raises(CursorLost) as lost:
            await subject.log.read("gen_a", after=after, wait_seconds=1)
        assert lost.type is CursorLost
        reader = Watched()
        subject.log.follow("gen_a", after=after, reader=reader)
        await reader.until(lambda it: it.is_lost)
        assert not reader.is_interrupted
