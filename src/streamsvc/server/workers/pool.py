"""The pool of workers: which process to start, retire or kill next.

A decision needs only the events below and the clock; `supervise` brings both.

| event                    | effect                                                                            |
| ------------------------ | --------------------------------------------------------------------------------- |
| start                    | start the first worker; when it serves, the settings are good: start the others   |
| a worker is ready        | it serves; a worker that it replaces is retired                                   |
| a worker dies            | start another at once, or after a growing pause if it died soon after its start   |
| it dies with exit code 2 | its settings are wrong: end, unless other workers serve                           |
| a worker wants to leave  | replace it, like a restart of this worker alone                                   |
| restart                  | one worker at a time: start its replacement, retire it when that serves, and wait |
|                          | until it has ended; if the replacement dies, the old worker and all others stay   |
| stop                     | pass on the signal to all; start nothing more                                     |
"""

import logging
import signal
import time
from collections import Counter, deque
from collections.abc import Callable

from streamsvc.errors import EXIT_CONFIG
from streamsvc.log_line import Value, log
from streamsvc.server.workers.process import Phase, Worker

logger = logging.getLogger(__name__)

SOON_SECONDS = 10.0
"""A worker that dies within this time of its start makes the next start wait."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0
"""The pause before a start doubles with each such death in a row."""

START_SECONDS = 120.0
"""How long a worker may take to start; then it is killed."""

MARGIN_SECONDS = 10.0
"""How much longer than its drain and closing may take a worker that leaves may live; then it is killed."""

_SIGNALS = 3
"""Further signals have no effect (`lifecycle`)."""

_NEVER = float("inf")


class WorkerPool:
    """The workers of a service.

    Args:
        count: how many serve at a time.
        spawn: starts a worker with a number; raises OSError if it cannot.
        on_running: called once, when all workers serve for the first time.
        now: the clock, in seconds.

    Attributes:
        exit_code: the exit code of the service, once all workers have ended and none will be started.
    """

    def __init__(
        self,
        count: int,
        spawn: Callable[[int], Worker],
        on_running: Callable[[], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.exit_code: int | None = None
        self._numbers = range(1, count + 1)
        self._spawn = spawn
        self._on_running = on_running
        self._now = now
        self._workers: list[Worker] = []
        self._starts: dict[int, float] = {}  # when to start a worker, by number
        self._deaths: Counter[int] = Counter()  # soon after the start, in a row, by number
        self._to_replace: deque[Worker] = deque()
        self._is_restarting = False
        self._signals = 0
        self._final_code = 0
        self._has_run = False

    # Events

    def start(self) -> None:
        """Start the first worker; the others follow when it serves."""
        self._start_or_retry(self._numbers[0])

    def on_ready(self, worker: Worker, bounds: tuple[float, float]) -> None:
        """A worker accepts connections; *bounds* are its own."""
        worker.bounds = bounds
        if worker.phase is not Phase.STARTING:
            return
        worker.phase, worker.kill_at = Phase.SERVING, _NEVER
        seconds = self._now() - worker.since
        _log(logging.INFO, "worker.started", worker, seconds=seconds)
        if (old := self._twin(worker, Phase.SERVING)) is not None:
            self._end(old, "retire", signals=1)
        if not self._has_run:
            self._fill()
        self._go_on()

    def on_leave(self, worker: Worker) -> None:
        """A worker has got a signal from elsewhere, and wants to leave."""
        _log(logging.INFO, "worker.signalled", worker)
        self._to_replace.append(worker)
        self._go_on()

    def on_silent(self, worker: Worker) -> None:
        """A worker has closed its channel, so its process should end."""
        worker.kill_at = min(worker.kill_at, self._now() + MARGIN_SECONDS)

    def on_exit(self, worker: Worker, code: int) -> None:
        """The process of a worker has ended.

        Args:
            worker: the worker.
            code: the exit code, or the negative number of the signal that ended it.
        """
        self._workers.remove(worker)
        seconds = self._now() - worker.since
        if worker.phase is Phase.LEAVING:
            _log(logging.INFO, "worker.left", worker, **_cause(code), seconds=seconds)
        else:
            _log(logging.ERROR, "worker.died", worker, **_cause(code), seconds=seconds)
            self._on_death(worker, code, seconds)
        self._go_on()

    def restart(self) -> None:
        """Replace all workers, one after another."""
        if self._signals:
            return
        log(logger, logging.INFO, "restart.started", workers=len(self._workers))
        self._is_restarting = True
        self._to_replace.extend(it for it in self._workers if it not in self._to_replace)
        self._go_on()

    def stop(self) -> None:
        """Pass a signal on to all workers, and start no more."""
        self._signals = min(self._signals + 1, _SIGNALS)
        self._starts.clear()
        self._to_replace.clear()
        for worker in self._workers:
            self._end(worker, "signal", self._signals)
        self._go_on()

    def tick(self) -> None:
        """Do what is due: start workers, and kill those whose time is over."""
        now = self._now()
        for number in [number for number, at in self._starts.items() if at <= now]:
            del self._starts[number]
            self._start_or_retry(number)
        for worker in self._workers:
            if worker.kill_at <= now:
                _log(logging.ERROR, "worker.killed", worker)
                worker.kill()
                worker.kill_at = _NEVER

    def seconds_to_next(self) -> float | None:
        """Return after how many seconds something is due; None if nothing is."""
        at = min((*self._starts.values(), *(it.kill_at for it in self._workers)), default=_NEVER)
        return None if at == _NEVER else max(0.0, at - self._now())

    # Decisions

    def _twin(self, worker: Worker, *phases: Phase) -> Worker | None:
        """Return the other process with the number of *worker*, if it is in one of these phases."""
        twins = (it for it in self._workers if it.number == worker.number and it is not worker)
        return next((twin for twin in twins if twin.phase in phases), None)

    def _fill(self) -> None:
        """Start the workers that have not been started, and announce that all serve."""
        for number in {*self._numbers} - {it.number for it in self._workers} - {*self._starts}:
            self._start_or_retry(number)
        if len([it for it in self._workers if it.phase is Phase.SERVING]) == len(self._numbers):
            self._has_run = True
            self._on_running()

    def _start_or_retry(self, number: int) -> None:
        if not self._start(number):
            self._deaths[number] += 1
            self._start_later(number)

    def _start(self, number: int) -> bool:
        try:
            worker = self._spawn(number)
        except OSError as exc:
            log(logger, logging.ERROR, "worker.not_started", number=number, errno=exc.errno)
            return False
        worker.kill_at = self._now() + START_SECONDS
        self._workers.append(worker)
        return True

    def _on_death(self, worker: Worker, code: int, seconds: float) -> None:
        is_soon = worker.phase is Phase.STARTING or seconds < SOON_SECONDS
        self._deaths[worker.number] = self._deaths[worker.number] + 1 if is_soon else 0
        if code == EXIT_CONFIG and all(it.phase is not Phase.SERVING for it in self._workers):
            self._give_up()
        elif self._twin(worker, Phase.SERVING) is not None:
            self._abandon_restart()
        elif self._twin(worker, Phase.STARTING) is None:
            self._start_later(worker.number)

    def _start_later(self, number: int) -> None:
        """Start a worker after a pause that grows with each death soon after the start."""
        deaths = self._deaths[number]
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (deaths - 1), LONGEST_PAUSE_SECONDS) if deaths else 0
        self._starts[number] = self._now() + pause
        if pause:
            log(logger, logging.INFO, "worker.delayed", number=number, seconds=pause)

    def _go_on(self) -> None:
        """Take the next step of a restart, if the last one is complete; notice the end of the service."""
        if self._signals:
            if not self._workers:
                self.exit_code = self._final_code
            return
        if any(it.phase is not Phase.SERVING for it in self._workers):
            return
        while self._to_replace:
            old = self._to_replace.popleft()
            if old in self._workers:
                if not self._start(old.number):
                    self._abandon_restart()
                return
        if self._is_restarting:
            self._is_restarting = False
            log(logger, logging.INFO, "restart.finished", workers=len(self._workers))

    def _abandon_restart(self) -> None:
        self._to_replace.clear()
        self._is_restarting = False
        note = "a new worker did not start; the old ones keep serving"
        log(logger, logging.ERROR, "restart.failed", note)

    def _end(self, worker: Worker, message: str, signals: int) -> None:
        """Send a worker the signals that it has not got yet, and set the time when it is killed."""
        if worker.signals >= signals:
            return
        for _ in range(signals - worker.signals):
            worker.send(message)
        drain, close = worker.bounds
        seconds = (drain + close, close, 0.0)[signals - 1]
        worker.phase, worker.signals = Phase.LEAVING, signals
        worker.kill_at = self._now() + seconds + MARGIN_SECONDS

    def _give_up(self) -> None:
        """End the service: its settings are wrong, and no worker serves."""
        self._final_code = EXIT_CONFIG
        self._signals = _SIGNALS
        self._starts.clear()
        for worker in self._workers:
            worker.phase = Phase.LEAVING
            worker.kill()


def _log(level: int, event: str, worker: Worker, **fields: Value) -> None:
    log(logger, level, event, number=worker.number, pid=worker.pid, **fields)


def _cause(code: int) -> dict[str, Value]:
    if code >= 0:
        return {"exit": code}
    try:
        return {"signal": signal.Signals(-code).name}
    except ValueError:
        return {"signal": -code}
