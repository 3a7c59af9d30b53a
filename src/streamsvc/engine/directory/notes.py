"""What this process could not store, and must look at before the store, until it can."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class Notes(Generic[T]):
    """Values by name, the oldest first.

    Args:
        limit: how many there may be; beyond that, the oldest are dropped.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._notes: dict[str, T] = {}
        self._some = anyio.Event()

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter(list(self._notes.items()))

    def get(self, name: str) -> T | None:
        """Return a value, or None."""
        return self._notes.get(name)

    def put(self, name: str, value: T) -> None:
        """Keep a value, as the latest."""
        self._notes.pop(name, None)
        self._notes[name] = value
        while len(self._notes) > self._limit:
            del self._notes[next(iter(self._notes))]
        self._some.set()

    def pop(self, name: str, value: T | None = None) -> T | None:
        """Drop a value, if it is still the given one, and return it; None if it is not there."""
        if value is not None and self._notes.get(name) is not value:
            return None
        return self._notes.pop(name, None)

    async def wait(self) -> None:
        """Wait until there is a value."""
        while not self._notes:
            self._some = anyio.Event()
            await self._some.wait()
