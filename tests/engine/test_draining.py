"""At shutdown the supervisor takes no new work, waits for running generations, and ends the rest."""

import logging

import anyio
import pytest
from typing_extensions import override

from streamsvc.errors import Draining, Overloaded
from streamsvc.events import Outcome, Status, Text
from support.doubles import HOLD, ScriptedProvider, SlowLog, virtual_backends
from support.supervisors import REQUEST, STOP, Bench, supervising

anyio_backend = virtual_backends()


@pytest.mark.promise("drain:no-loss")
async def test_a_drain_refuses_new_work_and_waits_for_running_answers() -> None:
    async with supervising(3.0, Text("a"), 3.0, STOP) as bench, anyio.create_task_group() as tasks:
        first = await bench.create(REQUEST)
        await anyio.sleep(1)
        second = await bench.create(REQUEST)
        began = anyio.current_time()
        was_draining = bench.is_draining
        tasks.start_soon(bench.drain, 60.0)
        await anyio.wait_all_tasks_blocked()
        assert (was_draining, bench.is_draining) == (False, True)
        with pytest.raises(Draining):
            await bench.create(REQUEST)
        for generation in (first, second):
            with bench.viewer(generation):
                assert (await bench.done(generation)).status is Status.COMPLETED
        assert anyio.current_time() - began == pytest.approx(6, abs=0.001)
        await anyio.wait_all_tasks_blocked()
        assert bench.running == 0


@pytest.mark.promise("drain:no-loss")
@pytest.mark.parametrize("seconds", [0.0, 5.0])
async def test_a_drain_ends_what_still_runs_at_its_deadline(
    caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    caplog.set_level(logging.INFO)
    async with supervising(Text("a"), HOLD) as bench:
        generations = [await bench.create(REQUEST) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        await bench.drain(seconds)
        assert anyio.current_time() - began == pytest.approx(seconds, abs=0.001)
        assert bench.running == 0
        for generation in generations:
            done = await bench.done(generation)
            assert (done.status, done.outcome) == (Status.FAILED, Outcome.DRAINED)
            assert done.error is not None
            assert (done.error.code, done.error.retryable) == ("drained", True)
    logged = [record.getMessage() for record in caplog.records if "drain." in record.getMessage()]
    started = f"drain.started generations=3 viewers=0 seconds={seconds:.3f}"
    assert logged == [f"{started} (a second signal ends the wait)", "drain.finished cut=3"]


async def test_a_drain_returns_at_once_when_nothing_runs() -> None:
    async with supervising(Text("a"), STOP) as bench:
        await bench.done(await bench.create(REQUEST))
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        await bench.drain(60)
        assert anyio.current_time() == began


@pytest.mark.promise("drain:no-loss")
async def test_a_stop_during_a_drain_is_reported_as_a_stop() -> None:
    """Its viewers see `client_stop`; those of the other generation see `drained`."""
    async with supervising(HOLD) as bench, anyio.create_task_group() as tasks:
        stopped, cut = await bench.create(REQUEST), await bench.create(REQUEST)
        tasks.start_soon(bench.drain, 5.0)
        await anyio.sleep(1)
        await bench.stop(stopped)
        assert (await bench.done(stopped)).outcome is Outcome.CLIENT_STOP
        assert (await bench.done(cut)).outcome is Outcome.DRAINED


@pytest.mark.promise("drain:no-loss")
@pytest.mark.promise("cancel:clean")
async def test_leaving_the_supervisor_ends_even_a_new_generation() -> None:
    provider = ScriptedProvider(Text("a"), HOLD)
    async with Bench({"fake": provider}) as bench:
        old = await bench.create(REQUEST)
        await anyio.wait_all_tasks_blocked()
        new = await bench.create(REQUEST)
    for generation in (old, new):
        assert (await bench.done(generation)).outcome is Outcome.DRAINED
    assert bench.running == 0
    assert provider.opened == provider.closed


class FullLog(SlowLog):
    """A log that is full, and takes a second to say so."""

    @override
    async def flush(self, generation: str) -> None:
        await anyio.sleep(1)
        raise Overloaded("generations.max_total_log_bytes")


@pytest.mark.promise("drain:no-loss")
async def test_a_drain_does_not_wait_for_a_generation_that_never_starts() -> None:
    providers = {"fake": ScriptedProvider(Text("a"), STOP)}

    async def create(bench: Bench) -> None:
        with pytest.raises(Overloaded):
            await bench.create(REQUEST)

    async with Bench(providers, log=FullLog) as bench, anyio.create_task_group() as tasks:
        tasks.start_soon(create, bench)
        await anyio.wait_all_tasks_blocked()
        assert bench.running == 1
        began = anyio.current_time()
        await bench.drain(60)
        assert anyio.current_time() - began == pytest.approx(1, abs=0.001)


async def test_concurrent_drains_both_return_when_nothing_runs() -> None:
    async with supervising(Text("a"), 2.0, STOP) as bench:
        generation = await bench.create(REQUEST)
        began = anyio.current_time()
        with bench.viewer(generation):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bench.drain, 100)
                tasks.start_soon(bench.drain, 100)
        assert anyio.current_time() - began < 10
