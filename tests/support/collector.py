"""An OpenTelemetry collector on loopback: it takes OTLP over HTTP, and keeps the spans.

Source: OTLP specification 1.9, "OTLP/HTTP"; the messages are those of opentelemetry-proto.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from typing_extensions import override


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A span as it was exported.

    Attributes:
        name: of the span.
        kind: `internal`, `server` or `client`.
        trace_id: in hexadecimal digits, like the other ids.
        span_id: its own.
        parent_id: of the span above it, or "".
        seconds: how long it took.
        began_at: when it began, in seconds since 1970.
        attributes: by name.
        events: the names of its events.
        links: the ids of the spans that it links to.
        is_error: whether its status is an error.
        resource: the attributes of the service.
    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    seconds: float
    began_at: float
    attributes: Mapping[str, Any]
    events: list[str]
    links: list[str]
    is_error: bool
    resource: Mapping[str, Any]


class Collector:
    """Keeps the spans that it gets.

    Attributes:
        url: where it listens, for `OTEL_EXPORTER_OTLP_ENDPOINT`.
        bodies: the requests' bodies, as they came.
        headers: of the latest request.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self.headers: Mapping[str, str] = {}

    @property
    def spans(self) -> list[Exported]:
        """The spans so far, in order of their beginning."""
        found = [span for body in self.bodies for span in _spans(body)]
        return sorted(found, key=lambda span: span.began_at)

    def named(self, name: str) -> list[Exported]:
        """Return the spans whose names begin with *name*."""
        return [span for span in self.spans if span.name.startswith(name)]


@contextmanager
def collecting(status: int = 200) -> Iterator[Collector]:
    """Run a collector, which answers with *status*, until the context is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if status < 300 and self.path == "/v1/traces":
                collector.bodies.append(body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _spans(body: bytes) -> Iterator[Exported]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = _values(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _exported(span, about)


def _exported(span: Span, resource: Mapping[str, Any]) -> Exported:
    return Exported(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        began_at=span.start_time_unix_nano / 1e9,
        attributes=_values(span.attributes),
        events=[event.name for event in span.events],
        links=[link.span_id.hex() for link in span.links],
        is_error=span.status.code == 2,
        resource=resource,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {it.key: _value(it.value) for it in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(it) for it in value.array_value.values]
    return getattr(value, str(kind))
