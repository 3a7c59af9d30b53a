"""The conformance suite of `Tickets`, as checks that take an implementation.

A test of an implementation runs every check of `CONTRACT`, and no check knows the implementation.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from streamsvc.config.guard_settings import PrincipalLimits
from streamsvc.guard.tickets.base import Ticket, Tickets, new_ticket
from streamsvc.messages import GenerationRequest, ImagePart, Prompt, TextPart, UserMessage
from streamsvc.principals import Principal

TICKET_SECONDS, KEPT_SECONDS = 60.0, 3900.0
OPENER, OTHER = "opener", "other"
GENERATION = f"gen_{'a' * 32}"
OWNER = Principal(
    name="team-é",
    limits=PrincipalLimits(max_viewers=3),
    providers=frozenset({"fake", "other"}),
    credential="key-1",
)


@dataclass
class Subject:
    """Tickets under test, which count for `TICKET_SECONDS`, and for `KEPT_SECONDS` once they are spent.

    Attributes:
        tickets: the tickets, as one process sees them.
        elsewhere: the same tickets, as another process sees them, if there is one.
        sleep: lets seconds pass for the tickets.
    """

    tickets: Tickets
    elsewhere: Tickets
    sleep: Callable[[float], Awaitable[None]]


Check = Callable[[Subject], Awaitable[None]]

CONTRACT: list[Check] = []


def contract(check: Check) -> Check:
    """Add a check to `CONTRACT`."""
    CONTRACT.append(check)
    return check


def ticket_of(*, owner: Principal = OWNER, text: str = "hello", origin: str = "") -> Ticket:
    """Return a ticket for a request."""
    parts = (TextPart(text), ImagePart(url="data:image/png;base64,AAAA"))
    prompt = Prompt(messages=(UserMessage(parts),), extra_body={"seed": 1}, temperature=0.5)
    request = GenerationRequest(prompt=prompt, provider="fake", principal=owner.name)
    return Ticket(principal=owner, origin=origin, request=request)


@contract
async def found_as_it_was_minted(subject: Subject) -> None:
    for ticket in (
        ticket_of(origin="https://a.example"),
        Ticket(principal=OWNER, generation=GENERATION),
        Ticket(principal=Principal(), generation=GENERATION),
    ):
        text = await subject.tickets.mint(ticket)
        for tickets in (subject.tickets, subject.elsewhere):
            assert await tickets.find(text) == ticket
            assert await tickets.find(text) == ticket  # looking spends nothing


@contract
async def every_ticket_has_its_own_text(subject: Subject) -> None:
    texts = {await subject.tickets.mint(ticket_of()) for _ in range(20)}
    assert len(texts) == 20


@contract
async def only_what_was_minted_is_found(subject: Subject) -> None:
    text = await subject.tickets.mint(ticket_of())
    wrong = ["", "tkt_", text[:-1], f"{text}A", text.swapcase(), f" {text}", f"{text}\n", "é" * 36]
    for other in (new_ticket(), *wrong, "tkt_\ud800", "*", f"{text}\0"):
        assert await subject.tickets.find(other) is None
        assert not await subject.tickets.spend(other, ticket_of().spent(GENERATION), OPENER)


@contract
async def unspent_one_expires(subject: Subject) -> None:
    text = await subject.tickets.mint(ticket_of())
    await subject.sleep(TICKET_SECONDS - 5)
    assert await subject.tickets.find(text)
    await subject.sleep(6)
    assert await subject.tickets.find(text) is None
    assert not await subject.tickets.spend(text, ticket_of().spent(GENERATION), OPENER)


@contract
async def spent_one_keeps_no_request(subject: Subject) -> None:
    ticket = ticket_of(origin="https://a.example")
    text = await subject.tickets.mint(ticket)
    assert await subject.tickets.spend(text, ticket.spent(GENERATION), OPENER)
    for tickets in (subject.tickets, subject.elsewhere):
        found = await tickets.find(text)
        assert found == Ticket(
            principal=OWNER, origin="https://a.example", generation=GENERATION, is_spent=True
        )


@contract
async def spent_one_is_known_as_long_as_an_answer(subject: Subject) -> None:
    ticket = ticket_of()
    text = await subject.tickets.mint(ticket)
    await subject.tickets.spend(text, ticket.spent(GENERATION), OPENER)
    await subject.sleep(KEPT_SECONDS - 60)
    assert await subject.tickets.find(text)
    await subject.sleep(120)
    assert await subject.tickets.find(text) is None


@contract
async def spent_one_that_is_used_is_known_for_longer(subject: Subject) -> None:
    ticket = ticket_of()
    text = await subject.tickets.mint(ticket)
    await subject.tickets.spend(text, ticket.spent(GENERATION), OPENER)
    for tickets in (subject.tickets, subject.elsewhere):
        await subject.sleep(KEPT_SECONDS - 60)
        await tickets.renew(text)
    await subject.sleep(KEPT_SECONDS - 60)
    assert await subject.tickets.find(text)
    await subject.sleep(120)
    await subject.tickets.renew(text)
    await subject.tickets.renew("tkt_")
    assert await subject.tickets.find(text) is None


@contract
async def only_the_first_opener_spends_it(subject: Subject) -> None:
    ticket = ticket_of()
    text = await subject.tickets.mint(ticket)
    assert await subject.tickets.spend(text, ticket.spent(GENERATION), OPENER)
    other = f"gen_{'b' * 32}"
    assert not await subject.elsewhere.spend(text, ticket.spent(other), OTHER)
    assert await subject.tickets.spend(text, ticket.spent(GENERATION), OPENER)  # a repeated call
    found = await subject.tickets.find(text)
    assert found is not None
    assert found.generation == GENERATION


@contract
async def of_many_at_once_one_spends_it(subject: Subject) -> None:
    ticket = ticket_of()
    for _ in range(5):
        text = await subject.tickets.mint(ticket)
        winners: list[int] = []

        async def spend(text: str, number: int, winners: list[int]) -> None:
            tickets = subject.tickets if number % 2 else subject.elsewhere
            if await tickets.spend(text, ticket.spent(GENERATION), f"opener-{number}"):
                winners.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(spend, text, number, winners)
        assert len(winners) == 1
