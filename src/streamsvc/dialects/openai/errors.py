"""Failures in OpenAI's format: statuses, types, codes, and the last block of a stream."""

from collections.abc import Mapping

import msgspec

from streamsvc.dialects.sse import data_block
from streamsvc.errors import CursorLost
from streamsvc.events import Done, PublicError, Status
from streamsvc.provider_errors import UpstreamCut

DONE = b"data: [DONE]\n\n"
"""The last block of every stream."""

STOPPED = PublicError("stopped", "The answer was stopped.", retryable=False)
CUT = PublicError(UpstreamCut.code, UpstreamCut.message, retryable=True)
INTERRUPTED = PublicError(
    "interrupted", "The connection to the answer was interrupted; ask again.", retryable=True
)
LOST = PublicError(CursorLost.code, CursorLost.message, retryable=True)

STATUSES: Mapping[str, int] = {
    "content_filter": 400,
    "context_length_exceeded": 400,
    "provider_refused": 400,
    "provider_model_not_found": 404,
    "stopped": 409,
    "provider_rate_limited": 429,
    "drained": 503,
    "interrupted": 503,
    "provider_unavailable": 503,
    "provider_timeout": 504,
}
"""The HTTP status of a failed answer, by our error code; 502 for all others."""

CODES: Mapping[str, str] = {
    "provider_model_not_found": "model_not_found",
    "provider_rate_limited": "rate_limit_exceeded",
    "unauthorized": "invalid_api_key",
    "rate_limited": "rate_limit_exceeded",
}
"""OpenAI's code for a failure, where it differs from ours."""

TYPES: Mapping[int, str] = {409: "stopped", 429: "requests"}
"""The `type` of an error, by its status; for other statuses, a client error below 500, else a server error."""


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's error object (`types/shared/error_object.py`).

    Attributes:
        message: a sentence for people.
        type: `invalid_request_error`, `server_error`, `requests` or `stopped`.
        param: the field at fault, if there is one.
        code: for programs.
    """

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of an error response, and the data of the block that ends a stream that fails."""

    error: ErrorObject


def error_of(done: Done) -> PublicError | None:
    """Return the error that OpenAI's clients get for this `Done`, or None if it is an answer.

    A prompt refused by a content filter is an error (400, code `content_filter`), as with OpenAI and Azure. An
    answer that a filter cut short is not an error; its finish reason says so.
    """
    return done.error or (STOPPED if done.status is Status.STOPPED else None)


def status_of(error: PublicError) -> int:
    """Return the HTTP status of a failed answer."""
    return STATUSES.get(error.code, 502)


def error_body(message: str, code: str, *, status: int, param: str | None = None) -> ErrorBody:
    """Return an error in OpenAI's form."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")  # noqa: PLR2004
    error = ErrorObject(message=message, type=kind, param=param, code=CODES.get(code, code))
    return ErrorBody(error)


def error_block(error: PublicError) -> bytes:
    """Return the end of a stream that fails after it has begun: the error, then `[DONE]`."""
    return data_block(error_body(error.message, error.code, status=status_of(error))) + DONE
