"""Timers of many viewers in few timers of the event loop.

A timer of its own would cost each open stream 0.6 kB: uvloop's objects, a context and a bound method (uvloop 0.23,
CPython 3.11). So those that are due at about the same time share a round, which is one timer.
"""

import asyncio
import math
from typing import Protocol


class Timed(Protocol):
    """What is called when its time has come."""

    def on_time(self) -> None:
        """React; must not raise."""
        ...


class Round:
    """All that is due at about the same time.

    Args:
        rounds: has it while it waits.
        tick: its key there.
        at: when they are called, on the event loop's clock.

    Attributes:
        waiting: all that are called then.
    """

    __slots__ = ("_rounds", "_tick", "_timer", "waiting")

    def __init__(self, rounds: "dict[int, Round]", tick: int, at: float) -> None:
        self._rounds = rounds
        self._tick = tick
        self.waiting: set[Timed] = set()
        self._timer = asyncio.get_running_loop().call_at(at, self._run)
        rounds[tick] = self

    def leave(self, timed: Timed) -> None:
        """Do not call *timed*, if it has not been called; a round that is empty then ends."""
        self.waiting.discard(timed)
        if not self.waiting:
            self._end()

    def _run(self) -> None:
        self._end()
        try:
            while self.waiting:
                self.waiting.pop().on_time()
        finally:
            if self.waiting:  # one that raises, against its contract, must not make others wait
                asyncio.get_running_loop().call_soon(self._run)

    def _end(self) -> None:
        self._timer.cancel()
        if self._rounds.get(self._tick) is self:
            del self._rounds[self._tick]


class Rounds:
    """The rounds of an event loop.

    Args:
        seconds: from one to the next, which is how much later than asked a call may come. It is never earlier, except
            for the resolution of the loop's clock.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._rounds: dict[int, Round] = {}

    def __len__(self) -> int:
        """How many timers there are."""
        return len(self._rounds)

    def join(self, when: float, timed: Timed) -> Round:
        """Call *timed* at a time of the running loop's clock or a little later; return its round, for `Round.leave`."""
        tick = math.ceil(when / self._seconds)
        joined = self._rounds.get(tick) or Round(self._rounds, tick, tick * self._seconds)
        joined.waiting.add(timed)
        return joined
