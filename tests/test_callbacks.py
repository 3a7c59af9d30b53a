"""Callbacks of the event loop never ask anyio which loop is running."""

import ast
import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

import streamsvc
from streamsvc.eventloop import clock, now, soon_from_threads

SOURCES = Path(streamsvc.__file__).parent
ASKS_FOR_THE_LOOP = {"current_time", "current_token", "current_async_library", "get_async_backend"}


def names(source: Path) -> Iterator[str]:
    """Yield the names that a module imports or reads from another module."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def test_only_the_clock_asks_which_loop_runs() -> None:
    asking = {file.name for file in SOURCES.rglob("*.py") if ASKS_FOR_THE_LOOP & {*names(file)}}
    assert asking == {"eventloop.py"}


async def test_anyio_sees_no_library_in_callbacks_of_the_tests_either() -> None:
    seen: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def ask() -> None:
        try:
            seen.set_result(anyio.current_time())
        except anyio.NoEventLoopError as exc:
            seen.set_result(exc)

    asyncio.get_running_loop().call_soon(ask)
    assert isinstance(await seen, anyio.NoEventLoopError)


@pytest.mark.parametrize("made", ["in a task", "before the loop"])
async def test_the_clock_can_be_read_in_a_callback(made: str) -> None:
    read = clock() if made == "in a task" else now
    times: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    before = anyio.current_time()
    asyncio.get_running_loop().call_soon(lambda: times.set_result(read()))
    assert before <= await times <= anyio.current_time()


def test_a_clock_made_before_the_loop_follows_the_loop() -> None:
    read = clock()

    async def compare() -> bool:
        return read() == pytest.approx(asyncio.get_running_loop().time(), abs=5)

    assert asyncio.run(compare())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_can_call_into_the_loop_until_it_ends(backend: str) -> None:
    async def called() -> Callable[[Callable[[], object]], object]:
        call, came = soon_from_threads(), anyio.Event()
        with anyio.fail_after(10):
            await anyio.to_thread.run_sync(call, came.set)
            await came.wait()
        return call

    call = anyio.run(called, backend=backend)
    with pytest.raises(RuntimeError):
        call(lambda: None)
