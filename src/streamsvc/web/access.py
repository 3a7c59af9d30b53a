"""Who makes a request: the one check of credentials, made at the routing table.

Every route names its `Access`, so none can forget the check. A credential is found by one function, whatever header
it comes in: a rule for one carrier would be a hole for the others.
"""

from collections.abc import Awaitable, Callable
from enum import Enum, auto

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from streamsvc.errors import Unauthorized
from streamsvc.guard.authentication import Authenticator
from streamsvc.principals import ANONYMOUS, Principal
from streamsvc.web.requests import RequestHead, read_head

Endpoint = Callable[[Request, RequestHead], Awaitable[Response]]
"""Answers a request whose caller is known."""

COOKIE = "__Host-streamsvc"
"""The cookie that may hold a credential; the prefix binds it to this host (RFC 6265bis, section 4.1.3.2)."""

_BEARER = "bearer "
_KEY_FIELDS = (b"x-api-key", b"api-key")


class Access(Enum):
    """Who may call a route."""

    PUBLIC = auto()  # everybody, even with keys configured
    CALLER = auto()  # those with a valid credential


class AccessControl:
    """Finds out who makes a request.

    Args:
        authenticator: knows the credentials; None if the service asks for none.
    """

    def __init__(self, authenticator: Authenticator | None = None) -> None:
        self._authenticator = authenticator

    async def caller(self, scope: Scope) -> Principal:
        """Return who makes a request.

        Raises:
            Unauthorized: it has no valid credential.
        """
        if self._authenticator is None:
            return ANONYMOUS
        credential = credential_of(scope)
        if not credential:
            raise Unauthorized(was_given=False)
        return await self._authenticator.principal(credential)


def credential_of(scope: Scope) -> str:
    """Return the credential of a request; "" if there is none.

    The first of these counts: `Authorization: Bearer` (RFC 6750, section 2.1), `x-api-key`, `api-key`, and on
    requests from pages of this origin the cookie.
    """
    fields: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name == b"authorization" or name in _KEY_FIELDS:
            fields.setdefault(name, value.decode("latin-1").strip())
    bearer = fields.get(b"authorization", "")
    if bearer.lower().startswith(_BEARER):
        return bearer[len(_BEARER) :].strip()
    return next(filter(None, (fields.get(name) for name in _KEY_FIELDS)), "")


class ServiceRoute(Route):
    """A route that says who may call it.

    Args:
        path: as Starlette's.
        endpoint: gets the request, and its head with the caller.
        method: the one method; `HEAD` comes with `GET`.
        access: who may call it.
        control: finds out who calls.
    """

    def __init__(
        self, path: str, endpoint: Endpoint, method: str, access: Access, control: AccessControl
    ) -> None:
        async def called(request: Request) -> Response:
            caller = ANONYMOUS if access is Access.PUBLIC else await control.caller(request.scope)
            return await endpoint(request, read_head(request, caller))

        super().__init__(path, called, methods=[method], name=getattr(endpoint, "__name__", path))
        self.access = access
