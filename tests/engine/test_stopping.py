"""A stop, the last viewer leaving, or a shutdown ends a generation, and the end names which."""

import anyio
import msgspec
import pytest

from streamsvc.config.settings import GenerationSettings
from streamsvc.events import Done, Outcome, Text, Usage
from support.doubles import HOLD, ScriptedProvider, Step, virtual_backends
from support.generations import DRAINED, GRACE, STOP, Bench, counted, running, stopped

anyio_backend = virtual_backends()


@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize(
    ("script", "usage"),
    [
        ((HOLD,), counted()),
        ((Text("a"), HOLD), counted(1)),
        ((*[1.0, Text("a")] * 99, STOP), counted(10)),
    ],
    ids=["before the first token", "in silence", "between words"],
)
async def test_a_stop_ends_it_at_once_at_any_stage_of_the_call(
    script: tuple[Step, ...], usage: Usage
) -> None:
    async with running(*script) as bench:
        with bench.generation.audience.viewer():
            await anyio.sleep(10.5)
            bench.generation.stop(Outcome.CLIENT_STOP)
            assert await bench.done() == stopped(Outcome.CLIENT_STOP, usage)
            assert anyio.current_time() == pytest.approx(10.5)


@pytest.mark.promise("cancel:stop")
async def test_a_stop_ends_it_while_the_provider_connects() -> None:
    async with running(STOP, entering=HOLD) as bench:
        await anyio.wait_all_tasks_blocked()
        bench.generation.stop(Outcome.CLIENT_STOP)
        assert await bench.done() == stopped(Outcome.CLIENT_STOP, counted())


@pytest.mark.promise("cancel:stop")
async def test_a_stop_before_it_begins_ends_it_too() -> None:
    """If the call is opened at all, it is closed."""
    bench = Bench(ScriptedProvider(HOLD))
    bench.generation.stop(Outcome.CLIENT_STOP)
    with anyio.fail_after(1):
        *_, done = await bench.watched()
    assert done == stopped(Outcome.CLIENT_STOP, counted())


@pytest.mark.promise("cancel:stop")
async def test_the_first_reason_to_stop_stands() -> None:
    async with running(HOLD) as bench:
        for outcome in (Outcome.CLIENT_STOP, Outcome.DRAINED, Outcome.NO_VIEWERS):
            bench.generation.stop(outcome)
        assert await bench.done() == stopped(Outcome.CLIENT_STOP, counted())
        bench.generation.stop(Outcome.DRAINED)
        assert await bench.done() == stopped(Outcome.CLIENT_STOP, counted())


@pytest.mark.promise("cancel:stop")
async def test_the_last_viewer_leaving_after_a_stop_changes_nothing() -> None:
    async with running(HOLD, grace_seconds=0.0) as bench:
        with bench.generation.audience.viewer():
            await anyio.wait_all_tasks_blocked()
            bench.generation.stop(Outcome.CLIENT_STOP)
        assert await bench.done() == stopped(Outcome.CLIENT_STOP, counted())


@pytest.mark.promise("cancel:stop")
async def test_a_stop_after_the_last_viewer_left_keeps_the_reason() -> None:
    async with running(HOLD, grace_seconds=0.0) as bench:
        with bench.generation.audience.viewer():
            await anyio.wait_all_tasks_blocked()
        bench.generation.stop(Outcome.CLIENT_STOP)
        assert await bench.done() == stopped(Outcome.NO_VIEWERS, counted())


@pytest.mark.promise("cancel:stop")
async def test_the_call_is_closed_before_viewers_read_the_end() -> None:
    """A viewer that reads `stopped` can rely on it."""
    async with running(HOLD, leaving=1.0) as bench:
        with bench.generation.audience.viewer():
            await anyio.sleep(1)
            bench.generation.stop(Outcome.CLIENT_STOP)
            await bench.events()
            assert anyio.current_time() == pytest.approx(2)


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize(
    ("grace", "ends_after"), [(None, GRACE), (0.0, 0.0), (2.0, 2.0), (60.0, 60.0)]
)
async def test_without_viewers_it_continues_for_its_grace(
    grace: float | None, ends_after: float
) -> None:
    script: list[Step] = [1.0, Text("a")]
    async with running(*script * 99, STOP, grace_seconds=grace) as bench:
        with bench.generation.audience.viewer():
            await anyio.sleep(1)
        began = anyio.current_time()
        done = await bench.done()
        assert done.usage
        assert done == stopped(Outcome.NO_VIEWERS, counted(done.usage.output_tokens))
        assert done.usage.output_tokens == len(await bench.events()) - 2
        assert anyio.current_time() - began == pytest.approx(ends_after)


