"""Viewers decide how long a generation may continue; the deadline of its cancel scope is the clock."""

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import product
from typing import ClassVar

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from streamsvc.engine.audience import TRANSITIONS, Audience, Move, State
from streamsvc.engine.stopping import StopScope
from support.doubles import run_in_virtual_time, virtual_backends

anyio_backend = virtual_backends()

ATTACH = 30.0
GRACE = 5.0


class Watched:
    """A task that runs until its audience ends it.

    Attributes:
        audience: its audience.
        scope: its cancel scope.
        ended_at: the time of its cancellation, in seconds after its start; None while it runs.
    """

    def __init__(self, grace_seconds: float) -> None:
        self.stop_scope = StopScope()
        self.scope = self.stop_scope.scope
        self.audience = Audience(
            self.stop_scope, attach_seconds=ATTACH, grace_seconds=grace_seconds
        )
        self.ended_at: float | None = None
        self._began = anyio.current_time()

    async def run(self) -> None:
        with self.scope:
            await anyio.sleep_forever()
        self.ended_at = anyio.current_time() - self._began


@asynccontextmanager
async def watched(grace_seconds: float = GRACE) -> AsyncIterator[Watched]:
    """Run a task with an audience; leaving cancels it."""
    it = Watched(grace_seconds)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(it.run)
        yield it
        tasks.cancel_scope.cancel()


async def test_without_a_first_viewer_it_ends_after_the_attach_time() -> None:
    async with watched() as it:
        await anyio.sleep(10 * ATTACH)
        assert it.ended_at == ATTACH


async def test_with_a_viewer_it_never_ends() -> None:
    async with watched() as it:
        with it.audience.viewer():
            await anyio.sleep(80_000)
            assert it.ended_at is None
            assert it.audience.state is State.WATCHING


@pytest.mark.promise("cancel:disconnect")
async def test_without_grace_it_ends_with_the_last_viewer() -> None:
    async with watched(grace_seconds=0) as it:
        await anyio.sleep(1)
        with it.audience.viewer():
            with it.audience.viewer():
                await anyio.sleep(1)
            await anyio.wait_all_tasks_blocked()
            assert it.ended_at is None
        await anyio.wait_all_tasks_blocked()
        assert it.ended_at == 2


@pytest.mark.promise("cancel:disconnect")
async def test_a_viewer_that_leaves_early_counts_once() -> None:
    """A connection leaves in its callback, before the task of the viewer runs."""
    async with watched(grace_seconds=0) as it:
        with it.audience.viewer() as first, it.audience.viewer() as second:
            first.leave()
            first.leave()
            await anyio.wait_all_tasks_blocked()
            assert it.audience.state is State.WATCHING
            second.leave()
            await anyio.wait_all_tasks_blocked()
            assert it.ended_at == 0


async def test_without_grace_it_ends_if_the_viewer_leaves_before_it_runs() -> None:
    """A viewer may be faster than the task that runs the generation."""
    it = Watched(grace_seconds=0)
    with it.audience.viewer():
        pass
    with anyio.fail_after(1):
        await it.run()
    assert it.ended_at == 0


@pytest.mark.promise("cancel:disconnect")
async def test_with_grace_it_continues_for_the_grace() -> None:
    async with watched() as it:
        with it.audience.viewer():
            await anyio.sleep(100)
        assert it.audience.state is State.AWAY
        await anyio.sleep(10 * GRACE)
        assert it.ended_at == 100 + GRACE


async def test_a_viewer_that_returns_within_the_grace_stops_the_clock() -> None:
    """The next grace has its full length again."""
    async with watched() as it:
        for _ in range(10):
            with it.audience.viewer():
                await anyio.sleep(1)
            await anyio.sleep(GRACE - 1)
        assert it.ended_at is None
        await anyio.sleep(10 * GRACE)
        assert it.ended_at == 10 * GRACE + 1


@pytest.mark.parametrize("gap", [-1.0, -1e-9, 0.0, 1e-12, 1e-9, 1.0])
@pytest.mark.parametrize("joins_first", [True, False])
async def test_a_viewer_at_the_end_of_the_grace_is_in_time_or_late(
    gap: float, *, joins_first: bool
) -> None:
    """The generation continues if its scope is not yet cancelled when the viewer joins."""
    async with watched() as it, anyio.create_task_group() as tasks:
        was_late: list[bool] = []

        async def join(at: float) -> None:
            await anyio.sleep_until(at)
            with it.audience.viewer():
                was_late.append(it.scope.cancel_called)
                await anyio.sleep(1000)

        async def leave() -> None:
            with it.audience.viewer():
                await anyio.sleep(1)

        # The two timers may fire in the order in which they are set.
        end = anyio.current_time() + 1 + GRACE
        if joins_first:
            tasks.start_soon(join, end + gap)
            await anyio.wait_all_tasks_blocked()
        await leave()
        if not joins_first:
            tasks.start_soon(join, end + gap)
        await anyio.sleep(500)
        assert was_late == [it.ended_at is not None]
        if abs(gap) == 1:
            assert was_late == [gap > 0]
        tasks.cancel_scope.cancel()


class RecordedAudience(Audience):
    """Records its look-ups in the table."""

    asked: ClassVar[set[tuple[State, Move]]] = set()

    @override
    def _move(self, move: Move) -> None:
        self.asked.add((self.state, move))
        super()._move(move)


async def test_the_table_has_exactly_the_pairs_that_can_occur() -> None:
    """The test tries every order of joins and leaves."""
    for joins_at in product([True, False], repeat=8):
        audience = RecordedAudience(StopScope(), attach_seconds=1, grace_seconds=1)
        with ExitStack() as viewers:
            for joins in joins_at:
                if joins:
                    viewers.enter_context(audience.viewer())
                else:
                    viewers.close()
    assert RecordedAudience.asked == set(TRANSITIONS)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.just("join"),
            st.integers(0, 5),
            st.sampled_from([0.0, 0.5, 1.0, GRACE - 0.5, GRACE, ATTACH - 0.5, ATTACH]),
        ),
        max_size=25,
    ),
    grace=st.sampled_from([0.0, 1.0, GRACE]),
)
def test_it_ends_at_the_right_time_for_any_joins_and_leaves(
    backend: str, steps: Sequence[str | int | float], grace: float
) -> None:
    """A model of three lines predicts the time. A step is a join, the number of a viewer to leave, or a wait."""

    async def check() -> None:
        viewers: list[ExitStack] = []
        deadline = ATTACH
        now = 0.0
        async with watched(grace) as it:
            for step in steps:
                if step == "join":
                    viewers.append(ExitStack())
                    viewers[-1].enter_context(it.audience.viewer())
                    deadline = math.inf if now < deadline else deadline
                elif isinstance(step, float):
                    await anyio.sleep(step)
                    now += step
                elif isinstance(step, int) and viewers:
                    viewers.pop(step % len(viewers)).close()
                    if not viewers and now < deadline:
                        deadline = now + grace
                await anyio.wait_all_tasks_blocked()
                assert (it.audience.state is State.WATCHING) == bool(viewers)
                assert it.ended_at == (deadline if now >= deadline else None)
            for viewer in viewers:
                viewer.close()

    run_in_virtual_time(backend, check)
