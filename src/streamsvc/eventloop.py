"""The event loop's clock, queue, timers and tasks, for tasks and for callbacks of the loop alike.

anyio has no timers for callbacks, and finds the loop by the current task, which a callback does not have:
`anyio.current_time` raises `NoEventLoopError` in a callback of a loop that `asyncio.run` has started, as
uvicorn does (seen with anyio 4.16). So this module, and no other, asks which loop is running. The service runs on
asyncio only; tests also run the engine and the log on trio, which proves that they follow anyio's rules.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

import anyio
import anyio.lowlevel
from typing_extensions import override


class _NoWait(Awaitable[None]):
    @override
    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


NO_WAIT: Awaitable[None] = _NoWait()
"""What a method returns that may have to wait, but has not had to: awaiting it does not suspend.

So its caller needs no cancel scope around a wait that does not happen; each costs about 5 µs.
"""


async def shielded(step: Awaitable[None], seconds: float = math.inf) -> None:
    """Wait for a step even if the caller is cancelled, but not for longer than *seconds*."""
    if step is not NO_WAIT:
        with anyio.move_on_after(None if seconds == math.inf else seconds, shield=True):
            await step


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> object:
        """Cancel the call; does nothing if it was already made or cancelled."""
        ...


def now() -> float:
    """Return the time of the running event loop, in seconds."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return anyio.current_time()  # trio's, which has no callbacks


def clock() -> Callable[[], float]:
    """Return a function that reads the running event loop's time, in seconds.

    Unlike `now`, it does not look up the loop on each call. If no loop is running yet, it returns `now` itself.
    """
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:
        return now


def soon() -> Callable[[Callable[[], object]], object]:
    """Return a function that schedules a call for the next iteration of the running event loop."""
    try:
        return asyncio.get_running_loop().call_soon
    except RuntimeError:
        token: Any = anyio.lowlevel.current_token().native_token
        run_sync_soon: Callable[[Callable[[], object]], object] = token.run_sync_soon  # trio's
        return run_sync_soon


def soon_from_threads() -> Callable[[Callable[[], object]], object]:
    """Return a function that schedules a call in the running event loop, from any thread.

    It raises a `RuntimeError` if the loop has ended.
    """
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        return soon()  # trio's takes calls from any thread


def timers() -> Callable[[float, Callable[[], object]], Timer]:
    """Return a function that schedules a call at a time of the running event loop's clock.

    The call is made outside of any task, and must not raise.
    """
    try:
        return asyncio.get_running_loop().call_at
    except RuntimeError:
        import trio  # noqa: PLC0415  # only if it is already running

        def call_at(when: float, call: Callable[[], object]) -> Timer:
            scope = trio.CancelScope()

            async def wait() -> None:
                with scope:
                    await trio.sleep_until(when)
                    call()

            trio.lowlevel.spawn_system_task(wait)
            return scope

        return call_at


class Spawner(Protocol):
    """Runs a coroutine in a new task."""

    def __call__(self, coroutine: Coroutine[Any, Any, None], /, *, name: str) -> object:
        """Return the task; the caller must keep it until it has ended."""
        ...


def spawner() -> Spawner:
    """Return a function that runs a coroutine in a new task of the running event loop.

    The task belongs to nothing: its owner sees to it that it ends and that its exceptions are seen.
    """
    try:
        return asyncio.get_running_loop().create_task
    except RuntimeError:
        import trio  # noqa: PLC0415  # only if it is already running

        def spawn(coroutine: Coroutine[Any, Any, None], /, *, name: str) -> object:
            async def run() -> None:
                await coroutine

            return trio.lowlevel.spawn_system_task(run, name=name)

        return spawn
