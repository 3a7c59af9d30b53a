"""Tickets: how a native `EventSource`, which sends no header of its own, gets in and stays in.

A back end asks for a ticket (`create`), and its page opens the address that comes with it (`stream`). `docs/reference/http.md`
has a table of what a (re)connect with a ticket gets; `stream`, `_open` and `_resume` implement it.
"""

import secrets
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from streamsvc.config.settings import StreamSettings
from streamsvc.dialects.base import Dialect
from streamsvc.dialects.invalid import refused
from streamsvc.dialects.native.request import NativeRequestParser, TicketRequest, below
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import (
    Draining,
    InvalidField,
    RequestError,
    StoreUnavailable,
    TicketInvalid,
    TicketSpent,
)
from streamsvc.eventlog.base import BEFORE_FIRST, EventLog
from streamsvc.events import Event, Record
from streamsvc.guard.tickets.base import Ticket, Tickets, hash_of
from streamsvc.principals import Principal
from streamsvc.web.creation import Creation
from streamsvc.web.origins import is_from, shown
from streamsvc.web.request_log import note_of
from streamsvc.web.requests import TICKET_PARAMETERS, RequestHead
from streamsvc.web.responses import json_response, no_content
from streamsvc.web.running import belongs_to
from streamsvc.web.stream.first_event import DeferredHead
from streamsvc.web.stream.whole import head_response
from streamsvc.web.viewing import Viewing

START_SECONDS = 5.0
"""How long the head of a stream waits for its `start` at most, before the ticket is spent."""

_NO_PARAMETERS: frozenset[str] = frozenset()


