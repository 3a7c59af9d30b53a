"""All routes, and the headers that every response has."""

from collections.abc import Iterator

from starlette.routing import Mount

from streamsvc.app import create_app
from streamsvc.config.settings import Settings
from streamsvc.web.access import Access, ServiceRoute
from streamsvc.web.headers import SECURITY_HEADERS
from support.eventstream import Answer
from support.native import NEVER

EVERYWHERE = {name.decode(): value.decode() for name, value in SECURITY_HEADERS}
OFTEN_OWN = {"cache-control", "content-security-policy"}
"""Those for which some responses have a value of their own."""


def own_headers(answer: Answer) -> dict[str, str]:
    """Return the header fields of a response besides those that every response has."""
    usual = {"date", "server", *EVERYWHERE} - {"cache-control"}
    return {name: value for name, value in answer.headers.items() if name not in usual}


def every_route(*, only_callers: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the methods and paths of the router.

    Args:
        only_callers: leave out those that need no credential.
    """
    for route in create_app(Settings(), {}).routes:
        if isinstance(route, ServiceRoute):
            if only_callers and route.access is not Access.CALLER:
                continue
            path = route.path.replace("{id:path}", "some-id").replace("{id}", NEVER)
            for method in sorted(route.methods or ()):
                yield method, path
        else:
            assert isinstance(route, Mount)
            if not only_callers:
                yield "GET", f"{route.path}/none.js"
