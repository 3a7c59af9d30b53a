"""Counts the calls of Python and C functions between two turns of the event loop."""

import gc
import sys
from asyncio import events
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest


class Steps:
    """Counts the calls of each step of the event loop.

    Attributes:
        longest: the calls of the longest one.
    """

    def __init__(self) -> None:
        self.longest = 0
        self._calls = 0

    def see(self, frame: FrameType, event: str, _arg: Any) -> None:
        """Handle an event that the interpreter reports to a profiler."""
        if frame.f_code is events.Handle._run.__code__ and event == "call":
            self._calls = 0
        elif event in {"call", "c_call"}:
            self._calls += 1
            self.longest = max(self.longest, self._calls)


@contextmanager
def counted() -> Iterator[Steps]:
    """Count while the context lasts."""
    if sys.getprofile() is not None:
        pytest.skip("another profiler is active")
    steps = Steps()
    gc.collect()
    gc.disable()
    sys.setprofile(steps.see)
    try:
        yield steps
    finally:
        sys.setprofile(None)
        gc.enable()
