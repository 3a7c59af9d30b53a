"""A stop of a generation by its id: idempotent, and finished when it returns."""

import anyio
import pytest

from streamsvc.errors import GenerationNotFound
from streamsvc.events import Done, Outcome, Text
from support.doubles import HOLD, ScriptedProvider, virtual_backends
from support.supervisors import KEEP, REQUEST, STOP, Bench, supervising

anyio_backend = virtual_backends()


@pytest.mark.promise("cancel:stop")
async def test_a_stop_returns_after_the_end_and_may_be_repeated() -> None:
    async with supervising(Text("a"), HOLD) as bench:
        generation = await bench.create(REQUEST)
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            await bench.stop(generation)
            *_, last = await bench.log.read(generation, after=-1)
            assert isinstance(last.event, Done)
            assert last.event.outcome is Outcome.CLIENT_STOP


@pytest.mark.promise("cancel:stop")
async def test_a_stop_does_not_change_an_ended_generation() -> None:
    async with supervising(Text("a"), STOP) as bench:
        generation = await bench.create(REQUEST)
        done = await bench.done(generation)
        await bench.stop(generation)
        assert await bench.done(generation) == done


@pytest.mark.promise("cancel:stop")
async def test_concurrent_stops_end_it_once() -> None:
    async with supervising(HOLD) as bench:
        generation = await bench.create(REQUEST)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(bench.stop, generation)
        assert (await bench.done(generation)).outcome is Outcome.CLIENT_STOP


@pytest.mark.promise("input:clear-error")
async def test_a_stop_of_an_unknown_or_dropped_id_is_not_found() -> None:
    async with supervising(Text("a"), STOP) as bench:
        with pytest.raises(GenerationNotFound):
            await bench.stop("gen_never")
        generation = await bench.create(REQUEST)
        await anyio.sleep(KEEP + 1)
        with pytest.raises(GenerationNotFound):
            await bench.stop(generation)


@pytest.mark.promise("cancel:stop")
async def test_a_stop_does_not_wait_long_for_a_provider_to_close() -> None:
    provider = ScriptedProvider(HOLD, leaving=60.0)
    async with Bench({"fake": provider}) as bench:
        generation = await bench.create(REQUEST)
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        await bench.stop(generation)
        assert anyio.current_time() - began < 10
