"""Spans: which are made of what the hooks report, with what, and what is never in one."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from streamsvc.events import Done, Outcome, PublicError, Status, Usage
from streamsvc.hooks import (
    CallEnded,
    Gaps,
    GenerationEnded,
    GenerationStarted,
    Hooks,
    RequestEnded,
    ViewerJoined,
    ViewerLeft,
)
from streamsvc.telemetry import spans
from streamsvc.telemetry.attributes import server_of
from streamsvc.telemetry.conventions import Convention
from streamsvc.telemetry.spans import GivenIds, Spans
from streamsvc.tracecontext import TraceContext, new_trace

PARENT = new_trace().child(is_sampled=True)
OWN = PARENT.child()
CALL = OWN.child()
REQUEST = PARENT.child()
USAGE = Usage(
    input_tokens=3, output_tokens=5, reasoning_tokens=2, cached_tokens=1, cache_write_tokens=4
)
DONE = Done(
    status=Status.COMPLETED,
    finish_reason="stop",
    outcome=Outcome.COMPLETED,
    provider="first",
    model="gpt-test-1",
    usage=USAGE,
)


class Watched:
    """Hooks whose details become spans, which are kept."""

    def __init__(self, convention: Convention = Convention.V1_41) -> None:
        self.hooks, ids, self._exporter = Hooks(), GivenIds(), InMemorySpanExporter()
        provider = TracerProvider(sampler=ALWAYS_ON, id_generator=ids, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.listener = Spans(self.hooks, provider, ids, convention)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def one(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    def start(self, own: TraceContext = OWN, parent: TraceContext | None = PARENT) -> None:
        self.hooks.notify(
            GenerationStarted(
                generation="gen_a",
                principal="",
                provider="first",
                model="gpt-test",
                trace=own.traceparent,
                parent=parent.traceparent if parent else "",
            )
        )

    def end(self, own: TraceContext = OWN, **fields: Any) -> None:
        values: dict[str, Any] = {
            "generation": "gen_a",
            "principal": "the-secret-principal",
            "end": "finished",
            "model": "gpt-test",
            "done": DONE,
            "began_at": 1000.0,
            "created_at": 1000.0,
            "seconds": 4.0,
            "first_token_seconds": 0.5,
            "calls": 1,
            "trace": own.traceparent,
            "parent": PARENT.traceparent,
        }
        self.hooks.notify(GenerationEnded(**values | fields))

    def call(self, own: TraceContext = CALL, **fields: Any) -> None:
        values: dict[str, Any] = {
            "generation": "gen_a",
            "principal": "the-secret-principal",
            "provider": "first",
            "kind": "openai",
            "model": "gpt-test",
            "answering_model": "gpt-test-1",
            "number": 1,
            "began_at": 1001.0,
            "seconds": 2.0,
            "first_piece_seconds": 0.25,
            "gaps": Gaps(),
            "pieces": 7,
            "has_begun": True,
            "finish_reason": "stop",
            "usage": USAGE,
            "url": "https://me:the-secret-key@api.openai.com/v1?the-secret=1",
            "parameters": {"temperature": 0.0, "max_tokens": 5, "reasoning_effort": "low"},
            "trace": own.traceparent,
        }
        self.hooks.notify(CallEnded(**values | fields))

    def request(self, own: TraceContext = REQUEST, **fields: Any) -> None:
        values: dict[str, Any] = {
            "method": "GET",
            "route": "/stream-ai",
            "status": 200,
            "began_at": 999.0,
            "seconds": 6.0,
            "first_byte_seconds": 0.1,
            "principal": "the-secret-principal",
            "generation": "gen_a",
            "trace": own.traceparent,
            "parent": PARENT.traceparent,
        }
        self.hooks.notify(RequestEnded(**values | fields))

    def join(self, own: TraceContext = REQUEST) -> None:
        trace = own.traceparent
        self.hooks.notify(ViewerJoined(generation="gen_a", dialect="native", after=-1, trace=trace))

    def leave(self, own: TraceContext = REQUEST, first: float | None = 0.75) -> None:
        self.hooks.notify(
            ViewerLeft(
                generation="gen_a",
                dialect="native",
                reason="left",
                began_at=999.5,
                seconds=5.0,
                first_frame_seconds=first,
                gaps=Gaps(),
                sent_bytes=123,
                keepalives=2,
                trace=own.traceparent,
            )
        )


@pytest.fixture
def watched() -> Iterator[Watched]:
    it = Watched()
    yield it
    assert "the-secret" not in "".join(span.to_json() for span in it.spans)
    assert not it.listener._viewings


def ids_of(span: ReadableSpan) -> tuple[str, str, str]:
    above = format_span_id(span.parent.span_id) if span.parent else ""
    return format_trace_id(span.context.trace_id), format_span_id(span.context.span_id), above


def links_of(span: ReadableSpan) -> list[str]:
    return [format_span_id(link.context.span_id) for link in span.links]


def test_a_generation_is_a_span_with_its_own_ids_and_times(watched: Watched) -> None:
    watched.start()
    watched.end()
    span = watched.one
    assert (span.name, span.kind) == ("streamsvc.generation", SpanKind.INTERNAL)
    assert ids_of(span) == (PARENT.trace_id, OWN.span_id, PARENT.span_id)
    assert span.parent is not None
    assert span.parent.is_remote
    assert (span.start_time, span.end_time) == (1000 * 10**9, 1004 * 10**9)
    assert [(it.name, it.timestamp) for it in span.events] == [
        ("streamsvc.first_token", 1000_500_000_000)
    ]
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes is not None
    assert dict(span.attributes) == {
        "streamsvc.generation.id": "gen_a",
        "streamsvc.outcome": "completed",
        "streamsvc.status": "completed",
        "streamsvc.finish_reason": "stop",
        "streamsvc.provider": "first",
        "streamsvc.model": "gpt-test-1",
        "streamsvc.calls": 1,
        "streamsvc.viewers": 0,
        "streamsvc.pieces": 0,
        "streamsvc.unwatched_pieces": 0,
        "streamsvc.first_token_seconds": 0.5,
        "streamsvc.usage.input_tokens": 3,
        "streamsvc.usage.output_tokens": 5,
        "streamsvc.usage.reasoning.output_tokens": 2,
        "streamsvc.usage.cache_read.input_tokens": 1,
        "streamsvc.usage.cache_write.input_tokens": 4,
        "streamsvc.usage.estimated": False,
    }


def test_a_failed_generation_is_an_error_with_its_code(watched: Watched) -> None:
    error = PublicError("provider_unavailable", "the-secret sentence", retryable=True)
    done = Done(
        status=Status.FAILED,
        finish_reason="error",
        outcome=Outcome.UPSTREAM_ERROR,
        provider="first",
        model="gpt-test",
        error=error,
    )
    watched.start()
    watched.end(done=done, first_token_seconds=None)
    span = watched.one
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "provider_unavailable"
    assert span.events == ()


@pytest.mark.parametrize("end", ["handed_over", "taken_over"])
def test_what_goes_on_elsewhere_has_its_span_there(watched: Watched, end: str) -> None:
    watched.start()
    watched.end(end=end)
    assert watched.spans == ()


def test_a_take_over_is_an_event_in_the_one_span(watched: Watched) -> None:
    watched.start()
    watched.end(takes_over=2, created_at=900.0)
    span = watched.one
    assert span.start_time == 900 * 10**9
    assert [it.name for it in span.events] == ["streamsvc.taken_over", "streamsvc.first_token"]
    assert span.attributes is not None
    assert span.attributes["streamsvc.takeovers"] == 2


def test_a_call_is_a_client_span_below_the_generation(watched: Watched) -> None:
    watched.start()
    watched.call()
    span = watched.one
    assert (span.name, span.kind) == ("chat gpt-test", SpanKind.CLIENT)
    assert ids_of(span) == (PARENT.trace_id, CALL.span_id, OWN.span_id)
    assert (span.start_time, span.end_time) == (1001 * 10**9, 1003 * 10**9)
    assert span.attributes is not None
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-test",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.max_tokens": 5,
        "gen_ai.response.model": "gpt-test-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 1,
        "gen_ai.usage.cache_creation.input_tokens": 4,
        "server.address": "api.openai.com",
        "server.port": 443,
        "streamsvc.generation.id": "gen_a",
        "streamsvc.provider": "first",
        "streamsvc.call.number": 1,
        "streamsvc.call.pieces": 7,
    }


def test_the_newest_names_are_chosen_by_the_standard_switch() -> None:
    watched = Watched(Convention.LATEST)
    watched.call()
    attributes = watched.one.attributes
    assert attributes is not None
    assert attributes["gen_ai.usage.cache_write.input_tokens"] == 4
    assert attributes["gen_ai.request.reasoning.level"] == "low"
    assert "gen_ai.usage.cache_creation.input_tokens" not in attributes


def test_a_failed_call_is_an_error_and_a_cancelled_one_is_not(watched: Watched) -> None:
    nothing: dict[str, Any] = {
        "answering_model": "",
        "finish_reason": "",
        "first_piece_seconds": None,
        "usage": None,
    }
    watched.start()
    watched.call(code="provider_unavailable", **nothing)
    watched.call(OWN.child(), code="cancelled", **nothing)
    failed, cancelled = watched.spans
    assert (failed.status.status_code, cancelled.status.status_code) == (
        StatusCode.ERROR,
        StatusCode.UNSET,
    )
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "provider_unavailable"
    assert cancelled.attributes is not None
    assert cancelled.attributes["streamsvc.call.cancelled"] is True
    assert not any(
        name.startswith(("gen_ai.response", "gen_ai.usage")) for name in failed.attributes
    )


@pytest.mark.parametrize("is_first", [True, False])
def test_a_viewers_request_links_to_the_generation(watched: Watched, *, is_first: bool) -> None:
    """A request's end and its viewer's come one after the other, in either order."""
    watched.start()
    watched.join()
    first, second = (
        (watched.request, watched.leave) if is_first else (watched.leave, watched.request)
    )
    first()
    assert watched.spans == ()
    second()
    span = watched.one
    assert (span.name, span.kind) == ("GET /stream-ai", SpanKind.SERVER)
    assert ids_of(span) == (PARENT.trace_id, REQUEST.span_id, PARENT.span_id)
    assert links_of(span) == [OWN.span_id]
    assert (span.start_time, span.end_time) == (999 * 10**9, 1005 * 10**9)
    assert span.attributes is not None
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "http.route": "/stream-ai",
        "http.response.status_code": 200,
        "streamsvc.generation.id": "gen_a",
        "streamsvc.dialect": "native",
        "streamsvc.viewer.end": "left",
        "streamsvc.viewer.first_frame_seconds": 0.75,
        "streamsvc.viewer.sent_bytes": 123,
        "streamsvc.viewer.keepalives": 2,
    }


def test_without_a_parent_the_creating_request_is_below_the_generation(watched: Watched) -> None:
    request = new_trace()  # its flag is not decided when it begins
    own = request.child(is_sampled=True)
    watched.start(own, None)
    watched.request(request, parent="")
    watched.end(own, parent="")
    server, generation = watched.spans
    assert ids_of(generation) == (request.trace_id, own.span_id, "")
    assert ids_of(server) == (request.trace_id, request.span_id, own.span_id)
    assert links_of(server) == []


def test_without_a_parent_another_viewer_has_a_trace_that_links(watched: Watched) -> None:
    request = new_trace()
    watched.start()
    watched.end()
    watched.join(request)
    watched.leave(request, first=None)
    watched.request(request, parent="")
    server = watched.spans[1]
    assert ids_of(server) == (request.trace_id, request.span_id, "")
    assert links_of(server) == [OWN.span_id]
    assert "streamsvc.viewer.first_frame_seconds" not in (server.attributes or {})


def test_what_is_not_sampled_makes_no_span(watched: Watched) -> None:
    own = OWN.child(is_sampled=False)
    request = REQUEST.child(is_sampled=False)
    watched.start(own)
    watched.call(own.child())
    watched.end(own)
    watched.join(request)
    watched.leave(request)
    watched.request(request)
    watched.request(new_trace(), parent="", generation="")
    watched.call(own, trace="")
    watched.end(own, trace="")
    watched.request(trace="", parent="")
    assert watched.spans == ()


def test_a_refused_request_of_a_clients_trace_has_a_span(watched: Watched) -> None:
    watched.request(status=503, route="*", method="*", generation="")
    watched.request(REQUEST.child(), status=429, generation="")
    watched.request(REQUEST.child(), status=0, generation="")
    down, limited, left = watched.spans
    assert (down.name, down.status.status_code) == ("*", StatusCode.ERROR)
    assert down.attributes is not None
    assert dict(down.attributes) == {
        "http.request.method": "_OTHER",
        "http.response.status_code": 503,
        "error.type": "503",
    }
    assert limited.status.status_code is StatusCode.UNSET
    assert "http.response.status_code" not in (left.attributes or {})


def test_old_generations_are_forgotten(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "MAX_ENDED", 3)
    for number in range(5):
        own = OWN.child()
        watched.start(own)
        watched.end(own, generation=f"gen_{number}")
    assert list(watched.listener._ended) == ["gen_2", "gen_3", "gen_4"]


def test_a_call_is_named_as_the_vendors_operation(watched: Watched) -> None:
    watched.call(kind="gemini", model="gemini-test")
    watched.call(OWN.child(), kind="of-a-plug-in")
    gemini, other = watched.spans
    assert gemini.name == "generate_content gemini-test"
    assert (gemini.attributes or {})["gen_ai.provider.name"] == "gcp.gemini"
    assert other.name == "chat gpt-test"
    assert (other.attributes or {})["gen_ai.provider.name"] == "of-a-plug-in"


def test_the_address_of_a_server_has_its_port() -> None:
    assert server_of("http://[::1]:8080/v1") == {"server.address": "::1", "server.port": 8080}
    assert server_of("http://vllm/v1") == {"server.address": "vllm", "server.port": 80}
    assert server_of("") == {}


def test_spans_are_json_without_ids_of_zero(watched: Watched) -> None:
    watched.start()
    watched.end()
    assert json.loads(watched.one.to_json())["context"]["span_id"] == f"0x{OWN.span_id}"
    assert watched.one.context.trace_flags.sampled
