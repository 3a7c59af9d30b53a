"""Exports traces with OpenTelemetry's SDK, which its standard environment variables configure (`docs/operate/tracing.md`).

Spans wait in a queue of the SDK, and a thread of its own sends them: the event loop never waits for a collector. If it
cannot be reached, spans are lost, and a line says so now and then.

Imported only if traces are exported: the SDK is an extra, and takes a third of a second to import.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from importlib.metadata import entry_points
from typing import Self

import anyio
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from opentelemetry.trace import NonRecordingSpan, SpanKind, set_span_in_context
from typing_extensions import override

from streamsvc import __version__
from streamsvc.config.tracing import EXPORTERS, exporter_names
from streamsvc.eventloop import soon_from_threads
from streamsvc.hooks import Hooks
from streamsvc.log_line import Value, log
from streamsvc.telemetry.conventions import Convention
from streamsvc.telemetry.spans import GENERATION, GivenIds, Spans, span_context
from streamsvc.tracecontext import Sampling, TraceContext

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
"""How long the end of the service waits for the last spans to be sent."""

WINDOW_SECONDS = 300.0
"""The same trouble is logged once in this time."""

_STATUSES = range(100, 600)

_SDK = logging.getLogger("opentelemetry")


class SdkSampling(Sampling):
    """Asks the sampler that `OTEL_TRACES_SAMPLER` chooses."""

    is_on = True

    def __init__(self) -> None:
        # No public function reads the variable; a provider without a sampler does.
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler

    @override
    def samples(self, trace: TraceContext, parent: TraceContext | None) -> bool:
        above = Context()
        if parent is not None:
            span = NonRecordingSpan(span_context(parent, is_remote=True))
            above = set_span_in_context(span, above)
        result = self._sampler.should_sample(
            above, int(trace.trace_id, 16), GENERATION, SpanKind.INTERNAL
        )
        return result.decision is Decision.RECORD_AND_SAMPLE


class TraceExport(AbstractAsyncContextManager["TraceExport"]):
    """Exports the spans of a service, until the context is left.

    Args:
        hooks: report what happens.
        environ: chooses the exporters and the names of attributes.
        exporters: replace those that `environ` chooses.

    Attributes:
        sampling: decides which traces are exported.
    """

    def __init__(
        self,
        hooks: Hooks,
        environ: Mapping[str, str],
        exporters: list[SpanExporter] | None = None,
    ) -> None:
        _SDK.handlers, _SDK.propagate = [SdkLog()], False
        self.sampling = SdkSampling()
        ids = GivenIds()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is not sampled does not get here
            resource=_resource(),
            shutdown_on_exit=False,
            id_generator=ids,
        )
        for exporter in _exporters(environ) if exporters is None else exporters:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._says: dict[str, Value] = {
            "exporter": ",".join(exporter_names(environ)),
            "sampler": environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower(),
            "part": environ.get("OTEL_TRACES_SAMPLER_ARG") or None,
        }
        Spans(hooks, self._provider, ids, Convention.of(environ))

    @override
    async def __aenter__(self) -> Self:
        log(logger, logging.INFO, "traces.exported", **self._says)
        return self

    @override
    async def __aexit__(self, *exc: object) -> None:
        """Send the last spans, for at most `FLUSH_SECONDS`.

        The thread is a daemon: if it waits for a collector, it must not delay the exit of the process.
        """
        is_sent, call = anyio.Event(), soon_from_threads()

        def send() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the wait is over, and the loop has ended
                call(is_sent.set)

        with anyio.move_on_after(FLUSH_SECONDS, shield=True) as patience:
            threading.Thread(target=send, name="last spans", daemon=True).start()
            await is_sent.wait()
        if patience.cancelled_caught:
            note = "the collector did not take the last spans in time"
            log(logger, logging.WARNING, "traces.unsent", note)


class SdkLog(logging.Handler):
    """Logs the SDK's problems as our own events, each once per window.

    The SDK logs each batch that it cannot send, with texts of exceptions and of responses.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._left_out = 0

    @override
    def emit(self, record: logging.LogRecord) -> None:
        said, at = str(record.msg), f"{record.module}:{record.funcName}"
        if said.startswith(_NOT_SENT):
            if self._is_due("not_sent"):
                log(logger, logging.WARNING, "traces.not_sent", _NOTE, **self._fields(record))
        elif said.startswith(_DROPPED):
            if self._is_due("dropped"):
                log(logger, logging.WARNING, "traces.dropped", _NOTE, **self._fields(record))
        elif self._is_due(at):
            log(logger, logging.WARNING, "traces.complained", at=at, **self._fields(record))

    def _is_due(self, trouble: str) -> bool:
        """Return whether a trouble is logged now; if not, it is counted."""
        now = self._clock()
        if now - self._logged_at.get(trouble, -math.inf) < WINDOW_SECONDS:
            self._left_out += 1
            return False
        self._logged_at[trouble] = now
        return True

    def _fields(self, record: logging.LogRecord) -> dict[str, Value]:
        further, self._left_out = self._left_out, 0
        return {**dict(_details(record)), "further": further}


_NOTE = "see OTEL_EXPORTER_OTLP_ENDPOINT and the collector"

_NOT_SENT = ("Failed to export", "Transient error", "Exception while exporting")
_DROPPED = "Queue full"
"""How messages of the SDK begin (opentelemetry-sdk 1.45)."""


def _details(record: logging.LogRecord) -> Iterator[tuple[str, Value]]:
    """Yield the fields that a log line may show of a record: a response's status, and an exception's class."""
    for value in record.args if isinstance(record.args, tuple) else ():
        if isinstance(value, int) and value in _STATUSES:
            yield "status", value
        elif isinstance(value, BaseException):
            yield "cause", type(value).__name__
    if record.exc_info and record.exc_info[0]:
        yield "cause", record.exc_info[0].__name__


def _exporters(environ: Mapping[str, str]) -> list[SpanExporter]:
    """Make the exporters that the environment chooses; they are installed, as `config.tracing` has checked."""
    known = {it.name: it for it in entry_points(group=EXPORTERS)}
    return [known[name].load()() for name in exporter_names(environ)]


def _resource() -> Resource:
    """Return what all spans say of the service; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come first."""
    given = dict(Resource.create({}).attributes)
    if str(given[SERVICE_NAME]).startswith("unknown_service"):
        del given[SERVICE_NAME]
    return Resource({SERVICE_NAME: "streamsvc", SERVICE_VERSION: __version__, **given})
