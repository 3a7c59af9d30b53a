"""The SDK: which traces it samples, how its troubles are logged, and how long the end waits for it."""

import logging
import re
import sys
import threading
from collections.abc import Iterator, Sequence

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from typing_extensions import override

from streamsvc.hooks import GenerationStarted, Hooks, RequestEnded
from streamsvc.telemetry import otel
from streamsvc.telemetry.otel import SdkLog, SdkSampling, TraceExport
from streamsvc.tracecontext import Traces, new_trace

NOTE = " (see OTEL_EXPORTER_OTLP_ENDPOINT and the collector)"
SDK = logging.getLogger("opentelemetry.sdk.test")


@pytest.fixture(autouse=True)
def _sdk_logger_as_before() -> Iterator[None]:
    logger = logging.getLogger("opentelemetry")
    before = logger.handlers, logger.propagate
    yield
    logger.handlers, logger.propagate = before


def sampled(monkeypatch: pytest.MonkeyPatch, sampler: str, part: str = "", flags: str = "") -> int:
    """Return how many of 5,000 traces are sampled."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", part)
    traces = Traces(SdkSampling())
    count = 0
    for _ in range(5000):
        parent = new_trace()
        request = traces.request(f"{parent.traceparent[:-2]}{flags}" if flags else "")
        generation = traces.generation(request)
        assert generation is not None
        count += generation.own.endswith(("01", "03"))
    return count


def test_one_percent_is_about_one_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five standard deviations: it fails once in a million runs."""
    assert 15 <= sampled(monkeypatch, "parentbased_traceidratio", "0.01") <= 85


def test_nothing_is_sampled_of_no_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sampled(monkeypatch, "parentbased_traceidratio", "0") == 0
    assert sampled(monkeypatch, "always_off") == 0


def test_a_parent_decides_unless_the_sampler_ignores_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sampled(monkeypatch, "parentbased_traceidratio", "0", flags="01") == 5000
    assert sampled(monkeypatch, "parentbased_always_on", flags="00") == 0
    assert sampled(monkeypatch, "always_on", flags="00") == 5000


def troubles(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = (it for it in caplog.records if it.name == "streamsvc.telemetry.otel")
    return [it.getMessage() for it in ours if it.levelno >= logging.WARNING]


def test_a_trouble_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = SdkLog(lambda: now)
    SDK.handlers, SDK.propagate = [log], False
    error = ConnectionError("https://me:the-secret@collector")
    for _ in range(3):
        SDK.warning("Transient error %s encountered while exporting %s batch", error, "spans")
        SDK.error("Failed to export %s batch code: %s, reason: %s", "spans", 401, "the-secret")
    SDK.warning("Queue full, dropping %s.", "Span")
    SDK.info("not worth a line")
    now = otel.WINDOW_SECONDS
    SDK.error("Failed to export %s batch code: %s, reason: %s", "spans", 401, "the-secret")
    assert troubles(caplog) == [
        f"traces.not_sent cause=ConnectionError further=0{NOTE}",
        f"traces.dropped further=5{NOTE}",
        f"traces.not_sent status=401 further=0{NOTE}",
    ]


def test_an_unknown_trouble_shows_where_it_is_but_no_text(caplog: pytest.LogCaptureFixture) -> None:
    SDK.handlers, SDK.propagate = [SdkLog()], False
    SDK.error("the-secret header", exc_info=ValueError("the-secret"))
    SDK.warning({"the-secret": 1})
    (line,) = troubles(caplog)
    assert re.fullmatch(
        r"traces\.complained at=\w+:test_an_unknown_\w+ cause=ValueError further=0", line
    )
    assert "the-secret" not in caplog.text


class Hanging(SpanExporter):
    """Takes no batch before it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.released.wait(60)
        return SpanExportResult.SUCCESS


def answer(hooks: Hooks) -> None:
    own = new_trace().child(is_sampled=True).traceparent
    hooks.notify(
        GenerationStarted(generation="gen_a", principal="", provider="a", model="m", trace=own)
    )
    hooks.notify(
        RequestEnded(
            method="GET",
            route="/",
            status=200,
            began_at=1.0,
            seconds=1.0,
            first_byte_seconds=0.5,
            trace=own,
        )
    )


async def test_the_last_spans_are_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    hooks, exporter = Hooks(), InMemorySpanExporter()
    async with TraceExport(hooks, {}, [exporter]):
        answer(hooks)
        assert exporter.get_finished_spans() == ()
    (span,) = exporter.get_finished_spans()
    assert span.resource.attributes["service.name"] == "streamsvc"
    assert span.resource.attributes["deployment.environment.name"] == "test"


async def test_the_end_does_not_wait_for_a_collector_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel, "FLUSH_SECONDS", 0.05)
    hooks, exporter = Hooks(), Hanging()
    with anyio.fail_after(20):
        async with TraceExport(hooks, {}, [exporter]):
            answer(hooks)
    assert troubles(caplog) == ["traces.unsent: the collector did not take the last spans in time"]
    exporter.released.set()


def test_a_name_of_the_operators_own_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    attributes = otel._resource().attributes
    assert attributes["service.name"] == "mine"
    assert attributes["service.version"] == sys.modules["streamsvc"].__version__


def test_the_exporter_that_the_environment_names_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"OTEL_TRACES_EXPORTER": "otlp,console"}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    made = otel._exporters(environ)
    assert [type(it).__name__ for it in made] == ["OTLPSpanExporter", "ConsoleSpanExporter"]
