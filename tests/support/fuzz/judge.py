"""Judges responses by the OpenAPI document."""

import json
from collections.abc import Collection, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from support.fuzz.connection import Response
from support.fuzz.requests import Request

NEVER_FINE = {HTTPStatus.INTERNAL_SERVER_ERROR}
"""Documented, but each one is a bug."""

OF_NO_OPERATION = {404, 405, 501}
"""The statuses of a request that misses the operation it was made from."""

WITHOUT_OPERATION = {
    200,
    201,
    204,
    304,
    400,
    401,
    403,
    404,
    405,
    408,
    410,
    413,
    414,
    415,
    421,
    422,
    429,
    431,
    501,
    503,
}
"""The statuses of a request that may mean no operation, or any."""


class Judge:
    """Says what is wrong with a response.

    Args:
        document: the OpenAPI document.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        common = document["components"]["responses"]
        self._codes: dict[tuple[str, str], dict[int, set[str]]] = {}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                self._codes[method.upper(), path] = {
                    int(status): set(
                        _codes(common[it["$ref"].rpartition("/")[2]] if "$ref" in it else it)
                    )
                    for status, it in operation["responses"].items()
                }

    def fault(self, request: Request, response: Response) -> str:
        """Return what is wrong with a response; empty: nothing."""
        status = response.status
        if status in NEVER_FINE:
            return f"{status}"
        documented = self._codes.get(request.operation, {})
        if status not in documented and (
            (documented and status not in OF_NO_OPERATION) or status not in WITHOUT_OPERATION
        ):
            return f"{status} is not documented for {' '.join(request.operation)}"
        if status < HTTPStatus.BAD_REQUEST or request.is_head:
            return ""
        return _fault_of_error(response, documented.get(status, set()))


def _codes(schema: object) -> Iterator[str]:
    """Yield the codes that an error may have."""
    if isinstance(schema, dict):
        if isinstance(schema.get("code"), dict):
            yield from schema["code"].get("enum", ())
        for part in schema.values():
            yield from _codes(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _codes(part)


def _fault_of_error(response: Response, codes: Collection[str]) -> str:
    """Return what is wrong with an error: it has a sentence, and in JSON a documented code."""
    try:
        text = response.body.decode()
        if response.media_type == "text/plain":
            return "" if text else "an error without a sentence"
        body = json.loads(text)
        body = body.get("error", body)
        code, sentence = body["code"], body.get("message") or body["detail"]
    except (ValueError, KeyError, AttributeError):
        return f"{response.status} is {response.body[:100]!r}"
    if codes and code not in codes:
        return f"{response.status} has the code {code}"
    return "" if sentence else "an error without a sentence"
