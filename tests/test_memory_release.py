"""Memory: which objects the collector skips, and when freed memory returns to the system."""

import asyncio
import gc
import sys
import time
from collections.abc import Iterator

import anyio
import pytest
import uvloop

from streamsvc.server import memory
from streamsvc.server.memory import PeakWatch


@pytest.fixture
def restored_collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def releases_after(*connections: int) -> list[int]:
    """Return the seconds at which memory is released, given the number of open connections in each second."""
    released: list[int] = []
    now = 0
    watch = PeakWatch(lambda: released.append(now))
    for now, count in enumerate(connections):  # noqa: B007  # the watch's clock
        watch.observe(count)
    return released


def test_memory_is_released_after_three_quiet_seconds() -> None:
    assert releases_after(64, 4, 4, 4, 4, 4) == [3]


def test_memory_is_released_once_for_each_peak() -> None:
    assert releases_after(64, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0) == [3, 10]


@pytest.mark.parametrize(
    "connections",
    [(63, 0, 0, 0, 0), (64, 5, 5, 5, 5), (64, 4, 4, 64, 4, 4)],
    ids=["few connections", "many are left", "they come back"],
)
def test_memory_is_not_released(connections: tuple[int, ...]) -> None:
    assert releases_after(*connections) == []


@pytest.mark.usefixtures("restored_collector")
def test_objects_of_the_start_are_excluded_from_collections() -> None:
    memory.freeze()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] > 700


async def test_a_release_frees_cycles() -> None:
    freed: list[str] = []

    class Node:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            freed.append("node")

    gc.collect()
    Node()
    assert freed == []
    memory.release()
    assert freed == ["node"]


async def test_a_release_frees_names_of_looked_up_attributes() -> None:
    name = str(time.time())  # not interned
    before = sys.getrefcount(name)
    getattr(object(), name, None)
    memory.release()
    assert sys.getrefcount(name) == before


def test_a_release_frees_the_timers_that_the_loop_keeps() -> None:
    async def addresses() -> set[int]:
        timers = [asyncio.get_running_loop().call_later(60, int) for _ in range(240)]
        for timer in timers:
            timer.cancel()
        return set(map(id, timers))

    async def kept_before_and_after() -> tuple[set[int], set[int]]:
        before = await addresses()
        await anyio.sleep(0.1)  # uvloop frees them in its next iteration
        assert await addresses() & before
        await anyio.sleep(0.1)
        memory.release()
        await anyio.sleep(0.1)
        return before, await addresses()

    before, after = uvloop.run(kept_before_and_after())
    assert not before & after
