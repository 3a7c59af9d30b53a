"""Which trace a request has: its client's, one of its own, or none."""

import pytest

from streamsvc.tracecontext import RequestTrace, Traces
from streamsvc.web.request_trace import begin_trace, trace_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def begun(*fields: tuple[bytes, bytes]) -> RequestTrace | None:
    scope = {"type": "http", "headers": [(b"host", b"localhost"), *fields]}
    trace = begin_trace(scope, Traces())
    assert trace_of(scope) == trace
    return trace


def test_a_client_puts_its_request_into_a_trace() -> None:
    trace = begun((b"traceparent", PARENT.encode()), (b"tracestate", b"vendor=secret"))
    assert trace is not None
    assert trace.parent is not None
    assert (trace.own.trace_id, trace.parent.traceparent) == (TRACE, PARENT)


@pytest.mark.parametrize(
    "fields", [[], [b"nonsense"], [PARENT.encode()] * 2, [b"\xff" + PARENT.encode()[1:]]]
)
def test_without_one_valid_header_a_request_has_no_trace(fields: list[bytes]) -> None:
    assert begun(*((b"traceparent", value) for value in fields)) is None
