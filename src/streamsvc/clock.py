"""The event loop's clock, at the cost of reading it."""

import asyncio
from collections.abc import Callable

import anyio


def clock() -> Callable[[], float]:
    """Return what tells the time of the running event loop, in seconds.

    `anyio.current_time` finds out anew each time which loop that is, which costs more than all else that
    is done for a token.
    """
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:
        return anyio.current_time
