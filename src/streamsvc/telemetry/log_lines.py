"""The log lines of what happens: one line for a generation, a failed call, a refusal, a trouble.

Lines are `event name=value …`, without anything of a prompt, an answer or a key.
"""

import logging
import time
from collections.abc import Callable

from streamsvc.hooks import (
    CallEnded,
    CircuitChanged,
    GenerationEnded,
    GenerationStarted,
    Hooks,
    Refused,
    StoreChanged,
    ViewerLeft,
)

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
"""The same refusal is written once per window of this length; the next window begins with how many were left out."""

MAX_REFUSALS = 100
"""The maximum number of refusals per window: a scanner cannot flood the log."""

_STORE_LEVELS = {
    "lost": logging.ERROR,
    "back": logging.WARNING,
    "slow": logging.WARNING,
    "fast": logging.WARNING,
}


class LogLines:
    """Writes the lines.

    Args:
        hooks: say what happens.
        clock: monotonic seconds.
    """

    def __init__(self, hooks: Hooks, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._refused: set[str] = set()
        self._left_out = 0
        hooks.listen(GenerationStarted, _generation_started)
        hooks.listen(GenerationEnded, _generation_ended)
        hooks.listen(CallEnded, _call_ended)
        hooks.listen(ViewerLeft, _viewer_left)
        hooks.listen(CircuitChanged, _circuit_changed)
        hooks.listen(StoreChanged, _store_changed)
        hooks.listen(Refused, self._refusal)

    def _refusal(self, it: Refused) -> None:
        line = f"status={it.status} code={it.code} method={it.method} path={it.path}"
        about = it.details or line  # what the details name is logged once
        now = self._clock()
        if now - self._since >= WINDOW_SECONDS:
            if self._left_out:
                logger.info("request.refused further=%d", self._left_out)
            self._since, self._left_out = now, 0
            self._refused.clear()
        if about in self._refused or len(self._refused) >= MAX_REFUSALS:
            self._left_out += 1
            return
        self._refused.add(about)
        logger.info("request.refused %s", f"{line} {it.details}".rstrip())


def _generation_started(it: GenerationStarted) -> None:
    if it.takes_over:
        logger.info(
            "generation.resumed id=%s provider=%s times=%d",
            it.generation, it.provider, it.takes_over,
        )  # fmt: skip


def _generation_ended(it: GenerationEnded) -> None:
    done = it.done
    outcome = f" outcome={done.outcome}" if it.end == "finished" else ""
    logger.info(
        "generation.%s id=%s provider=%s model=%s%s calls=%d seconds=%.3f",
        it.end, it.generation, done.provider, done.model, outcome, it.calls, it.seconds,
    )  # fmt: skip


def _call_ended(it: CallEnded) -> None:
    if it.code and it.code != "cancelled":
        setting = f" setting=providers.{it.provider}.{it.setting}" if it.setting else ""
        logger.warning(
            "call.failed id=%s provider=%s model=%s code=%s call=%d begun=%s cause=%s%s",
            it.generation, it.provider, it.model, it.code, it.number,
            str(it.has_begun).lower(), it.cause, setting,
        )  # fmt: skip


def _viewer_left(it: ViewerLeft) -> None:
    if it.reason == "too_slow":
        logger.info("viewer.dropped id=%s reason=too_slow", it.generation)


def _circuit_changed(it: CircuitChanged) -> None:
    if it.state == "open":
        logger.warning(
            "circuit.opened provider=%s failures=%d seconds=%g",
            it.provider, it.failures, it.seconds,
        )  # fmt: skip
    else:
        logger.warning("circuit.closed provider=%s", it.provider)


def _store_changed(it: StoreChanged) -> None:
    details = {
        "lost": f"reason={it.reason} cause={it.cause} ({it.advice})",
        "back": f"after={it.reason} seconds={it.seconds:.1f}",
    }.get(it.state, f"seconds={it.seconds:.3f}")
    logger.log(_STORE_LEVELS[it.state], "store.%s %s", it.state, details)
