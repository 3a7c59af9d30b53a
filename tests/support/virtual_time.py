"""An asyncio event loop whose clock jumps: when no task can run, the next timer is due at once.

It tests policies that take minutes, without waiting and without races: events happen in the order of their times.
Nothing inside may wait for real I/O.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from typing_extensions import override

T = TypeVar("T")

_THREAD_SECONDS = 5.0


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait for timers, but adds up how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.jumped = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            ready = super().select(_THREAD_SECONDS)  # only a thread can end this wait
            if not ready:
                raise RuntimeError("Deadlock: every task waits, and no timer is set.")
            return ready
        ready = super().select(0)
        if not ready:
            self.jumped += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock that jumps; see the module."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    @override
    def time(self) -> float:
        return self._jumping.jumped


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
