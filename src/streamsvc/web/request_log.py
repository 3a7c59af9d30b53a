"""Reports each request once, when its response has ended.

The middleware is the outermost, so that it sees every response: refusals, preflights, and a client that leaves before
the head. It looks at the head and the end of a response. Tokens pass it only on servers other than ours, and cost a
call there.

A response ends with its last part, or, if it is cut, with the application. `CrashGuard` runs the application in a
coroutine and reports that end, so that this middleware needs no coroutine, which every open stream would keep.
"""

import re
import time
from collections.abc import Awaitable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamsvc.engine.ids import ID_PATTERN
from streamsvc.eventloop import now
from streamsvc.hooks import Hooks, RequestEnded
from streamsvc.tracecontext import Traces
from streamsvc.web.request_trace import begin_trace, trace_of
from streamsvc.web.scopes import NOTE

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""A client can send any word as the method; these are reported as they are, all others as `*`."""

_GENERATION = b"x-generation-id"

_ID = re.compile(ID_PATTERN)


class RequestLog:
    """Middleware that reports each request to the hooks.

    Args:
        app: the application.
        hooks: report the requests.
        traces: makes their spans.
    """

    def __init__(self, app: ASGIApp, hooks: Hooks, traces: Traces) -> None:
        self._app = app
        self._hooks = hooks
        self._traces = traces

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Run the application; returns its coroutine, so that a stream does not keep a frame of this method."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        note = RequestNote(scope, send, self._hooks)
        scope[NOTE] = note
        begin_trace(scope, self._traces)
        return self._app(scope, receive, note.send)


class RequestNote:
    """What is noted of one request. Small, because every open stream has one.

    Args:
        scope: of the request; it has this note until the end.
        send: sends to the client.
        hooks: report the request.

    Attributes:
        status: of the response; 0: its head has not been sent.
        principal: the name of the caller, or "".
    """

    __slots__ = (
        "_began",
        "_began_at",
        "_generation",
        "_head_at",
        "_hooks",
        "_scope",
        "_send",
        "principal",
        "status",
    )

    def __init__(self, scope: Scope, send: Send, hooks: Hooks) -> None:
        self.status = 0
        self.principal = self._generation = ""
        self._scope = scope
        self._send = send
        self._hooks = hooks
        self._began = self._head_at = now()
        self._began_at = time.time()

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of the response, and note its head and its end."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._head_at = now()
            self._generation = _generation_of(message["headers"])
        elif not message.get("more_body", False):
            self.end()
        return self._send(message)

    def end(self) -> None:
        """Report the request, once.

        The scope loses its note: each of them and the server's `send` refers to the next, and the three would wait for
        the garbage collector.
        """
        scope = self._scope
        if scope.pop(NOTE, None) is None:
            return
        method, trace = scope["method"], trace_of(scope)
        self._hooks.notify(
            RequestEnded(
                method=method if method in _METHODS else "*",
                route=scope["route"].path_format if "route" in scope else "*",
                status=self.status,
                began_at=self._began_at,
                seconds=now() - self._began,
                first_byte_seconds=self._head_at - self._began if self.status else None,
                principal=self.principal,
                generation=self._generation or _generation_in(scope),
                trace=trace.own.traceparent if trace else "",
                parent=trace.parent.traceparent if trace and trace.parent else "",
            )
        )


def note_of(scope: Scope) -> RequestNote:
    """Return the note of a request whose response has not ended."""
    note: RequestNote = scope[NOTE]
    return note


def _generation_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == _GENERATION:
            return value.decode("latin-1")
    return ""


def _generation_in(scope: Scope) -> str:
    """Return the generation that a path names; a client can put anything there, so it must look like one."""
    named: str = scope.get("path_params", {}).get("id", "")
    return named if _ID.fullmatch(named) else ""
