"""Turns of the event loop: a measure of work in this process that does not depend on a busy machine."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counting_turns() -> Iterator[Callable[[], int]]:
    """Yield a function that returns how many turns the event loop has taken so far.

    Until the context is left the loop never sleeps, so a turn takes microseconds, and waiting for the kernel counts, too.
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
