"""A limiter that keeps books: what was admitted, who holds it, and how often it has ended."""

from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
from typing_extensions import override

from streamsvc.engine.admission import Limiter
from streamsvc.engine.audience import Count
from streamsvc.errors import RateLimited
from streamsvc.messages import Prompt
from streamsvc.principals import Principal

CANCELLED = "cancelled"


@dataclass
class Books:
    """What several processes write down.

    Attributes:
        holders: for each admission that has not ended, the limiter that holds it, or None.
        ends: for each admission how it has ended: its tokens, None if they are unknown, or `CANCELLED`.
    """

    holders: dict[str, Any] = field(default_factory=dict)
    ends: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def all_ends(self) -> list[Any]:
        """All ends; each admission must have one."""
        assert not self.holders
        return [end for [end] in self.ends.values()]


class Bookkeeper(Limiter):
    """A limiter of one process, which waits while it admits, as one over a network does.

    Args:
        books: shared by all processes.

    Attributes:
        seats: how many viewers have a lease.
        refuses: whether it admits nothing.
        admitting: called while it admits something.
    """

    def __init__(self, books: Books) -> None:
        self.seats = 0
        self.refuses = False
        self.admitting: Any = None
        self._books = books
        self._ended: set[str] = set()

    @override
    async def admit(self, generation: str, caller: Principal, prompt: Prompt) -> None:
        await anyio.lowlevel.checkpoint()
        if self.refuses:
            raise RateLimited("a.limit", "answers", 1, 3)
        if self.admitting is not None:
            self.admitting()
        assert generation not in self._books.ends
        self._books.holders[generation] = self
        self._books.ends[generation] = []

    @override
    def resume(self, generation: str, principal: str) -> None:
        if generation in self._books.holders:
            self._books.holders[generation] = self

    @override
    def settle(self, generation: str, tokens: int | None) -> None:
        self._end(generation, tokens)

    @override
    def cancel(self, generation: str) -> None:
        self._end(generation, CANCELLED)

    def _end(self, generation: str, how: Any) -> None:
        assert generation not in self._ended
        if self._books.holders.get(generation) is self:
            del self._books.holders[generation]
            self._ended.add(generation)
            self._books.ends[generation].append(how)

    @override
    def hand_over(self, generation: str) -> None:
        if self._books.holders.get(generation) is self:
            self._books.holders[generation] = None

    @override
    async def viewer(self, caller: Principal) -> Count | None:
        await anyio.lowlevel.checkpoint()
        self.seats += 1
        return _Seat(self)


class _Seat(Count):
    def __init__(self, keeper: Bookkeeper) -> None:
        self._keeper = keeper

    @override
    def join(self) -> None:
        pass

    @override
    def leave(self) -> None:
        self._keeper.seats -= 1
