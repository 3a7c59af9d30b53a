"""Errors before a stream begins, as problem details (RFC 9457)."""

from http import HTTPStatus
from typing import cast

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from streamsvc.errors import Overloaded, RequestError, StreamsvcError


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


def problem_response(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return a problem as an HTTP answer."""
    problem = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, field=field
    )
    return Response(
        msgspec.json.encode(problem),
        status_code=status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type="application/problem+json",
    )


async def _refused(_request: Request, exc: Exception) -> Response:
    error = cast("RequestError", exc)
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after_seconds)
    return problem_response(
        error.status, error.code, error.message, field=error.field, headers=headers
    )


async def _http(request: Request, exc: Exception) -> Response:
    error = cast("HTTPException", exc)
    code = HTTPStatus(error.status_code).name.lower()
    detail = f"{request.method} is not served here."
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = "There is nothing at this address."
    headers = dict(error.headers) if error.headers else None
    return problem_response(error.status_code, code, detail, headers=headers)


async def _gone(_request: Request, _exc: Exception) -> Response:
    """The client left while it was sending; nobody reads this."""
    return Response(status_code=400)


async def _crashed(_request: Request, _exc: Exception) -> Response:
    return problem_response(500, StreamsvcError.code, StreamsvcError.message)


EXCEPTION_HANDLERS: dict[type[Exception], ExceptionHandler] = {
    RequestError: _refused,
    HTTPException: _http,
    ClientDisconnect: _gone,
    Exception: _crashed,
}