@pytest.mark.promise("cancel:disconnect")
async def test_a_generation_without_viewers_ends_after_the_attach_time() -> None:
    script: list[Step] = [1.0, Text("a")]
    async with running(*script * 99, STOP) as bench:
        assert (await bench.done()).outcome is Outcome.NO_VIEWERS
        assert anyio.current_time() == pytest.approx(GenerationSettings().attach_seconds)


@pytest.mark.promise("resume:no-gap")
async def test_a_viewer_that_returns_within_the_grace_has_every_word() -> None:
    words = [Text(str(number)) for number in range(20)]
    script: list[Step] = []
    for word in words:
        script += [1.0, word]
    async with running(*script, STOP) as bench:
        for _ in range(3):
            with bench.generation.audience.viewer():
                await anyio.sleep(1)
            await anyio.sleep(GRACE - 1)
        with bench.generation.audience.viewer():
            assert (await bench.events())[1:-1] == words
        assert (await bench.done()).outcome is Outcome.COMPLETED


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("gap", [-1.0, -1e-9, 0.0, 1e-12, 1e-9, 1.0])
async def test_a_viewer_back_as_the_grace_ends_continues_or_reads_done(gap: float) -> None:
    """It is in time or late, but never hangs, and never reads two ends."""
    async with (
        running(Text("a"), 20.0, Text("b"), STOP) as bench,
        anyio.create_task_group() as tasks,
    ):
        ends: list[Done] = []

        async def come_back(at: float) -> None:
            await anyio.sleep_until(at)
            with bench.generation.audience.viewer():
                ends.append(await bench.done())

        with bench.generation.audience.viewer():
            await anyio.sleep(1)
        tasks.start_soon(come_back, anyio.current_time() + GRACE + gap)
        await bench.generation.wait_ended()
        await anyio.wait_all_tasks_blocked()
        await anyio.sleep(2)
        (end,) = ends
        assert end.outcome in {Outcome.COMPLETED, Outcome.NO_VIEWERS}
        if abs(gap) == 1:
            assert (end.outcome is Outcome.COMPLETED) == (gap < 0)


@pytest.mark.promise("end:exactly-one")
@pytest.mark.promise("drain:no-loss")
@pytest.mark.parametrize(
    ("script", "said"),
    [((HOLD,), 0), ((Text("a"), HOLD), 1), ((Text("a"), 1.0, Text("b"), 1.0, STOP), 1)],
)
@pytest.mark.parametrize("leaving", [0.0, 1.0])
async def test_cancelled_from_outside_it_still_writes_its_end(
    script: tuple[Step, ...], said: int, leaving: float
) -> None:
    """The end says `drained`, not `client_stop`."""
    bench = Bench(ScriptedProvider(*script, leaving=leaving))
    await bench.generation.open_log()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.generation.run)
        await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()
    assert await bench.done() == msgspec.structs.replace(DRAINED, usage=counted(said))


@pytest.mark.promise("cancel:clean")
async def test_a_cancellation_from_outside_is_passed_on() -> None:
    """The cancellation ends the task that runs the generation."""
    bench = Bench(ScriptedProvider(HOLD))
    await bench.generation.open_log()
    with anyio.move_on_after(1) as scope:
        await bench.generation.run()
    assert scope.cancelled_caught


async def test_a_stop_wins_over_a_shutdown_at_the_same_instant() -> None:
    bench = Bench(ScriptedProvider(HOLD))
    await bench.generation.open_log()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.generation.run)
        await anyio.sleep(0.5)
        bench.generation.stop(Outcome.CLIENT_STOP)
        tasks.cancel_scope.cancel()
    assert (await bench.done()).outcome is Outcome.CLIENT_STOP
