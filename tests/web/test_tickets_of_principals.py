"""Tickets of a service with keys: whose they are, and what becomes of them when a key is revoked."""

import anyio
import pytest

from conftest import Serve
from streamsvc.config.settings import GenerationSettings
from support.api_keys import KeysFile, bearer, guarded, keys_file
from support.eventstream import parse, view
from support.native import HURRIED, SILENT, with_fake
from support.service import Service

pytestmark = pytest.mark.promise("door:browser")

REQUEST = {"request": {"prompt": "hi"}}


class Guarded:
    """A service with two principals, each with a key.

    Attributes:
        service: the service.
        keys: its keys file.
        key: of the first principal.
        other: the key of the second.
    """

    def __init__(self, service: Service, keys: KeysFile, key: str, other: str) -> None:
        self.service = service
        self.keys = keys
        self.key = key
        self.other = other

    async def minted(self, **body: object) -> str:
        """Return the address of a new ticket of the first principal."""
        answer = await self.service.client.post(
            "/v1/tickets", json=body or REQUEST, headers=bearer(self.key)
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["url"])

    async def code_of(self, url: str, cursor: str = "") -> object:
        """Return the code of the one `done` that an address gets."""
        headers = {"Last-Event-ID": cursor} if cursor else {}
        answer = await self.service.client.get(url, headers=headers)
        [done] = parse(answer.content)
        return done.json["error"]["code"]


keys = keys_file()


@pytest.fixture
async def guard(serve: Serve, keys: KeysFile) -> Guarded:
    key, other = keys.add("shop"), keys.add("help")
    settings = with_fake(HURRIED, generations=GenerationSettings(grace_seconds=20))
    return Guarded(await serve(guarded(settings, keys)), keys, key, other)


@pytest.mark.promise("door:closed")
async def test_ticket_costs_a_key_and_replaces_it(guard: Guarded) -> None:
    client = guard.service.client
    assert (await client.post("/v1/tickets", json=REQUEST)).status_code == 401
    assert (await client.get("/stream-ai?prompt=hi")).status_code == 401
    url = await guard.minted()
    events = parse((await client.get(url)).content)
    assert events[-1].json["status"] == "completed"
    answer = await client.get(url, headers={"Last-Event-ID": events[1].last_event_id})
    assert parse(answer.content) == events[2:]
    assert await guard.code_of(url) == "ticket_spent"


@pytest.mark.promise("door:own")
async def test_what_a_ticket_starts_belongs_to_its_principal(guard: Guarded) -> None:
    client = guard.service.client
    [start, *_] = parse((await client.get(await guard.minted())).content)
    generation = start.json["generation"]
    for key, status in ((guard.key, 200), (guard.other, 404)):
        answer = await client.get(f"/v1/generations/{generation}", headers=bearer(key))
        assert answer.status_code == status
    body = {"generation": generation}
    answer = await client.post("/v1/tickets", json=body, headers=bearer(guard.other))
    assert (answer.status_code, answer.json()["code"]) == (404, "generation_not_found")
    assert await guard.minted(generation=generation)


@pytest.mark.promise("door:own")
async def test_ticket_is_checked_against_the_entries_of_its_principal(
    serve: Serve, keys: KeysFile
) -> None:
    key = keys.add("shop")
    keys.replace(keys.text.replace("[principals.shop]", '[principals.shop]\nmodels = ["another"]'))
    assert "another" in keys.text
    service = await serve(guarded(with_fake(HURRIED), keys))
    answer = await service.client.post("/v1/tickets", json=REQUEST, headers=bearer(key))
    assert answer.json()["code"] == "model_not_found"


async def test_other_credentials_change_nothing_about_a_ticket(guard: Guarded) -> None:
    """The ticket is the credential of its address, so a key in a header is not looked at."""
    for headers in (bearer("wrong"), bearer(guard.other)):
        answer = await guard.service.client.get(await guard.minted(), headers=dict(headers))
        assert parse(answer.content)[0].type == "start"


async def test_revoked_key_takes_its_tickets_and_their_streams_along(
    serve: Serve, keys: KeysFile
) -> None:
    """Within a second, and the connection is cut: nothing pretends that the answer has ended."""
    key, other = keys.add("shop"), keys.add("help")
    settings = with_fake(SILENT, generations=GenerationSettings(grace_seconds=20))
    guard = Guarded(await serve(guarded(settings, keys)), keys, key, other)
    unspent, spent = await guard.minted(), await guard.minted()
    answer = await guard.service.client.post("/v1/tickets", json=REQUEST, headers=bearer(other))
    async with (
        view(guard.service.port, spent) as viewer,
        view(guard.service.port, answer.json()["url"]) as neighbour,
    ):
        cursor = (await viewer.event()).last_event_id
        await neighbour.event()
        keys.revoke(key)
        with anyio.fail_after(10):
            assert await viewer.events() == []
        assert not viewer.is_whole
        assert await guard.code_of(unspent) == "ticket_invalid"
        assert await guard.code_of(spent) == "ticket_invalid"
        assert await guard.code_of(spent, cursor) == "not_resumable"
        assert guard.service.supervisor.viewers == 1  # the stream of the other principal
