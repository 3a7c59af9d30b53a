"""Errors before a stream begins: problem details (RFC 9457), or what an API of others has for them."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import cast

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from streamsvc.errors import Overloaded, RequestError, StreamsvcError, describe

logger = logging.getLogger(__name__)


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an answer that is no success.

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


Shape = Callable[[Problem, Mapping[str, str]], Response]
"""Makes an answer of a problem and further headers."""


def problem_details(problem: Problem, headers: Mapping[str, str]) -> Response:
    """Return a problem as RFC 9457 has it."""
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **headers},
        media_type="application/problem+json",
    )


class Problems:
    """Answers what is wrong with a request in the words of the API that was asked.

    Args:
        shapes: by the beginning of the path; elsewhere it is problem details.

    Attributes:
        handlers: for an application, by what is raised.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self.handlers: dict[type[Exception], ExceptionHandler] = {
            RequestError: self._refused,
            HTTPException: self._http,
            ClientDisconnect: _gone,
        }

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
        """Return a problem as an HTTP answer."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        shapes = (shape for start, shape in self._shapes.items() if path.startswith(start))
        problem = Problem(
            title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, field=field
        )
        return next(shapes, problem_details)(problem, headers or {})

    async def _refused(self, request: Request, exc: Exception) -> Response:
        error = cast("RequestError", exc)
        headers = {}
        if isinstance(error, Overloaded):
            logger.info("request.refused code=%s %s", error.code, error.message)
            headers["Retry-After"] = str(error.retry_after_seconds)
        return self.response(
            request.scope,
            error.status,
            error.code,
            error.message,
            field=error.field,
            headers=headers,
        )

    async def _http(self, request: Request, exc: Exception) -> Response:
        error = cast("HTTPException", exc)
        code = HTTPStatus(error.status_code).name.lower()
        detail = f"{request.method} is not served here."
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = "There is nothing at this address."
        return self.response(request.scope, error.status_code, code, detail, headers=error.headers)


async def _gone(_request: Request, _exc: Exception) -> Response:
    """The client left while it was sending; nobody reads this."""
    return Response(status_code=400)


class CrashGuard:
    """Middleware that ends a mistake of ours: a 500 to the client, its kind and place to the operator.

    Starlette would hand the exception on to the server, which logs its text; that may hold a prompt.
    """

    def __init__(self, app: ASGIApp, problems: Problems) -> None:
        self._app = app
        self._problems = problems

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watch(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as exc:  # noqa: BLE001  # the last resort
            logger.error("request.crashed %s", describe(exc))  # noqa: TRY400
            if not has_begun:
                response = self._problems.response(
                    scope, 500, StreamsvcError.code, StreamsvcError.message
                )
                await response(scope, receive, send)
