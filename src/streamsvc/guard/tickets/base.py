"""The port of the tickets, and what a ticket is.

An `EventSource` sends no header of its own, and always reconnects to the same address. A ticket that could be used
again would be a credential in every access log; one that could be used once would make a reconnect impossible. So a
ticket opens one generation, once, and after that only a client that also has a cursor of this generation can use it.
"""

import hashlib
import re
import secrets
from typing import Protocol

import msgspec

from streamsvc.config.settings import Settings
from streamsvc.errors import RequestTooLarge
from streamsvc.messages import GenerationRequest
from streamsvc.principals import Principal
from streamsvc.tracecontext import RequestTrace

TICKET_PREFIX = "tkt_"
TICKET_PATTERN = TICKET_PREFIX + "[A-Za-z0-9_-]{32}"
"""Matches what `new_ticket` returns."""

_TICKET = re.compile(TICKET_PATTERN, re.ASCII)
_RANDOM_BYTES = 24


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What a ticket opens.

    Attributes:
        principal: whose generation it opens, with the credential that asked for the ticket.
        origin: of the pages that may use it, in canonical form; "" is any.
        request: what to generate; None if it opens an existing generation.
        generation: the generation to watch; "" until the request's has been opened.
        is_spent: whether a client has been sent something of it.
        trace: of the back end's request for the ticket, if it sent a `traceparent`: the page's `EventSource` can send
            none.
    """

    principal: Principal
    origin: str = ""
    request: GenerationRequest | None = None
    generation: str = ""
    is_spent: bool = False
    trace: RequestTrace | None = None

    def spent(self, generation: str) -> "Ticket":
        """Return the ticket as it is after a client has been sent something of a generation."""
        return msgspec.structs.replace(self, generation=generation, request=None, is_spent=True)


class Tickets(Protocol):
    """Keeps tickets: an unspent one for `auth.ticket_seconds`, a spent one for `kept_seconds` after its last use.

    Of a ticket's text, only a hash is kept. Any text may be asked for.

    Concurrency: any method may be called while others are waiting, in any process. A cancelled call has had its effect
    or not.
    """

    async def mint(self, ticket: Ticket) -> str:
        """Keep a ticket, and return its text.

        Raises:
            RequestTooLarge: its request is too large to be kept.
            StoreUnavailable: it cannot be kept at the moment.
        """
        ...

    async def find(self, text: str) -> Ticket | None:
        """Return a ticket by its text; None if there never was one, or it has expired.

        Raises:
            StoreUnavailable: nobody knows at the moment.
        """
        ...

    async def spend(self, text: str, ticket: Ticket, opener: str) -> bool:
        """Spend a ticket; only the first opener can.

        Args:
            text: of the ticket.
            ticket: the ticket as it is from now on (`Ticket.spent`).
            opener: who spends it, as a random name; the same one may call again.

        Returns:
            Whether this opener has spent it. If not, another one has, or it has expired.

        Raises:
            StoreUnavailable: nobody knows; it may be spent or not.
        """
        ...

    async def renew(self, text: str) -> None:
        """Note that a spent ticket has been used to resume. An unknown one stays unknown.

        Raises:
            StoreUnavailable: it may not be noted.
        """
        ...


def kept_seconds(settings: Settings) -> float:
    """Return how long a spent ticket is known without being used: longer than its answer can run and be kept.

    The longest answer is taken twice, because a worker that takes over begins with a new deadline.
    """
    longest = max(entry.total_seconds for entry in settings.providers.values())
    return 2 * longest + settings.generations.keep_finished_seconds


def new_ticket() -> str:
    """Return the text of a new ticket: 192 random bits, as letters, digits, `-` and `_`."""
    return TICKET_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hash_of(text: str) -> str | None:
    """Return the name under which a ticket is kept; None if the text is not one of a ticket.

    The text is random, so one round of SHA-256 is enough: nobody can guess it from its hash.
    """
    return hashlib.sha256(text.encode()).hexdigest() if _TICKET.fullmatch(text) else None


def too_large(setting: str) -> RequestTooLarge:
    """Return the refusal of a ticket whose request is larger than a setting allows."""
    return RequestTooLarge(
        f"The request is too large for a ticket ({setting}); create the generation, and ask for a ticket for it.",
        field="request",
    )
