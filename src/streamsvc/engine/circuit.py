"""When to skip a provider: a circuit that opens when calls keep failing.

`TRANSITIONS` lists every legal transition. After a pause, an open circuit lets one call through, to see whether the
provider works again; meanwhile everybody else is served by a fallback.
"""

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum, auto

from typing_extensions import override

from streamsvc.errors import ProviderError
from streamsvc.eventloop import now

logger = logging.getLogger(__name__)


class State(StrEnum):
    """Whether calls pass: all, none, or one that is on its way."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class Move(StrEnum):
    """What can happen to a circuit."""

    TRIP = auto()
    PROBE = auto()
    ABANDON = auto()
    RECOVER = auto()


TRANSITIONS: Mapping[tuple[State, Move], State] = {
    (State.CLOSED, Move.TRIP): State.OPEN,
    (State.OPEN, Move.PROBE): State.PROBING,
    (State.OPEN, Move.RECOVER): State.CLOSED,  # asked for want of another, it answered
    (State.PROBING, Move.TRIP): State.OPEN,
    (State.PROBING, Move.ABANDON): State.OPEN,
    (State.PROBING, Move.RECOVER): State.CLOSED,
}


class Circuit:
    """The circuit of one provider entry.

    A call that began before the circuit opened tells how the provider was, and not how it is: nothing
    that comes of it counts any more. A probe that speaks closes the circuit, but until an answer is
    whole, one failure opens it again.

    Args:
        name: the entry, for the log.
        failures: how many in a row open it; 0: it never opens.
        seconds: how long it stays open before one call may try again.
    """

    def __init__(self, name: str, *, failures: int, seconds: float) -> None:
        self._name = name
        self._limit = failures or math.inf
        self._seconds = seconds
        self._failures = 0
        self._state = State.CLOSED
        self._opened = 0
        self._open_until = -math.inf

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    @property
    def admits(self) -> bool:
        """Whether a call may be made now."""
        if self._state is State.OPEN:
            return now() >= self._open_until
        return self._state is State.CLOSED

    def call(self) -> "Call":
        """Make a call, and let the circuit see how it ends."""
        return Call(self)

    def begin(self) -> tuple[int, bool]:
        """Begin a call; return when, in openings of the circuit, and whether it is a probe.

        A probe is let through by `admits` and begins here: nothing may be awaited in between.
        """
        is_probe = self._state is State.OPEN and self.admits
        if is_probe:
            self._move(Move.PROBE)
        return self._opened, is_probe

    def end(self, began: int, exc: BaseException | None, *, is_probe: bool) -> None:
        """Learn how a call ended."""
        if isinstance(exc, ProviderError) and exc.is_outage:
            self._failed(began)
        elif exc is None or isinstance(exc, ProviderError):  # or it does not like the request
            self._works(began)
        elif is_probe and began == self._opened and self._state is State.PROBING:
            self._move(Move.ABANDON)

    def on_first_token(self, began: int) -> None:
        """Learn that the provider of a call speaks."""
        if began == self._opened and self._state is not State.CLOSED:
            self._move(Move.RECOVER)
            logger.warning("circuit.closed provider=%s", self._name)

    def _works(self, began: int) -> None:
        if began == self._opened:
            self.on_first_token(began)
            self._failures = 0

    def _failed(self, began: int) -> None:
        if began != self._opened or self._state is State.OPEN:
            return
        self._failures += 1
        if self._failures >= self._limit:
            if self._state is State.CLOSED:
                logger.warning(
                    "circuit.opened provider=%s failures=%d seconds=%g",
                    self._name, self._failures, self._seconds,
                )  # fmt: skip
            self._opened += 1
            self._open_until = now() + self._seconds
            self._move(Move.TRIP)

    def _move(self, move: Move) -> None:
        self._state = TRANSITIONS[self._state, move]


class Call(AbstractContextManager[Callable[[], None]]):
    """A call to a provider, while it is held; small, because each stream holds one.

    Gives what is to be called as soon as the provider speaks: that ends a probe.
    """

    __slots__ = ("_began", "_circuit", "_is_probe")

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    @override
    def __enter__(self) -> Callable[[], None]:
        self._began, self._is_probe = self._circuit.begin()
        return self._speaks

    def _speaks(self) -> None:
        self._circuit.on_first_token(self._began)

    @override
    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        self._circuit.end(self._began, exc, is_probe=self._is_probe)
