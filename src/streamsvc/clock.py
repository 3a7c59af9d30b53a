"""The event loop's clock and its queue, at the cost of using them: without finding out which loop it is."""

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel


def clock() -> Callable[[], float]:
    """Return what tells the time of the running event loop, in seconds.

    `anyio.current_time` finds out anew each time which loop that is, which costs more than all else that
    is done for a token.
    """
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:
        return anyio.current_time


def soon() -> Callable[[Callable[[], object]], object]:
    """Return what has a function called in the next turn of the running event loop."""
    try:
        return asyncio.get_running_loop().call_soon
    except RuntimeError:
        token: Any = anyio.lowlevel.current_token().native_token
        run_sync_soon: Callable[[Callable[[], object]], object] = token.run_sync_soon  # trio's
        return run_sync_soon
