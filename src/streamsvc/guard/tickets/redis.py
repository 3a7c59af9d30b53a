"""The tickets of all processes that share a Redis server."""

import msgspec
from typing_extensions import override

from streamsvc.config.settings import Settings
from streamsvc.guard.tickets.base import (
    Ticket,
    Tickets,
    hash_of,
    kept_seconds,
    new_ticket,
    too_large,
)
from streamsvc.store import scripts
from streamsvc.store.client import Store


class RedisTickets(Tickets):
    """Tickets in Redis: one key each, which expires by itself.

    Args:
        store: has them.
        settings: how long a ticket may wait, and how large its request may be.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._max_bytes = settings.log.max_request_bytes
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Keep new tickets, and those that are used from now on, for other times."""
        self._wait_ms = int(settings.auth.ticket_seconds * 1000)
        self._kept_ms = int(kept_seconds(settings) * 1000)

    @override
    async def mint(self, ticket: Ticket) -> str:
        data = msgspec.msgpack.encode(ticket)
        if ticket.request is not None and len(data) > self._max_bytes:
            raise too_large("log.max_request_bytes")
        self._store.health.check()
        text = new_ticket()
        await self._store.run(scripts.MINT, [self._key(text)], [data, self._wait_ms])
        return text

    @override
    async def find(self, text: str) -> Ticket | None:
        if hash_of(text) is None:
            return None
        data: bytes | None = await self._store.command("HGET", self._key(text), "t")
        return None if data is None else _decoded(data)

    @override
    async def spend(self, text: str, ticket: Ticket, opener: str) -> bool:
        if hash_of(text) is None:
            return False
        data = msgspec.msgpack.encode(ticket)
        reply = await self._store.run(
            scripts.SPEND, [self._key(text)], [opener, data, self._kept_ms]
        )
        return bool(reply)

    @override
    async def renew(self, text: str) -> None:
        if hash_of(text) is not None:
            await self._store.command("PEXPIRE", self._key(text), self._kept_ms)

    def _key(self, text: str) -> bytes:
        return self._store.keys.ticket(str(hash_of(text)))


def _decoded(data: bytes) -> Ticket | None:
    """Return a stored ticket; None if another version has stored it."""
    try:
        return msgspec.msgpack.decode(data, type=Ticket)
    except msgspec.MsgspecError:
        return None
