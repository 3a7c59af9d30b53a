"""What happened lately in this process, for the operators' page: the last failures and drops, the state of circuits.

A listener of the hooks with short lists; what must be added up is added up by `metrics` and cut to the last minutes by
`window`. No list holds anything of a prompt, an answer or a key.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from streamsvc.hooks import (
    CallEnded,
    CircuitChanged,
    Detail,
    DropReason,
    GenerationEnded,
    GenerationStarted,
    Hooks,
    Refused,
    Resumed,
    SettingsReloaded,
    ViewerJoined,
    ViewerLeft,
)
from streamsvc.telemetry.series import Series
from streamsvc.telemetry.window import Window

FAILURES, DROPS, RELOADS = 50, 50, 10
"""How many of each are kept."""

_COUNTED: Sequence[type[Detail]] = (
    *(GenerationStarted, GenerationEnded, CallEnded, CircuitChanged),
    *(ViewerJoined, ViewerLeft, Resumed, Refused),
)
"""What changes the figures that the page shows."""

_ENDS_WELL = frozenset({"finished", "left"})


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A call to a provider that failed.

    Attributes:
        at: when it failed, in seconds since 1970.
        worker: the worker that made it.
        generation: the answer that it was made for.
        provider: the entry.
        model: the model that was asked for.
        code: of the failure.
        call: its number, from 1, among the calls for this answer in this worker.
        seconds: how long it took.
        has_begun: whether viewers had a piece of the answer.
    """

    at: float
    worker: str = ""
    generation: str
    provider: str
    model: str
    code: str
    call: int
    seconds: float
    has_begun: bool


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """A viewer's stream that did not end well, and not because the client left.

    Attributes:
        at: when it ended, in seconds since 1970.
        worker: the worker that wrote it.
        generation: the answer.
        dialect: the wire format.
        reason: why it ended.
        seconds: how long the client watched.
        sent_bytes: of frames.
    """

    at: float
    worker: str = ""
    generation: str
    dialect: str
    reason: DropReason
    seconds: float
    sent_bytes: int


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """Why a circuit is not closed.

    Attributes:
        provider: the entry.
        since: when it opened, in seconds since 1970.
        failures: how many calls had failed one after another.
        code: of the latest failure; "" if it is not known.
    """

    provider: str
    since: float
    failures: int
    code: str = ""


class SettingsChange(msgspec.Struct, frozen=True, kw_only=True):
    """Settings were reloaded.

    Attributes:
        at: when, in seconds since 1970.
        worker: the worker.
        changed: the names of the settings that have another value.
    """

    at: float
    worker: str = ""
    changed: Sequence[str]


class Recent:
    """Keeps what happened lately.

    It must listen before `Metrics` does: the window copies the figures as they were before something is counted.

    Args:
        hooks: report what happens.
        clock: seconds since 1970.
        timer: monotonic seconds.

    Attributes:
        began: when this process began, in seconds since 1970.
        failures: the last ones, the newest first.
        drops: likewise.
        reloads: likewise.
    """

    def __init__(
        self,
        hooks: Hooks,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.began = clock()
        self.failures: deque[Failure] = deque(maxlen=FAILURES)
        self.drops: deque[Drop] = deque(maxlen=DROPS)
        self.reloads: deque[SettingsChange] = deque(maxlen=RELOADS)
        self._clock = clock
        self._timer = timer
        self._window = Window((), timer())
        self._openings: dict[str, Opening] = {}
        self._codes: dict[str, str] = {}  # of the latest failure, by entry
        for kind in _COUNTED:
            hooks.listen(kind, self._something)
        hooks.listen(CallEnded, self._call_ended)
        hooks.listen(ViewerLeft, self._viewer_left)
        hooks.listen(CircuitChanged, self._circuit_changed)
        hooks.listen(SettingsReloaded, self._reloaded)

    def watch(self, series: Iterable[Series]) -> None:
        """Say how much these figures grow from now on."""
        self._window = Window(series, self._timer())

    @property
    def window(self) -> Window:
        """The growth of the figures."""
        return self._window

    @property
    def now(self) -> float:
        """The time on the window's clock."""
        return self._timer()

    def opening(self, provider: str) -> Opening | None:
        """Return why the circuit of an entry is not closed; None if it has not opened."""
        found = self._openings.get(provider)
        code = self._codes.get(provider, "")
        return found and msgspec.structs.replace(found, code=code)

    def _something(self, _: Detail) -> None:
        self._window.before(self._timer())

    def _call_ended(self, it: CallEnded) -> None:
        if not it.code or it.code == "cancelled":
            return
        self._codes[it.provider] = it.code
        self.failures.appendleft(
            Failure(
                at=self._clock(),
                generation=it.generation,
                provider=it.provider,
                model=it.model,
                code=it.code,
                call=it.number,
                seconds=it.seconds,
                has_begun=it.has_begun,
            )
        )

    def _viewer_left(self, it: ViewerLeft) -> None:
        if it.reason in _ENDS_WELL:
            return
        self.drops.appendleft(
            Drop(
                at=self._clock(),
                generation=it.generation,
                dialect=it.dialect,
                reason=it.reason,
                seconds=it.seconds,
                sent_bytes=it.sent_bytes,
            )
        )

    def _circuit_changed(self, it: CircuitChanged) -> None:
        if it.state == "closed":
            self._openings.pop(it.provider, None)
        else:
            self._openings[it.provider] = Opening(
                provider=it.provider, since=self._clock(), failures=it.failures
            )

    def _reloaded(self, it: SettingsReloaded) -> None:
        self.reloads.appendleft(SettingsChange(at=self._clock(), changed=it.changed))
