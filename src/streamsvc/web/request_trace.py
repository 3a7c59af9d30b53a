"""The trace of a request, kept in its scope."""

from starlette.types import Scope

from streamsvc.tracecontext import RequestTrace, Traces
from streamsvc.web.scopes import TRACE


def begin_trace(scope: Scope, traces: Traces) -> RequestTrace | None:
    """Note the trace of a request in its scope, and return it; None: it is not traced.

    Two `traceparent` fields are ignored: nothing says which one is right.
    """
    fields = [value for name, value in scope["headers"] if name == b"traceparent"]
    traceparent = str(fields[0], "latin-1") if len(fields) == 1 else ""
    trace = traces.request(traceparent)
    if trace is not None:
        scope[TRACE] = trace
    return trace


def trace_of(scope: Scope) -> RequestTrace | None:
    """Return the trace of a request; None: it is not traced."""
    trace: RequestTrace | None = scope.get(TRACE)
    return trace
