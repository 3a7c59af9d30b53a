"""Answers to what never becomes a request of the application: it is too long, too slow, or not HTTP."""

from collections.abc import Iterable
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from streamsvc.web.problems import Problem


class Refused(Exception):
    """Stops the parser, when it is raised in one of its callbacks.

    Attributes:
        problem: the answer.
    """

    def __init__(self, status: HTTPStatus, code: str, detail: str) -> None:
        self.problem = Problem(title=status.phrase, status=status, detail=detail, code=code)


def answer(problem: Problem, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a problem as the bytes of the last answer on a connection.

    Args:
        problem: becomes the body.
        headers: further fields.
    """
    body = msgspec.json.encode(problem)
    fields = [
        *headers,
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    lines = [b"%b: %b\r\n" % field for field in fields]
    return b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body])
