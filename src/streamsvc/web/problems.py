"""Errors before a stream begins: problem details (RFC 9457), or the shape that a client's API defines."""

import logging
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from streamsvc.errors import (
    Draining,
    OriginRefused,
    Overloaded,
    RequestError,
    StreamsvcError,
    Unauthorized,
    UnsupportedEncoding,
)
from streamsvc.log_line import log
from streamsvc.traces import fields_of
from streamsvc.web.addresses import not_allowed, not_found
from streamsvc.web.origins import shown
from streamsvc.web.refusals import Refusals
from streamsvc.web.request_log import note_of
from streamsvc.web.responses import json_response

logger = logging.getLogger(__name__)


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an error response.

    Attributes:
        title: the HTTP status in words, as `about:blank` asks (RFC 9457, section 4.2.1).
        status: the HTTP status.
        detail: one sentence for people.
        code: one word for programs.
        field: the JSON field, query parameter or header at fault.
    """

    title: str
    status: int
    detail: str
    code: str
    field: str | None = None


_NOT_STARTED = (
    "The service has not started: its server does not send the ASGI lifespan events it needs."
)

Shape = Callable[[Problem, Mapping[str, str]], Response]
"""Makes a response from a problem and additional headers, in one API's error format."""


def problem_details(problem: Problem, headers: Mapping[str, str]) -> Response:
    """Return a problem in the format of RFC 9457."""
    return json_response(
        problem, status=problem.status, headers=headers, media_type="application/problem+json"
    )


class Problems:
    """Answers failed requests in the error format of the API that they are for.

    Args:
        shapes: each with the paths it applies to; all other paths get problem details.
        refusals: reports them.
    """

    def __init__(self, shapes: Mapping[Shape, Callable[[str], bool]], refusals: Refusals) -> None:
        self._shapes = shapes
        self._refusals = refusals

    def response(
        self,
        scope: Scope,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return a problem as an HTTP response."""
        path = _path(scope)
        shapes = (shape for shape, is_of in self._shapes.items() if is_of(path))
        problem = Problem(
            title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, field=field
        )
        return next(shapes, problem_details)(problem, headers or {})

    def refusal(self, scope: Scope, error: RequestError) -> Response:
        """Return the HTTP response to a refused request, and log the refusal."""
        response = self.response(
            scope,
            error.status,
            error.code,
            error.message,
            field=error.field,
            headers=headers_of(error),
        )
        self._refusals.note(scope, response.status_code, error.code, error.log_details)
        return response

    def answer(
        self, scope: Scope, error: RequestError | HTTPException | ClientDisconnect
    ) -> Response:
        """Return the HTTP response to a request that ended in one of the expected ways, and log a refusal."""
        if isinstance(error, RequestError):
            return self.refusal(scope, error)
        if isinstance(error, HTTPException):
            return self._http(scope, error)
        return Response(status_code=400)  # the client left while it was sending; nobody reads this

    def _http(self, scope: Scope, error: HTTPException) -> Response:
        if (origin := preflight_origin(scope)) is not None:  # and no page may read responses
            return self.refusal(scope, OriginRefused(shown(origin)))
        status, headers, path = error.status_code, error.headers or {}, _path(scope)
        code = HTTPStatus(status).name.lower()
        detail = not_allowed(scope["method"], path, headers.get("Allow", ""))
        if status == HTTPStatus.NOT_FOUND:
            detail = not_found(path, scope["app"].routes)
        self._refusals.note(scope, status, code)
        return self.response(scope, status, code, detail, headers=headers)


def preflight_origin(scope: Scope) -> str | None:
    """Return the origin of a page if this is its CORS preflight (Fetch, section 4.9), else None."""
    if scope["method"] != "OPTIONS":
        return None
    headers = Headers(scope=scope)
    return headers.get("origin") if "access-control-request-method" in headers else None


def headers_of(error: RequestError) -> Mapping[str, str]:
    """Return the header fields that say what a client can do about a refusal."""
    if isinstance(error, Overloaded):
        return {
            "Retry-After": str(math.ceil(error.retry_after_seconds))
        }  # RFC 9110, section 10.2.3
    if isinstance(error, Unauthorized):
        error_code = ' error="invalid_token"' if error.was_given else ""
        return {"WWW-Authenticate": f"Bearer{error_code}"}  # RFC 6750, section 3.1
    if isinstance(error, UnsupportedEncoding):
        return {"Accept-Encoding": "identity"}  # RFC 9110, section 12.5.3
    return {}


def _path(scope: Scope) -> str:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path


class Guard:
    """What `CrashGuard` knows about the application.

    Attributes:
        has_started: whether the lifespan has begun (ASGI specification, "Lifespan Protocol").
        has_crashed: whether it has ended by itself: the process can only be replaced.
    """

    def __init__(self) -> None:
        self.has_started = False
        self.has_crashed = False
        self._has_complained = False

    def complain(self) -> None:
        """Log, once, that a request came before the lifespan began."""
        if not self._has_complained:
            self._has_complained = True
            log(logger, logging.ERROR, "lifespan.missing", _NOT_STARTED)


class CrashGuard:
    """Middleware for exceptions: the expected ones become refusals, any other one a 500.

    Of an unexpected one, class and origin go to the operator's log. Starlette would pass the exception to the server,
    which logs its text, and that may contain a prompt. A server that sends no lifespan events gets a 503 for every
    request.

    This is the only middleware with a coroutine, which every stream keeps. So it does the work of Starlette's
    `ExceptionMiddleware`, which has two and two closures, and of its `ServerErrorMiddleware` (1.10). It also reports
    the end of a request whose response is cut (`request_log`).
    """

    def __init__(self, app: ASGIApp, problems: Problems, guard: Guard) -> None:
        self._app = app
        self._problems = problems
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._guard.has_crashed:
            gone = Draining()
            response = self._problems.response(scope, gone.status, gone.code, gone.message)
            await response(scope, receive, send)
            return
        if not self._guard.has_started:
            self._guard.complain()
            response = self._problems.response(scope, 503, "not_started", _NOT_STARTED)
            await response(scope, receive, send)
            return
        note = note_of(scope)
        try:
            try:
                await self._app(scope, receive, send)
            except (RequestError, HTTPException, ClientDisconnect) as exc:
                if note.status:
                    raise
                await self._problems.answer(scope, exc)(scope, receive, send)
                exc.__traceback__ = None  # an object that is raised again would collect frames
        except Exception as exc:  # noqa: BLE001  # the last resort
            log(logger, logging.ERROR, "request.crashed", **fields_of(exc))
            if not note.status:
                response = self._problems.response(
                    scope, 500, StreamsvcError.code, StreamsvcError.message
                )
                await response(scope, receive, send)
        finally:
            note.end()
