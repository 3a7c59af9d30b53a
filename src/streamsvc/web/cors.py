"""CORS: Starlette's middleware, with origins compared as origins."""

from collections.abc import Coroutine
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from streamsvc.errors import OriginRefused
from streamsvc.web.origins import Origins, shown
from streamsvc.web.problems import Problems, preflight_origin


class Cors(CORSMiddleware):
    """Middleware that answers preflights and lets allowed pages read responses.

    Args:
        app: the application.
        origins: checks which pages may read.
        problems: answers and logs the preflight of any other page, which sends nothing else.
        options: of Starlette's middleware.
    """

    def __init__(
        self, app: ASGIApp, /, origins: Origins, problems: Problems, **options: Any
    ) -> None:
        super().__init__(app, **options)
        self._origins = origins
        self._problems = problems

    @override
    def is_allowed_origin(self, origin: str) -> bool:
        return self._origins.allows(origin)

    @override
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Run the application; returns its coroutine, so that a stream does not keep a frame of this method."""
        origin = preflight_origin(scope) if scope["type"] == "http" else None
        if origin is None or self._origins.allows(origin):
            return super().__call__(scope, receive, send)
        return self._problems.refusal(scope, OriginRefused(shown(origin)))(scope, receive, send)
