"""Memory: which objects the collector skips, and when freed memory returns to the system."""

import gc
from collections.abc import Iterator

import pytest

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


def test_a_release_frees_cycles() -> None:
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