class NewTicket(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket, which opens one stream in a browser.

    Attributes:
        ticket: its text, which only this response has.
        url: the path and query for the page's `EventSource`.
        expires_in: within how many seconds it must be opened.
    """

    ticket: str
    url: str
    expires_in: int


class TicketEndpoints:
    """The endpoints of tickets.

    Args:
        tickets: keeps them.
        supervisor: starts generations, and limits their viewers.
        log: shows which generations are kept.
        creation: reads request bodies, and checks which pages may create.
        viewing: answers viewers.
        parser: parses request bodies.
        is_revoked: returns whether the credential that a principal came with does not count any more.
        settings: how a stream looks.
        seconds: how long a ticket may wait.
    """

    def __init__(  # noqa: PLR0913  # what the endpoints need, passed by name
        self,
        *,
        tickets: Tickets,
        supervisor: Supervisor,
        log: EventLog,
        creation: Creation,
        viewing: Viewing,
        parser: NativeRequestParser,
        is_revoked: Callable[[Principal], bool],
        settings: StreamSettings,
        seconds: float,
    ) -> None:
        self._tickets = tickets
        self._supervisor = supervisor
        self._log = log
        self._creation = creation
        self._viewing = viewing
        self._parser = parser
        self._is_revoked = is_revoked
        self._settings = settings
        self._seconds = seconds

    async def create(self, request: Request, head: RequestHead) -> Response:
        """`POST /v1/tickets`: a ticket for a generation, or for a request that is checked now and starts one later."""
        head.check_parameters(_NO_PARAMETERS)
        wanted = self._parser.parse_ticket(await self._creation.read(request, head), head.principal)
        if self._supervisor.is_draining:
            raise Draining
        text = await self._tickets.mint(await self._ticket(wanted, head))
        url = f"{request.scope.get('root_path', '')}/v1/stream?ticket={text}"
        made = NewTicket(ticket=text, url=url, expires_in=int(self._seconds))
        return json_response(made, status=201)

    async def stream(self, request: Request, head: RequestHead) -> Response:
        """`GET /v1/stream?ticket=…`: open what the ticket is for; resume with a cursor.

        The ticket is the credential here, so anybody may call this.
        """
        head.check_parameters(TICKET_PARAMETERS)
        dialect = self._viewing.dialect(head)
        if request.method == "HEAD":
            return head_response()
        head.refuse_prefetch()
        head.refuse_navigation()
        text = head.parameters.get("ticket")
        if text is None:
            raise InvalidField("A ticket is required: ?ticket=…", field="ticket")
        if head.cursor is not None and head.cursor.seq is None:
            return no_content()  # of a `done` that said why there is no stream
        if not head.has_cursor_field:
            self._creation.check_origin(head)
        try:
            connect = self._resume if head.has_cursor_field else self._open
            return await connect(request, head, text, dialect)
        except RequestError as exc:
            return self._viewing.refusal(request, head, exc, dialect)

    async def _ticket(self, wanted: TicketRequest, head: RequestHead) -> Ticket:
        """Check all that can be checked now: a mistake must show in the back end, not in the page."""
        caller, origin = head.principal, ""
        if wanted.origin is not None:
            origin = shown(wanted.origin) or "null"
            if origin == "null":
                raise refused(
                    "origin",
                    "it must be an origin as a browser sends it, such as https://app.example.com",
                )
        if isinstance(wanted.opens, str):
            head.check_own(wanted.opens)
            await self._log.read(wanted.opens, after=0)
            return Ticket(principal=caller, origin=origin, generation=wanted.opens)
        order = msgspec.structs.replace(wanted.opens, principal=caller.name)
        with below("request"):
            self._supervisor.entries.route(order.provider, order.prompt, caller)
        trace = head.trace if head.trace and head.trace.parent else None
        return Ticket(
            principal=caller,
            origin=origin,
            request=order,
            trace=trace,
        )

    async def _find(self, request: Request, text: str, head: RequestHead) -> Ticket:
        """Return a ticket that counts, for the page that makes this request.

        Raises:
            TicketInvalid: there is none; only the log says why.
        """
        ticket = await self._tickets.find(text)
        if ticket is None:
            raise TicketInvalid("unknown")
        if self._is_revoked(ticket.principal):
            raise TicketInvalid("revoked")
        if ticket.origin and not is_from(ticket.origin, head):
            raise TicketInvalid("of_another_origin")
        belongs_to(request.scope, ticket.principal)
        note_of(request.scope).principal = ticket.principal.name
        return ticket

    async def _open(
        self, request: Request, head: RequestHead, text: str, dialect: Dialect
    ) -> Response:
        """Answer a client that has nothing but the address: only the first one that is sent something gets the stream.

        Nothing is spent before that. Until then, the ticket leads every client to the same generation. A cursor in the
        address says where to begin, and proves nothing, because an access log may have it.
        """
        ticket = await self._find(request, text, head)
        if ticket.is_spent:
            raise TicketSpent
        if head.has_cursor and (head.cursor is None or head.cursor.generation != ticket.generation):
            return self._viewing.gone(head)
        if ticket.request is None:
            spent = ticket.spent(ticket.generation)
            instead = self._spending(request, head, text, spent, dialect)
            own = _as_of(ticket, head)
            return await self._viewing.attach(
                request, own, ticket.generation, dialect, instead=instead
            )
        async with self._supervisor.viewer_place(ticket.principal) as lease:
            generation = await self._supervisor.create(
                ticket.request,
                key=f"ticket\0{hash_of(text)}",
                caller=ticket.principal,
                asked_by=ticket.trace or head.trace,
            )
            instead = self._spending(request, head, text, ticket.spent(generation), dialect)
            return self._viewing.stream(
                request, head, generation, BEFORE_FIRST, dialect, lease=lease, instead=instead
            )

    async def _resume(
        self, request: Request, head: RequestHead, text: str, dialect: Dialect
    ) -> Response:
        """Answer a client that has a cursor in its head: all that can be wrong is that there is nothing to resume."""
        cursor = head.cursor
        try:
            ticket = await self._find(request, text, head)
        except TicketInvalid:
            return self._viewing.gone(head)
        if cursor is None or cursor.generation != ticket.generation:
            return self._viewing.gone(head)
        if ticket.is_spent:
            with suppress(StoreUnavailable):  # it is known for long enough
                await self._tickets.renew(text)
        else:  # a new ticket, and the cursor of an earlier one
            await self._tickets.spend(text, ticket.spent(ticket.generation), _opener())
        own = _as_of(ticket, head)
        return await self._viewing.attach(request, own, ticket.generation, dialect)

    def _spending(
        self, request: Request, head: RequestHead, text: str, spent: Ticket, dialect: Dialect
    ) -> "_Spending":
        return _Spending(
            partial(self._tickets.spend, text, spent, _opener()),
            partial(self._viewing.refusal, request, head, dialect=dialect),
            0.0 if head.has_cursor else START_SECONDS,
        )


class _Spending(DeferredHead):
    """Spends a ticket right before something is sent.

    Args:
        spend: spends it; returns whether this connection has.
        refuse: makes the response for a connection that has not.
        seconds: how long to wait for the `start`, which is normally there already; 0: the client has had that, and
            what follows may take long.
    """

    def __init__(
        self,
        spend: Callable[[], Coroutine[Any, Any, bool]],
        refuse: Callable[[RequestError], Response],
        seconds: float,
    ) -> None:
        self.seconds = seconds
        self._spend = spend
        self._refuse = refuse
        self._begun: Sequence[Record] = ()

    @property
    @override
    def begun(self) -> Sequence[Record]:
        return self._begun

    @override
    def is_due(self, event: Event) -> bool:
        return True

    @override
    def take(self, records: Sequence[Record]) -> None:
        self._begun = records

    @override
    async def answer(self) -> Response | None:
        if self.seconds and not self._begun:  # the process that has the answer is gone, or away
            return self._refuse(StoreUnavailable("silent"))
        try:
            return None if await self._spend() else self._refuse(TicketSpent())
        except StoreUnavailable as exc:
            return self._refuse(exc)


def _as_of(ticket: Ticket, head: RequestHead) -> RequestHead:
    """Return a head with the principal of a ticket."""
    return msgspec.structs.replace(head, principal=ticket.principal)


def _opener() -> str:
    """Return a random name for a connection that may spend a ticket."""
    return secrets.token_hex(8)
