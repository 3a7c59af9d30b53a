"""A process that has been taken over writes nothing more, and one that cannot use the store begins nothing."""

import logging
from collections.abc import Callable, Sequence

import anyio
import pytest
from typing_extensions import override

from streamsvc.errors import Overloaded, StoreUnavailable
from streamsvc.eventlog.base import BEFORE_FIRST, EPOCH_SEQS
from streamsvc.events import Delta, Event, Outcome, Start, Text
from streamsvc.messages import Prompt
from streamsvc.providers.base import Finish, Provider
from support.doubles import HOLD, ScriptedProvider, Step, virtual_backends
from support.shared_store import SharedStore, Taking, Worker, workers
from support.supervisors import REQUEST, STOP

anyio_backend = virtual_backends()


class Pair:
    """A process that is taken over in the middle of an answer, and the one that takes over.

    Attributes:
        go_on: lets the first process's provider go on.
    """

    def __init__(self, *then: Step) -> None:
        self.go_on = anyio.Event()
        self.store = SharedStore()
        self.slow = ScriptedProvider(Text("a"), self.go_on, *then)
        self.first = Worker(self.store, {"fake": self.slow})
        self.second = Worker(
            self.store, {"fake": ScriptedProvider(Text("a"), Text("b"), 1.0, STOP)}
        )

    async def start(self) -> str:
        """Have the first process begin, and the second one take over, which the first one does not notice."""
        generation = await self.first.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        self.first.fall_asleep(generation)
        await anyio.wait_all_tasks_blocked()
        assert self.second.running == 1
        return generation


def lines_of(caplog: pytest.LogCaptureFixture, generation: str) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    return [line.split(" provider=")[0] for line in lines if f"id={generation}" in line]


@pytest.mark.promise("cancel:clean")
@pytest.mark.promise("scale:one-writer")
@pytest.mark.parametrize("then", [[Text("other"), HOLD], [STOP], [Text("other"), STOP]])
async def test_an_owner_that_was_taken_over_writes_nothing(
    then: Sequence[Step], caplog: pytest.LogCaptureFixture
) -> None:
    """It learns it from the log, be it at a word or at the end, and its provider call is closed."""
    caplog.set_level(logging.INFO)
    pair = Pair(*then)
    async with workers(pair.first, pair.second):
        generation = await pair.start()
        caplog.clear()
        pair.go_on.set()
        await anyio.wait_all_tasks_blocked()
        assert (pair.first.running, pair.slow.opened, pair.slow.closed) == (0, 1, 1)
        assert lines_of(caplog, generation) == [f"generation.taken_over id={generation}"]
        events = await pair.second.events(generation)
    assert [event for event in events if isinstance(event, Text)] == [Text("a"), Text("b")]
    assert lines_of(caplog, generation)[1:] == [f"generation.finished id={generation}"]


@pytest.mark.promise("cancel:clean")
async def test_an_owner_that_its_directory_stops_writes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    pair = Pair(HOLD)
    async with workers(pair.first, pair.second):
        generation = await pair.start()
        (running,) = pair.first.directory.running_here
        pair.first.log.memory.drop(generation)  # as a process that has nobody left to tell
        running.stop(Outcome.UPSTREAM_LOST)
        await running.wait_ended()
        await anyio.wait_all_tasks_blocked()
        assert pair.first.running == 0
        assert f"generation.taken_over id={generation}" in caplog.text
        assert "log.failed" not in caplog.text
        await pair.second.events(generation)


