"""The whole document."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

import streamsvc
from streamsvc.errors import IssuerUnavailable, Unauthorized
from streamsvc.web.access import Access, ServiceRoute
from streamsvc.web.credentials import COOKIE
from streamsvc.web.openapi import ai_sdk, native, openai, service, tickets
from streamsvc.web.openapi.errors import common_responses
from streamsvc.web.openapi.operation import Operation
from streamsvc.web.openapi.parameters import HEADERS
from streamsvc.web.openapi.schemas import schemas
from streamsvc.web.requests import RequestHead
from streamsvc.web.responses import json_response

Json = dict[str, Any]

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    **native.OPERATIONS,
    **tickets.OPERATIONS,
    **openai.OPERATIONS,
    **ai_sdk.OPERATIONS,
    **service.OPERATIONS,
}
"""What is in the document, by method and path."""

LEFT_OUT: Mapping[str, str] = {
    "/": "a page for people",
    "/playground": "the files of that page",
    "/operations": "a page for operators",
    "/operations/page": "the files of that page",
    "/operations/state": "what that page shows; it changes with the page",
    "/demo/generations/{id}": "only `streamsvc demo` serves it",
    "/demo/generations/{id}/kill": "only `streamsvc demo` serves it",
}
"""The paths that are not, with the reason."""

SCHEMES: Mapping[str, Json] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key or a JWT. Needed only if the service has keys, like the others.",
    },
    "xApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "api-key"},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "On requests from pages of the service's own origin.",
    },
}
"""What a credential comes in (`web/access.py`); operations that need one name all of them."""

_CONVERTER = re.compile(r":\w+(?=\})")
_TAGS: Mapping[str, str] = {
    "native": "The service's own API.",
    "openai": "OpenAI's chat completions, for its clients.",
    "ai-sdk": "The AI SDK's UI message stream, for `useChat`.",
    "service": "For operators.",
}
_ABOUT = (
    "Streams language-model answers word by word. Bodies are read whatever their `Content-Type` says, and must not be"
    " compressed. Refusals are problem details (RFC 9457); under `/v1/chat/completions` and `/v1/models` they have the"
    " shape of OpenAI's errors, under `/api/chat` they are a sentence."
)


def path_of(route: BaseRoute) -> str:
    """Return the path of a route as the document writes it."""
    return _CONVERTER.sub("", str(getattr(route, "path", "")))


def document(routes: Iterable[BaseRoute], root_path: str = "") -> bytes:
    """Return the document, as JSON (OpenAPI Specification 3.1.1).

    Args:
        routes: what is served.
        root_path: the path under which a proxy publishes the service.
    """
    paths: dict[str, Json] = {}
    for route in (it for it in routes if isinstance(it, ServiceRoute)):
        path = path_of(route)
        for method in sorted(route.methods or ()):
            if operation := OPERATIONS.get((method, path)):
                paths.setdefault(path, {})[method.lower()] = _described(operation, route.access)
    operations = [operation for methods in paths.values() for operation in methods.values()]
    answers = [answer for operation in operations for answer in operation["responses"].values()]
    used = {answer["$ref"].rpartition("/")[2] for answer in answers if "$ref" in answer}
    found = {
        "openapi": "3.1.1",
        "info": {
            "title": "streamsvc",
            "version": streamsvc.__version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root_path or "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas(),
            "responses": {name: it for name, it in common_responses().items() if name in used},
            "headers": dict(HEADERS),
            "securitySchemes": dict(SCHEMES),
        },
    }
    return msgspec.json.encode(found)


def _described(operation: Operation, access: Access) -> Json:
    """Return an operation, with the credentials it needs."""
    if access is not Access.CALLER:
        return {**operation.described(), "security": []}
    needed = operation.described(Unauthorized, IssuerUnavailable)
    return {**needed, "security": [{name: []} for name in SCHEMES]}


class DocumentEndpoint:
    """Serves the document, which is made at the first request for it, in a thread: that takes 30 ms."""

    def __init__(self) -> None:
        self._encoded: dict[str, bytes] = {}

    async def show(self, request: Request, _head: RequestHead) -> Response:
        """`GET /openapi.json`: the document."""
        root_path = request.scope.get("root_path", "")
        if root_path not in self._encoded:
            self._encoded[root_path] = await anyio.to_thread.run_sync(
                document, request.app.routes, root_path
            )
        return json_response(self._encoded[root_path])
