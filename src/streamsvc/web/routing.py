"""Finds the route of a request."""

from collections.abc import Awaitable, Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Router
from starlette.types import Receive, Scope, Send


class Routing:
    """Passes each request to its route, as Starlette's router does, but without a frame that every stream would keep.

    The router has two coroutines for that (1.10). It also redirects to a path with or without a final slash, to the
    address in the client's `Host`, which this does not.

    Args:
        router: has the routes, and answers whatever is not HTTP.
    """

    def __init__(self, router: Router) -> None:
        self._router = router

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the coroutine of the route.

        Raises:
            HTTPException: there is nothing at this path.
        """
        if scope["type"] != "http":
            return self._router(scope, receive, send)
        route, found = _route_of(scope, self._router.routes)
        scope["route"] = route
        scope.update(found)
        return route.handle(scope, receive, send)


def _route_of(scope: Scope, routes: Sequence[BaseRoute]) -> tuple[BaseRoute, Scope]:
    """Return the route of a request, and what it adds to the scope.

    If none takes the method, it is the first that has the path, which says so.

    Raises:
        HTTPException: there is nothing at this path.
    """
    other: tuple[BaseRoute, Scope] | None = None
    for route in routes:
        match, found = route.matches(scope)
        if match is Match.FULL:
            return route, found
        if match is Match.PARTIAL and other is None:
            other = route, found
    if other is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return other
