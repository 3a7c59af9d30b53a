"""The log lines of what happens: one line for a generation, a failed call, a refusal, a request, a failure of the store.

A line has nothing of a prompt, an answer or a key.
"""

import logging
import time
from collections.abc import Callable, Mapping

from streamsvc.events import Usage
from streamsvc.hooks import (
    CallEnded,
    CircuitChanged,
    GenerationEnded,
    GenerationStarted,
    Hooks,
    Refused,
    RequestEnded,
    StoreChanged,
    ViewerLeft,
)
from streamsvc.log_line import Value, log
from streamsvc.tracecontext import parse

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
"""The same refusal is written once per window of this length; the next window begins with how many were left out."""

MAX_REFUSALS = 100
"""The maximum number of refusals per window: a scanner cannot flood the log."""


class LogLines:
    """Writes the lines.

    Args:
        hooks: report what happens.
        access_log: whether each request gets a line.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        hooks: Hooks,
        *,
        access_log: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
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
        if access_log:
            hooks.listen(RequestEnded, _request_ended)

    def _refusal(self, it: Refused) -> None:
        head: dict[str, Value]
        head = {"status": it.status, "code": it.code, "method": it.method, "path": it.path}
        about = str(it.details or head)  # what the details name is logged once
        now = self._clock()
        if now - self._since >= WINDOW_SECONDS:
            if self._left_out:
                log(logger, logging.INFO, "request.refused", further=self._left_out)
            self._since, self._left_out = now, 0
            self._refused.clear()
        if about in self._refused or len(self._refused) >= MAX_REFUSALS:
            self._left_out += 1
            return
        self._refused.add(about)
        log(logger, logging.INFO, "request.refused", **head, **it.details)


def _generation_started(it: GenerationStarted) -> None:
    if it.takes_over:
        log(
            logger,
            logging.INFO,
            "generation.resumed",
            id=it.generation,
            provider=it.provider,
            times=it.takes_over,
            trace=_trace_id(it.trace),
        )


def _generation_ended(it: GenerationEnded) -> None:
    done = it.done
    log(
        logger,
        logging.INFO,
        f"generation.{it.end}",
        id=it.generation,
        provider=done.provider,
        model=done.model,
        outcome=done.outcome.value if it.end == "finished" else None,
        calls=it.calls,
        seconds=it.seconds,
        first_token=it.first_token_seconds,
        **_tokens(it.done.usage),
        viewers=it.viewers,
        trace=_trace_id(it.trace),
    )


def _tokens(usage: Usage | None) -> Mapping[str, Value]:
    if usage is None:
        return {}
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "estimated": usage.estimated,
    }


def _call_ended(it: CallEnded) -> None:
    if it.code and it.code != "cancelled":
        log(
            logger,
            logging.WARNING,
            "call.failed",
            id=it.generation,
            provider=it.provider,
            model=it.model,
            code=it.code,
            call=it.number,
            begun=it.has_begun,
            cause=it.cause,
            setting=f"providers.{it.provider}.{it.setting}" if it.setting else None,
            trace=_trace_id(it.trace),
        )


def _viewer_left(it: ViewerLeft) -> None:
    if it.reason == "too_slow":
        log(logger, logging.INFO, "viewer.dropped", id=it.generation, reason=it.reason)


def _request_ended(it: RequestEnded) -> None:
    log(
        logger,
        logging.INFO,
        "request.ended",
        method=it.method,
        route=it.route,
        status=it.status,
        seconds=it.seconds,
        first_byte=it.first_byte_seconds,
        id=it.generation or None,
        principal=it.principal or None,
        trace=_trace_id(it.trace),
    )


def _circuit_changed(it: CircuitChanged) -> None:
    if it.state == "open":
        log(
            logger,
            logging.WARNING,
            "circuit.opened",
            provider=it.provider,
            failures=it.failures,
            seconds=it.seconds,
        )
    else:
        log(logger, logging.WARNING, "circuit.closed", provider=it.provider)


def _store_changed(it: StoreChanged) -> None:
    level, note = logging.WARNING, ""
    fields: Mapping[str, Value] = {"seconds": it.seconds}
    if it.state == "lost":
        level, note = logging.ERROR, it.advice
        fields = {"reason": it.reason, "cause": it.cause}
    elif it.state == "back":
        fields = {"after": it.reason, **fields}
    log(logger, level, f"store.{it.state}", note, **fields)


def _trace_id(traceparent: str) -> str | None:
    """Return the trace that a `traceparent` names; None if it is empty."""
    span = parse(traceparent) if traceparent else None
    return span.trace_id if span else None
