"""The event loop's clock, queue and timers, for tasks and for callbacks of the loop alike.

A callback has no task, and anyio finds the loop by the task: `anyio.current_time` raises `NoEventLoopError`
in a callback of a loop that `asyncio.run` has started, as uvicorn does. So only this module asks which loop
it is.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import anyio
import anyio.lowlevel


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> object:
        """Drop the call; one that was made or dropped before stays so."""
        ...


def now() -> float:
    """Return the time of the running event loop, in seconds."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return anyio.current_time()  # trio's, which has no callbacks


def clock() -> Callable[[], float]:
    """Return what tells the time of the running event loop, in seconds, at the cost of reading it.

    Made before a loop runs, it looks for the loop at each call, as `now` does.
    """
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:
        return now


def soon() -> Callable[[Callable[[], object]], object]:
    """Return what has a function called in the next turn of the running event loop."""
    try:
        return asyncio.get_running_loop().call_soon
    except RuntimeError:
        token: Any = anyio.lowlevel.current_token().native_token
        run_sync_soon: Callable[[Callable[[], object]], object] = token.run_sync_soon  # trio's
        return run_sync_soon


def timers() -> Callable[[float, Callable[[], object]], Timer]:
    """Return what has a function called at a time of the running event loop's clock.

    It is called where timers fire, outside of any task, and must not raise.
    """
    try:
        return asyncio.get_running_loop().call_at
    except RuntimeError:
        import trio  # noqa: PLC0415  # only where it runs already

        def call_at(when: float, call: Callable[[], object]) -> Timer:
            scope = trio.CancelScope()

            async def wait() -> None:
                with scope:
                    await trio.sleep_until(when)
                    call()

            trio.lowlevel.spawn_system_task(wait)
            return scope

        return call_at
