"""A circuit breaker for each provider entry: it skips a provider that keeps failing.

`TRANSITIONS` lists every legal transition. When its pause is over, an open circuit lets one call
through, to probe whether the provider has recovered; until that call ends, fallbacks serve all other requests.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum, auto

from typing_extensions import override

from streamsvc.eventloop import now
from streamsvc.hooks import CircuitChanged, Hooks
from streamsvc.provider_errors import ProviderError


class State(StrEnum):
    """Which calls are admitted: all, none, or only the running probe."""

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
    (State.OPEN, Move.RECOVER): State.CLOSED,  # called as a last resort, and it answered
    (State.PROBING, Move.TRIP): State.OPEN,
    (State.PROBING, Move.ABANDON): State.OPEN,
    (State.PROBING, Move.RECOVER): State.CLOSED,
}


class Circuit:
    """The circuit of one provider entry.

    A call that began before the circuit last opened says nothing about the provider now, so its result is
    ignored. The first token of a probe closes the circuit, but until an answer is complete, one failure opens
    it again.

    Args:
        name: the entry, for the hooks.
        failures: how many consecutive failures open it; 0: it never opens.
        seconds: how long it stays open before one call may probe.
        hooks: get a report when it opens and closes.
    """

    def __init__(self, name: str, *, failures: int, seconds: float, hooks: Hooks) -> None:
        self._name = name
        self._limit = failures or math.inf
        self._seconds = seconds
        self._failures = 0
        self._state = State.CLOSED
        self._opened = 0
        self._open_until = -math.inf
        self._hooks = hooks

    @property
    def state(self) -> State:
        """The current state."""
        return self._state

    @property
    def admits(self) -> bool:
        """Whether a call may be made now."""
        if self._state is State.OPEN:
            return now() >= self._open_until
        return self._state is State.CLOSED

    @property
    def skipped_seconds(self) -> float:
        """For how long it admits no call, not even a probe, unless no other entry is left; 0: it does, or a probe runs."""
        return max(0.0, self._open_until - now()) if self._state is State.OPEN else 0.0

    def call(self) -> "Call":
        """Return a context for one call; on exit, the circuit records how the call ended."""
        return Call(self)

    def begin(self) -> tuple[int, bool]:
        """Begin a call; return how many times the circuit has opened so far, and whether this is a probe.

        Do not await between `admits`, which lets a probe through, and this method.
        """
        is_probe = self._state is State.OPEN and self.admits
        if is_probe:
            self._move(Move.PROBE)
        return self._opened, is_probe

    def end(self, began: int, exc: BaseException | None, *, is_probe: bool) -> None:
        """Count how a call ended."""
        if isinstance(exc, ProviderError) and exc.is_outage:
            self._failed(began)
        elif exc is None or isinstance(exc, ProviderError):  # an error of this request only
            self._works(began)
        elif is_probe and began == self._opened and self._state is State.PROBING:
            self._move(Move.ABANDON)

    def on_first_token(self, began: int) -> None:
        """Note the first token of a call."""
        if began == self._opened and self._state is not State.CLOSED:
            self._move(Move.RECOVER)
            self._hooks.notify(CircuitChanged(provider=self._name, state="closed"))

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
                self._hooks.notify(
                    CircuitChanged(
                        provider=self._name,
                        state="open",
                        failures=self._failures,
                        seconds=self._seconds,
                    )
                )
            self._opened += 1
            self._open_until = now() + self._seconds
            self._move(Move.TRIP)

    def _move(self, move: Move) -> None:
        self._state = TRANSITIONS[self._state, move]


class Call(AbstractContextManager[Callable[[], None]]):
    """A context around one call to a provider; small, because every open stream holds one.

    Call the context's value at the first token: that ends a probe.
    """

    __slots__ = ("_began", "_circuit", "_is_probe")

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    @override
    def __enter__(self) -> Callable[[], None]:
        self._began, self._is_probe = self._circuit.begin()
        return self._on_first_token

    def _on_first_token(self) -> None:
        self._circuit.on_first_token(self._began)

    @override
    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        self._circuit.end(self._began, exc, is_probe=self._is_probe)
