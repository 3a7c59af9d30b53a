"""Waiting for a fact about the engine of a service in this process, without polling."""

from collections.abc import Callable
from typing import Any

import anyio

from streamsvc.engine.supervisor import Supervisor


class Changes:
    """Wakes waiting tests whenever a viewer joins or leaves, or a generation begins or ends.

    The service has no such event, because nothing in it waits for one: these four methods of its
    parts are wrapped, on the instances only.

    Args:
        supervisor: of the service; it must be new.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._changed = anyio.Event()
        parts = supervisor._viewer_count, supervisor._directory
        for part, names in zip(parts, (("join", "leave"), ("enter", "leave")), strict=True):
            for name in names:
                setattr(part, name, self._noting(getattr(part, name)))

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until *is_so* returns True; it is called at once, and after each change."""
        while not is_so():
            await self._changed.wait()

    def _noting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def note(*args: Any) -> Any:
            result = method(*args)
            # A task that this wakes runs in a later turn of the loop, when `enter` has been awaited:
            # the directory in memory awaits nothing.
            self._changed.set()
            self._changed = anyio.Event()
            return result

        return note
