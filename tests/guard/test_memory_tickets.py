"""The tickets in memory pass the conformance suite, and have bounds."""

import hashlib

import anyio
import msgspec
import pytest
from ticket_conformance import CONTRACT, GENERATION, OPENER, OWNER, Check, Subject, ticket_of

from streamsvc.config.settings import GenerationSettings, LimitSettings, Settings
from streamsvc.errors import RequestTooLarge
from streamsvc.guard.tickets.base import Ticket
from streamsvc.guard.tickets.memory import MemoryTickets
from streamsvc.principals import Principal
from support.doubles import virtual_backends

anyio_backend = virtual_backends()

MOST = 25


def new_tickets(max_bytes: int = 1_000_000) -> MemoryTickets:
    limits = LimitSettings(max_generations=1, max_total_body_bytes=max_bytes)
    return MemoryTickets(
        Settings(limits=limits, generations=GenerationSettings(keep_count=MOST - 1))
    )


@pytest.mark.promise("door:browser")
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_tickets_in_memory_conform(check: Check) -> None:
    tickets = new_tickets()
    with anyio.fail_after(1_000_000):
        await check(Subject(tickets, tickets, anyio.sleep))


async def test_memory_has_a_hash_and_not_the_ticket() -> None:
    tickets, ticket = new_tickets(), ticket_of()
    waiting, spent = [await tickets.mint(ticket) for _ in range(2)]
    await tickets.spend(spent, ticket.spent(GENERATION), OPENER)
    kept = repr(vars(tickets))
    assert GENERATION in kept
    for text in (waiting, spent):
        assert text not in kept
        assert hashlib.sha256(text.encode()).hexdigest() in kept


async def test_oldest_unspent_ticket_makes_room() -> None:
    tickets = new_tickets()
    texts = [await tickets.mint(ticket_of()) for _ in range(MOST + 2)]
    assert [bool(await tickets.find(text)) for text in texts] == [False] * 2 + [True] * MOST


async def test_oldest_spent_ticket_makes_room() -> None:
    tickets, ticket = new_tickets(), ticket_of()
    texts = []
    for _ in range(MOST + 2):
        texts.append(await tickets.mint(ticket))
        await tickets.spend(texts[-1], ticket.spent(GENERATION), OPENER)
    assert [bool(await tickets.find(text)) for text in texts] == [False] * 2 + [True] * MOST
    assert len(tickets) == MOST


async def test_requests_of_unspent_tickets_have_a_bound_in_bytes() -> None:
    """The principal that takes the most makes room, so it cannot push out the tickets of another."""
    size = len(msgspec.msgpack.encode(ticket_of(text="x" * 1000)))
    tickets = new_tickets(max_bytes=4 * size)
    small = await tickets.mint(Ticket(principal=Principal(name="small"), generation=GENERATION))
    texts = [await tickets.mint(ticket_of(text="x" * 1000)) for _ in range(10)]
    assert [bool(await tickets.find(text)) for text in texts] == [False] * 7 + [True] * 3
    assert await tickets.find(small)


@pytest.mark.promise("door:own")
async def test_flood_of_one_principal_leaves_tickets_of_others() -> None:
    """Neither many small tickets nor many spent ones push out what a calm principal has."""
    tickets, flood = new_tickets(), Ticket(principal=Principal(name="flood"), generation=GENERATION)
    waiting, spent = [await tickets.mint(ticket_of(text="x" * 10_000)) for _ in range(2)]
    assert await tickets.spend(spent, ticket_of().spent(GENERATION), OPENER)
    for _ in range(MOST + 2):
        await tickets.mint(flood)
    for _ in range(MOST + 2):
        assert await tickets.spend(await tickets.mint(flood), flood.spent(GENERATION), OPENER)
    assert [bool(await tickets.find(text)) for text in (waiting, spent)] == [True, True]
    assert len(tickets) <= 2 * MOST


async def test_spent_ticket_frees_its_request() -> None:
    size = len(msgspec.msgpack.encode(ticket_of()))
    tickets = new_tickets(max_bytes=2 * size)
    for _ in range(10):
        text = await tickets.mint(ticket_of())
        assert await tickets.spend(text, ticket_of().spent(GENERATION), OPENER)
    kept = [await tickets.mint(ticket_of()) for _ in range(2)]
    assert all([await tickets.find(text) for text in kept])
    assert tickets._bytes_of == {OWNER.name: 2 * size}


async def test_expired_tickets_take_no_memory() -> None:
    tickets = new_tickets()
    for _ in range(MOST):
        await tickets.mint(ticket_of())
    await anyio.sleep(61)
    assert await tickets.find("tkt_") is None
    assert len(tickets) == 0
    assert not any((tickets._bytes_of, tickets._waiting_of, tickets._spent_of))


async def test_request_beyond_the_bound_is_refused_by_the_setting() -> None:
    tickets = new_tickets(max_bytes=200)
    with pytest.raises(RequestTooLarge, match=r"limits\.max_total_body_bytes") as refused:
        await tickets.mint(ticket_of(text="x" * 1000))
    assert refused.value.field == "request"
    assert len(tickets) == 0
