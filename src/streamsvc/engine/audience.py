"""Who is watching a generation, and how long it may continue unwatched.

`TRANSITIONS` lists every legal transition. The deadline of an unwatched generation is that of its
cancel scope: a viewer that joins before the scope is cancelled removes the deadline, and one that
joins later finds a generation that is ending. There is no moment in between, and no second timer.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import Enum, auto
from typing import Protocol, Self

from typing_extensions import override

from streamsvc.engine.stopping import StopScope
from streamsvc.eventloop import clock
from streamsvc.events import Outcome


class State(Enum):
    """The state of a running generation's audience."""

    EXPECTED = auto()  # no viewer has come yet
    WATCHING = auto()
    AWAY = auto()  # all viewers have left


class Move(Enum):
    """What can happen in an audience."""

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
        stop_scope: stops the generation, as `no_viewers`; its deadline is set here only.
        attach_seconds: how long to wait for the first viewer.
        grace_seconds: how long the generation continues after the last viewer has left; 0: it stops at
            once.
        pieces: returns how many pieces of the answer have come.

    Attributes:
        joined: how many viewers have joined so far.
        left_at: how many pieces had come when the last viewer left.
    """

    def __init__(
        self,
        stop_scope: StopScope,
        *,
        attach_seconds: float,
        grace_seconds: float,
        pieces: Callable[[], int] = int,
    ) -> None:
        self.joined = 0
        self.left_at = 0
        self._pieces = pieces
        self._stop_scope = stop_scope
        self._grace_seconds = grace_seconds
        self._viewers = 0
        self._state = State.EXPECTED
        self._now = clock()
        stop_scope.stop_at(self._now() + attach_seconds, Outcome.NO_VIEWERS)

    @property
    def state(self) -> State:
        """The current state."""
        return self._state

    def viewer(self) -> "ViewerSlot":
        """Return a context that counts one viewer."""
        return ViewerSlot(self)

    def join(self) -> None:
        """Count one more viewer."""
        self._viewers += 1
        self.joined += 1
        if self._viewers == 1:
            self._move(Move.FIRST_JOINS)

    def leave(self) -> None:
        """Count one viewer less."""
        self._viewers -= 1
        if self._viewers == 0:
            self._move(Move.LAST_LEAVES)

    def _move(self, move: Move) -> None:
        self._state = TRANSITIONS[self._state, move]
        if self._state is State.WATCHING:
            self._stop_scope.go_on()
            return
        self.left_at = self._pieces()
        if self._grace_seconds:
            self._stop_scope.stop_at(self._now() + self._grace_seconds, Outcome.NO_VIEWERS)
        else:
            self._stop_scope.stop(Outcome.NO_VIEWERS)


class Count(Protocol):
    """Counts viewers. Neither method waits or raises."""

    def join(self) -> None:
        """Count one more viewer."""
        ...

    def leave(self) -> None:
        """Count one viewer less."""
        ...


class ViewerSlot(AbstractContextManager["ViewerSlot"]):
    """Counts a viewer for the duration of the context, or until `leave` is called.

    A class and not a `contextmanager`: a generator is ten times as large, and every open stream holds one.

    Args:
        counts: what counts the viewer.
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
        """Stop watching; a second call does nothing."""
        counts, self._counts = self._counts, ()
        for count in counts:
            count.leave()