async def test_words_that_come_after_the_log_is_gone_are_no_crash(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A provider's callback may emit several words before the cancellation reaches it."""
    caplog.set_level(logging.INFO)
    store = SharedStore()

    class Emits(Provider):
        @override
        async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
            (running,) = first.directory.running_here
            running.stop(Outcome.UPSTREAM_LOST)
            del store.kept[running.id]
            emit(Text("late"))
            return STOP

    first = Worker(store, {"fake": Emits()})
    async with workers(first):
        await first.create(REQUEST)
        await anyio.wait_all_tasks_blocked()
    assert "generation.taken_over" in caplog.text
    assert "generation.crashed" not in caplog.text


@pytest.mark.promise("resume:no-gap")
async def test_viewers_of_an_owner_that_was_taken_over_go_on_from_a_copy() -> None:
    """Viewers that have words which were never stored leave: nobody else will ever have these words."""
    pair = Pair(HOLD)
    async with workers(pair.first, pair.second):
        generation = await pair.first.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        stored, ahead = Taking(), Taking()
        pair.first.log.follow(generation, after=BEFORE_FIRST, reader=stored)
        await anyio.wait_all_tasks_blocked()
        pair.first.log.is_slow = True
        pair.first.log.append(generation, Text("unstored"))
        pair.first.log.follow(generation, after=2, reader=ahead)
        pair.first.fall_asleep(generation)
        await anyio.wait_all_tasks_blocked()
        pair.first.log.lose(generation)
        (running,) = pair.first.directory.running_here
        running.stop(Outcome.UPSTREAM_LOST)
        await pair.second.events(generation)
        await anyio.wait_all_tasks_blocked()
    assert ahead.is_interrupted
    assert stored.is_interrupted is (Text("unstored") in [it.event for it in stored.taken])
    late = Taking()
    pair.first.log.follow(generation, after=1, reader=late)
    await anyio.wait_all_tasks_blocked()
    assert [record.seq for record in late.taken][:2] == [EPOCH_SEQS, EPOCH_SEQS + 1]


@pytest.mark.promise("input:clear-error")
async def test_without_a_store_nothing_begins_and_nothing_is_left() -> None:
    store, provider = SharedStore(), ScriptedProvider(Text("a"), STOP)
    worker = Worker(store, {"fake": provider}, room=1, max_generations=1)
    async with workers(worker):
        store.is_down = True
        with pytest.raises(StoreUnavailable):
            await worker.create(REQUEST)
        store.is_down = False
        assert (worker.running, worker._data_bytes) == (0, 0)
        await worker.events(await worker.create(REQUEST))
    assert provider.opened == 1


class Slow(Worker):
    """Takes time to begin a generation, and fails or is taken over in the meantime.

    Attributes:
        fails: what happens while the `Start` is being stored.
    """

    fails: str = ""

    def begin_slowly(self) -> None:
        flush = self.log.flush

        async def slow_flush(generation: str) -> None:
            await anyio.sleep(1)
            if self.fails == "lost":
                self.store.kept[generation].owner = None
            if self.fails == "down":
                self.store.is_down = True
                self.store.kept[generation].records.clear()
            await flush(generation)

        self.log.flush = slow_flush  # type: ignore[method-assign]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("fails", ["lost", "down"])
async def test_a_start_that_cannot_be_stored_is_refused(fails: str) -> None:
    """Also if it took so long that another process may have taken it over."""
    provider = ScriptedProvider(Text("a"), STOP)
    worker = Slow(SharedStore(), {"fake": provider})
    worker.begin_slowly()
    worker.fails = fails
    async with workers(worker):
        with pytest.raises(StoreUnavailable) as refused:
            await worker.create(REQUEST)
        assert isinstance(refused.value, Overloaded)
        assert (worker.running, worker._data_bytes, provider.opened) == (0, 0, 0)


@pytest.mark.promise("cancel:clean")
async def test_a_request_that_is_cancelled_while_it_begins_leaves_no_log_open() -> None:
    """The `Start` may be stored: without an end, other processes would take it over."""
    worker = Slow(SharedStore(), {"fake": ScriptedProvider(Text("a"), HOLD)})
    worker.begin_slowly()
    async with workers(worker):
        with anyio.move_on_after(0.5) as request:
            await worker.create(REQUEST)
        assert request.cancel_called
        ((generation, kept),) = worker.store.kept.items()
        events: list[Event] = [record.event for record in kept.records]
        assert isinstance(events[0], Start)
        await anyio.sleep(20)
        assert kept.records[-1].generation == generation
        assert kept.outcome is Outcome.NO_VIEWERS
        assert worker.running == 0
