"""Who makes a request: the one check of credentials, made at the routing table.

Every route names its `Access`, so none can forget the check.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from enum import Enum, auto
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from streamsvc.errors import Overloaded, Unauthorized
from streamsvc.guard.authentication import Authenticator
from streamsvc.principals import ANONYMOUS, Principal
from streamsvc.web.credentials import credential_of
from streamsvc.web.operators import LOCAL, Operators
from streamsvc.web.request_log import note_of
from streamsvc.web.requests import RequestHead, read_head
from streamsvc.web.running import RunningRequests

Endpoint = Callable[[Request, RequestHead], Awaitable[Response]]
"""Answers a request whose caller is known."""

Refuse = Callable[[Request, RequestHead, Overloaded], Response]
"""Answers a request whose credential cannot be checked at the moment, or raises the refusal."""


class Access(Enum):
    """Who may call a route."""

    PUBLIC = auto()  # everybody, even with keys configured
    CALLER = auto()  # those with a valid credential
    TICKET = auto()  # those with a valid ticket, which the endpoint checks
    OPERATOR = (
        auto()
    )  # those that may look at the whole service, which no caller's credential allows


class AccessControl:
    """Finds out who makes a request, and registers it with the credential that it came with.

    Args:
        authenticator: knows the credentials; None if the service asks for none.
        anonymous: who everybody is in that case.
        running: the requests of each credential, which a revocation cuts.
        operators: knows who may look at the whole service.
    """

    def __init__(
        self,
        authenticator: Authenticator | None,
        anonymous: Principal,
        running: RunningRequests,
        operators: Operators = LOCAL,
    ) -> None:
        self.check_operator = operators.check
        self._authenticator = authenticator
        self._running = running
        self._anonymous = anonymous

    async def caller(self, scope: Scope) -> Principal:
        """Return who makes a request.

        Raises:
            Unauthorized: it has no valid credential.
            Overloaded: its credential cannot be checked at the moment.
        """
        if self._authenticator is None:
            return self._anonymous
        credential = credential_of(scope)
        if not credential:
            raise Unauthorized(was_given=False)
        return await self._authenticator.principal(credential)

    def request(self, caller: Principal, scope: Scope) -> AbstractContextManager[object]:
        """Return the context in which a request is answered: a revocation cuts the request.

        Args:
            caller: who makes it.
            scope: of the request.
        """
        return self._running.request(caller, scope)

    def ticket_request(self, scope: Scope) -> AbstractContextManager[object]:
        """Return the context in which a request with a ticket is answered; its endpoint says who makes it."""
        if self._authenticator is None:
            return self._running.request(ANONYMOUS, scope)
        return self._running.unknown(scope)


class ServiceRoute(Route):
    """A route that says who may call it.

    Args:
        path: as Starlette's.
        endpoint: gets the request, and its head with the caller.
        method: the one method; `HEAD` comes with `GET`.
        access: who may call it.
        control: finds out who calls.
        refuse: answers instead of the endpoint while the credential cannot be checked; None: as any refusal.
    """

    def __init__(  # what a row of the route table has
        self,
        path: str,
        endpoint: Endpoint,
        method: str,
        access: Access,
        control: AccessControl,
        refuse: Refuse | None = None,
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.access = access
        self._endpoint = endpoint
        self._control = control
        self._refuse = refuse
        # Starlette's own has two coroutines more, which every stream would keep (1.10). They handle exceptions, as
        # `CrashGuard` does.
        self.app = self._answer

    @override
    def handle(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Answer a request; returns the coroutine, so that a stream does not keep a frame of this method."""
        if self.methods and scope["method"] in self.methods:
            return self._answer(scope, receive, send)
        return super().handle(scope, receive, send)  # refuses it

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        control, caller = self._control, ANONYMOUS
        if self.access is Access.CALLER:
            try:
                caller = await control.caller(scope)
                note_of(scope).principal = caller.name
            except Overloaded as exc:
                if self._refuse is None:
                    raise
                request = Request(scope, receive, send)
                await self._refuse(request, read_head(request), exc)(scope, receive, send)
                return
        elif self.access is Access.OPERATOR:
            control.check_operator(scope)
        is_ticket = self.access is Access.TICKET
        with control.ticket_request(scope) if is_ticket else control.request(caller, scope):
            request = Request(scope, receive, send)
            response = await self._endpoint(request, read_head(request, caller))
            del request  # a stream would keep it
            await response(scope, receive, send)
