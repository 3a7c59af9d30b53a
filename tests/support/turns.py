"""Turns of the event loop: a measure of work in the same process that no busy machine changes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counting_turns() -> Iterator[Callable[[], int]]:
    """Give a function that returns how many turns the running event loop has taken so far.

    The loop never sleeps meanwhile, so a turn costs microseconds, and waiting for the kernel counts too.
    """
    loop = asyncio.get_running_loop()
    turns = 0
    handle: asyncio.Handle

    def count() -> None:
        nonlocal turns, handle
        turns += 1
        handle = loop.call_soon(count)

    handle = loop.call_soon(count)
    try:
        yield lambda: turns
    finally:
        handle.cancel()
