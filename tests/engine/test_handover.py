"""At the end of a drain, what still runs is handed over to another process, if there may be one."""

import logging
from itertools import pairwise
from typing import Any

import anyio
import pytest

from streamsvc.eventlog.base import BEFORE_FIRST
from streamsvc.events import Done, Event, Outcome, Progress, Text
from support.doubles import HOLD, ScriptedProvider, virtual_backends
from support.shared_store import SharedStore, Taking, Worker, workers
from support.supervisors import REQUEST, STOP

anyio_backend = virtual_backends()


def drain_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    return [line for line in lines if line.startswith("drain.finished")]


@pytest.mark.promise("drain:no-loss")
@pytest.mark.promise("resume:no-gap")
async def test_what_still_runs_at_the_end_of_a_drain_goes_on_elsewhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    store = SharedStore()
    old = ScriptedProvider(Text("a"), HOLD)
    leaving = Worker(store, {"fake": old})
    staying = Worker(store, {"fake": ScriptedProvider(Text("a"), Text("b"), STOP)})
    async with workers(leaving, staying):
        generations = [await leaving.start(REQUEST) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        reader = Taking()
        leaving.log.follow(generations[0], after=BEFORE_FIRST, reader=reader)
        began = anyio.current_time()
        await leaving.drain(3)
        assert anyio.current_time() - began == pytest.approx(3, abs=0.001)
        assert (leaving.running, old.opened, old.closed) == (0, 3, 3)
        assert reader.is_interrupted
        seen = [await staying.events(generation) for generation in generations]
    retrying = Progress(state="retrying", provider="fake", reason="worker_lost")
    for events in seen:
        assert events[1:-1] == [Text("a"), retrying, Text("b")]
    assert drain_lines(caplog) == ["drain.finished cut=0 handed_over=3"]
    for generation in generations:
        assert f"generation.handed_over id={generation} provider=fake" in caplog.text


async def cut(
    caplog: pytest.LogCaptureFixture, *, keep_request: bool = True, hanging: bool = False, **kw: Any
) -> Done:
    """Return the end that a drained process gives a generation."""
    caplog.set_level(logging.INFO)
    store = SharedStore()
    leaving = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)}, **kw)
    leaving.directory.hanging = hanging
    async with workers(leaving):
        generation = await leaving.create(REQUEST)
        if keep_request:
            leaving.directory.request_of(generation)
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        await leaving.drain(1)
        assert anyio.current_time() - began <= 1 + 3.001
        event: Event = store.kept[generation].records[-1].event
    assert isinstance(event, Done)
    assert drain_lines(caplog) == ["drain.finished cut=1"]
    return event


@pytest.mark.promise("drain:no-loss")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    "why",
    [{"generations": {"rescue": False}}, {"keep_request": False}, {"hanging": True}],
    ids=["rescue is off", "unknown request", "handing over hangs"],
)
async def test_what_cannot_be_handed_over_is_cut(
    why: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    done = await cut(caplog, **why)
    assert done.outcome is Outcome.DRAINED
    assert done.usage is not None


@pytest.mark.promise("drain:no-loss")
async def test_a_process_that_ends_without_a_drain_hands_over_too() -> None:
    store = SharedStore()
    leaving = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    staying = Worker(store, {"fake": ScriptedProvider(Text("a"), STOP)})
    async with workers(staying):
        async with leaving:
            generation = await leaving.start(REQUEST)
            await anyio.wait_all_tasks_blocked()
        done = (await staying.events(generation))[-1]
    assert isinstance(done, Done)
    assert done.outcome is Outcome.COMPLETED


@pytest.mark.promise("drain:no-loss")
async def test_a_generation_is_handed_over_as_often_as_it_takes() -> None:
    """A restart of many workers may hand it from one to the next."""
    store = SharedStore()
    some = [Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)}) for _ in range(6)]
    async with workers(*some):
        for worker in some[1:]:
            worker.log.is_dead = True  # it notices nothing yet
        generation = await some[0].start(REQUEST)
        for worker, following in pairwise(some):
            await anyio.wait_all_tasks_blocked()
            assert worker.running == 1
            following.log.is_dead = False
            await worker.drain(0)
        await anyio.wait_all_tasks_blocked()
        assert some[-1].running == 1
        assert store.kept[generation].epoch == 5


@pytest.mark.promise("drain:no-loss")
async def test_a_draining_process_takes_over_until_it_ends() -> None:
    """Its viewers would wait for the end of the drain before they could look elsewhere."""
    store = SharedStore()
    dying = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    draining = Worker(store, {"fake": ScriptedProvider(Text("a"), Text("b"), 1.0, STOP)})
    async with workers(dying, draining), anyio.create_task_group() as tasks:
        generation = await dying.start(REQUEST)
        late = await dying.start(REQUEST)
        own = await draining.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(draining.events, own)
        tasks.start_soon(draining.drain, 60)
        await anyio.wait_all_tasks_blocked()
        assert draining.is_draining
        dying.log.is_dead = True
        store.lapse(generation)
        done = (await draining.events(generation))[-1]
        assert isinstance(done, Done)
        assert done.outcome is Outcome.COMPLETED
        await anyio.sleep(1)
        store.lapse(late)
        await anyio.wait_all_tasks_blocked()
        assert draining.running == 0
        assert draining.directory.takes == [generation]
