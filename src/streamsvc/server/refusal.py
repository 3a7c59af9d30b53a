"""What a client may send, and the response to anything else.

A refused request never reaches the application: it is too long, too slow, or not HTTP. Statuses are those of
RFC 9110 and RFC 6585; bodies are problem documents (RFC 9457).
"""

from collections.abc import Iterable
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from streamsvc.errors import StreamsvcError
from streamsvc.web.headers import SECURITY_HEADERS
from streamsvc.web.problems import Problem

HEAD_BYTES = 131_072
"""The limit on a request's head, give or take one read; uvicorn has none."""

MAX_TARGET_BYTES = 65_535
"""The limit on a request target: httptools cannot parse a longer one."""

MAX_FIELDS = 256
"""The limit on the fields in a head and its trailer; browsers and proxies send a few dozen."""

MAX_WAITING = 64
"""How many pipelined requests may wait on a connection for earlier responses."""

FRAMING_BYTES = 2
"""How many bytes of chunk sizes, extensions and trailers are accepted for each byte of a body, beyond
`HEAD_BYTES`: a short body may arrive in chunks of one byte, but an endless trailer is an attack."""

LINGER_SECONDS, LINGER_BYTES = 2.0, 1_048_576
"""How long and how much a refused client may continue to send. Closing at once would reset the connection, and
the client would lose the refusal (RFC 9112, section 9.6)."""


class Refused(Exception):
    """Stops the parser when raised in one of its callbacks.

    Attributes:
        problem: the body of the response.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def _problem(status: HTTPStatus, code: str, detail: str) -> Problem:
    return Problem(title=status.phrase, status=status, detail=detail, code=code)


NOT_HTTP = _problem(
    HTTPStatus.BAD_REQUEST,
    "malformed_request",
    "The request could not be read as HTTP/1.1.",
)
TOO_MUCH_FRAMING = _problem(
    HTTPStatus.BAD_REQUEST,
    "malformed_request",
    "The body has more framing than content: chunk extensions or trailers.",
)
TOO_LATE = _problem(
    HTTPStatus.REQUEST_TIMEOUT,
    "request_timeout",
    "The request took too long to arrive.",
)
TARGET_TOO_LONG = _problem(
    HTTPStatus.REQUEST_URI_TOO_LONG,
    "too_large",
    f"The URL is longer than {MAX_TARGET_BYTES} bytes; send long prompts with POST.",
)
HEAD_TOO_LONG = _problem(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "too_large",
    f"The request headers are longer than {HEAD_BYTES} bytes.",
)
TOO_MANY_FIELDS = _problem(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "too_large",
    f"The request has more than {MAX_FIELDS} header fields.",
)
TOO_MANY_WAITING = _problem(
    HTTPStatus.TOO_MANY_REQUESTS,
    "too_many_requests",
    f"At most {MAX_WAITING} pipelined requests may wait on a connection.",
)
NOT_A_PROXY = _problem(
    HTTPStatus.NOT_IMPLEMENTED,
    "not_implemented",
    "This server is not a proxy.",
)
CRASHED = _problem(HTTPStatus.INTERNAL_SERVER_ERROR, StreamsvcError.code, StreamsvcError.message)


def encode(problem: Problem, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the last response on a connection as bytes, head and body.

    Args:
        problem: the body.
        headers: further header fields.
    """
    body = msgspec.json.encode(problem)
    fields = [
        *headers,
        (b"content-type", b"application/problem+json"),
        *SECURITY_HEADERS,
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    lines = [b"%b: %b\r\n" % field for field in fields]
    return b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body])
