"""Who is watching a generation, and how long it may go on unwatched.

The orders that are legal stand in one table. The deadline of an unwatched generation is that of its
cancel scope: whoever joins before the scope is cancelled has stopped the clock, and whoever joins
after finds a generation that is ending. There is no moment between the two, and no timer of ours.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import Enum, auto
from typing import Protocol, Self

import anyio
from typing_extensions import override

from streamsvc.eventloop import clock


class State(Enum):
    """Where the audience of a running generation stands."""

    EXPECTED = auto()
    WATCHING = auto()
    AWAY = auto()


class Move(Enum):
    """What can happen to an audience."""

    FIRST_JOINS = auto()
    LAST_LEAVES = auto()


TRANSITIONS: Mapping[tuple[State, Move], State] = {
    (State.EXPECTED, Move.FIRST_JOINS): State.WATCHING,
    (State.WATCHING, Move.LAST_LEAVES): State.AWAY,
    (State.AWAY, Move.FIRST_JOINS): State.WATCHING,
}


class Audience:
    """The viewers of one generation.

    Args:
        scope: the generation's cancel scope, which gets its deadline from here.
        attach_seconds: how long the first viewer may take to come.
        grace_seconds: how long the generation goes on when the last viewer has left; 0: not at all.
    """

    def __init__(
        self, scope: anyio.CancelScope, *, attach_seconds: float, grace_seconds: float
    ) -> None:
        self._scope = scope
        self._grace_seconds = grace_seconds
        self._viewers = 0
        self._state = State.EXPECTED
        self._now = clock()
        scope.deadline = self._now() + attach_seconds

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    def viewer(self) -> "ViewerSlot":
        """Return what one of the viewers holds."""
        return ViewerSlot(self)

    def join(self) -> None:
        """One more is watching."""
        self._viewers += 1
        if self._viewers == 1:
            self._move(Move.FIRST_JOINS)

    def leave(self) -> None:
        """One less is."""
        self._viewers -= 1
        if self._viewers == 0:
            self._move(Move.LAST_LEAVES)

    def _move(self, move: Move) -> None:
        self._state = TRANSITIONS[self._state, move]
        if self._state is State.WATCHING:
            self._scope.deadline = math.inf
        elif self._grace_seconds:
            self._scope.deadline = self._now() + self._grace_seconds
        else:
            self._scope.cancel()


class Count(Protocol):
    """Whatever counts viewers."""

    def join(self) -> None:
        """One more is watching."""
        ...

    def leave(self) -> None:
        """One less is."""
        ...


class ViewerSlot(AbstractContextManager["ViewerSlot"]):
    """A viewer, counted while the context is held, or until it leaves before that.

    A generator would be ten times as large, and there is one for each stream that is held.
    """

    __slots__ = ("_counts",)

    def __init__(self, *counts: Count) -> None:
        self._counts = counts

    @override
    def __enter__(self) -> Self:
        for count in self._counts:
            count.join()
        return self

    @override
    def __exit__(self, *exc: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Watch no longer; again, and nothing happens."""
        counts, self._counts = self._counts, ()
        for count in counts:
            count.leave()
