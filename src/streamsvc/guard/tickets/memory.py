"""The tickets of a service that is one process."""

from collections import Counter

import msgspec
from typing_extensions import override

from streamsvc.config.settings import Settings
from streamsvc.eventloop import now
from streamsvc.guard.tickets.base import (
    Ticket,
    Tickets,
    hash_of,
    kept_seconds,
    new_ticket,
    too_large,
)


class _Waiting(msgspec.Struct, frozen=True):
    """An unspent ticket, in MessagePack, and until when it counts."""

    data: bytes
    owner: str
    until: float


class _Spent(msgspec.Struct, frozen=True):
    """A spent ticket, who spent it, and until when it is known."""

    ticket: Ticket
    opener: str
    until: float


class MemoryTickets(Tickets):
    """Tickets in this process.

    There are no more unspent ones, and no more spent ones, than there can be logs, and the unspent ones take no more
    memory than request bodies may (`limits.max_total_body_bytes`). Beyond that, the oldest of the principal that has
    the most is dropped, so that nobody can push out the tickets of others.

    Args:
        settings: the limits, and how long a ticket may wait.
    """

    def __init__(self, settings: Settings) -> None:
        self._waiting: dict[str, _Waiting] = {}  # the oldest come first
        self._spent: dict[str, _Spent] = {}
        self._bytes_of: Counter[str] = Counter()
        self._waiting_of: Counter[str] = Counter()
        self._spent_of: Counter[str] = Counter()
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Keep new tickets, and those that are used from now on, for other times, and within other limits."""
        self._seconds = settings.auth.ticket_seconds
        self._kept_seconds = kept_seconds(settings)
        self._limit = settings.limits.max_generations + settings.generations.keep_count
        self._max_bytes = settings.limits.max_total_body_bytes

    def __len__(self) -> int:
        """Return how many tickets are kept."""
        return len(self._waiting) + len(self._spent)

    @override
    async def mint(self, ticket: Ticket) -> str:
        data, owner = msgspec.msgpack.encode(ticket), ticket.principal.name
        if len(data) > self._max_bytes:
            raise too_large("limits.max_total_body_bytes")
        text = new_ticket()
        self._waiting[str(hash_of(text))] = _Waiting(data, owner, now() + self._seconds)
        self._bytes_of[owner] += len(data)
        self._waiting_of[owner] += 1
        self._tidy()
        return text

    @override
    async def find(self, text: str) -> Ticket | None:
        self._tidy()
        name = hash_of(text) or ""
        if (waiting := self._waiting.get(name)) and waiting.until > now():
            return msgspec.msgpack.decode(waiting.data, type=Ticket)
        spent = self._spent.get(name)
        return spent.ticket if spent else None

    @override
    async def spend(self, text: str, ticket: Ticket, opener: str) -> bool:
        self._tidy()
        name = hash_of(text) or ""
        if (waiting := self._waiting.get(name)) and waiting.until > now():
            self._drop(name)
            self._spent[name] = _Spent(ticket, opener, now() + self._kept_seconds)
            self._spent_of[ticket.principal.name] += 1
            self._tidy()
        spent = self._spent.get(name)
        return spent is not None and spent.opener == opener

    @override
    async def renew(self, text: str) -> None:
        self._tidy()
        name = hash_of(text) or ""
        if spent := self._spent.pop(name, None):
            until = now() + self._kept_seconds
            self._spent[name] = msgspec.structs.replace(spent, until=until)

    def _tidy(self) -> None:
        """Drop what has expired, and what is too much."""
        time = now()
        while self._waiting and next(iter(self._waiting.values())).until <= time:
            self._drop(next(iter(self._waiting)))
        while len(self._waiting) > self._limit:
            self._drop_one_of(self._waiting_of)
        while self._bytes_of.total() > self._max_bytes:
            self._drop_one_of(self._bytes_of)
        while self._spent and next(iter(self._spent.values())).until <= time:
            self._forget(next(iter(self._spent)))
        while len(self._spent) > self._limit:
            most = _largest(self._spent_of)
            self._forget(
                next(n for n, it in self._spent.items() if it.ticket.principal.name == most)
            )

    def _drop_one_of(self, shares: Counter[str]) -> None:
        """Drop the oldest unspent ticket of the principal with the largest share."""
        most = _largest(shares)
        self._drop(next(name for name, it in self._waiting.items() if it.owner == most))

    def _drop(self, name: str) -> None:
        """Drop an unspent ticket."""
        waiting = self._waiting.pop(name)
        _take(self._bytes_of, waiting.owner, len(waiting.data))
        _take(self._waiting_of, waiting.owner, 1)

    def _forget(self, name: str) -> None:
        """Drop a spent ticket."""
        _take(self._spent_of, self._spent.pop(name).ticket.principal.name, 1)


def _largest(shares: Counter[str]) -> str:
    [(principal, _)] = shares.most_common(1)
    return principal


def _take(shares: Counter[str], principal: str, amount: int) -> None:
    shares[principal] -= amount
    if not shares[principal]:
        del shares[principal]
