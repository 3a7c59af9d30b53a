"""Every route by every carrier of a credential with every wrong credential; and what belongs to another principal.

The routes come from the router of the running service: a new one fails here until `ROUTES` says how to ask it.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import httpx2
import msgspec
import openai
import pytest
from starlette.routing import BaseRoute, Mount, Route

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import CorsSettings, Settings
from streamsvc.principals import ANONYMOUS
from streamsvc.web.access import Access, AccessControl, ServiceRoute
from streamsvc.web.credentials import COOKIE
from streamsvc.web.routes import routes
from streamsvc.web.running import RunningRequests
from support.api_keys import KeysFile, bearer, guarded
from support.native import NEVER, at_once
from support.service import Service, serving

CHAT: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
UI = {"id": "talk", "messages": [MESSAGE]}
PAGE = "https://page.test"
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


@dataclass(frozen=True)
class Row:
    """How a route is asked.

    Attributes:
        access: who may call it.
        path: of the request; it would be answered if there was a valid key, unless the id is unknown.
        body: of a POST.
        shape: of its refusals.
    """

    access: Access
    path: str
    body: Mapping[str, Any] | None = None
    shape: str = "application/problem+json"


ROUTES: Mapping[tuple[str, str], Row] = {
    ("POST", "/v1/chat/completions"): Row(Access.CALLER, "/v1/chat/completions", CHAT, "application/json"),
    ("POST", "/v1/generations"): Row(Access.CALLER, "/v1/generations", {"prompt": "hi"}),
    ("GET", "/stream-ai"): Row(Access.CALLER, "/stream-ai?prompt=hi"),
    ("GET", "/"): Row(Access.PUBLIC, "/"),
    ("GET", "/playground"): Row(Access.PUBLIC, "/playground/playground.js"),
    ("GET", "/v1/generations/{id}"): Row(Access.CALLER, f"/v1/generations/{NEVER}"),
    ("GET", "/v1/generations/{id}/events"): Row(Access.CALLER, f"/v1/generations/{NEVER}/events"),
    ("POST", "/v1/generations/{id}/stop"): Row(Access.CALLER, f"/v1/generations/{NEVER}/stop", {}),
    ("POST", "/v1/tickets"): Row(Access.CALLER, "/v1/tickets", {"request": {"prompt": "hi"}}),
    ("GET", "/v1/stream"): Row(Access.TICKET, "/v1/stream"),
    ("GET", "/v1/models"): Row(Access.CALLER, "/v1/models", shape="application/json"),
    ("GET", "/v1/models/{id:path}"): Row(Access.CALLER, "/v1/models/fake", shape="application/json"),
    ("POST", "/api/chat"): Row(Access.CALLER, "/api/chat", UI, "text/plain; charset=utf-8"),
    ("GET", "/api/chat/{id:path}/stream"): Row(Access.CALLER, "/api/chat/talk/stream", shape="text/plain; charset=utf-8"),
    ("POST", "/api/chat/{id:path}/stop"): Row(Access.CALLER, "/api/chat/talk/stop", {}, "text/plain; charset=utf-8"),
    ("GET", "/v1/providers"): Row(Access.CALLER, "/v1/providers"),
    ("GET", "/healthz"): Row(Access.PUBLIC, "/healthz"),
    ("GET", "/readyz"): Row(Access.PUBLIC, "/readyz"),
    ("GET", "/metrics"): Row(Access.OPERATOR, "/metrics"),
    ("GET", "/operations"): Row(Access.PUBLIC, "/operations"),
    ("GET", "/operations/page"): Row(Access.PUBLIC, "/operations/page/operations.js"),
    ("GET", "/operations/state"): Row(Access.OPERATOR, "/operations/state"),
    ("GET", "/openapi.json"): Row(Access.PUBLIC, "/openapi.json"),
}  # fmt: skip

GUARDED = [place for place, row in ROUTES.items() if row.access is Access.CALLER]


def carried(carrier: str, key: str) -> Mapping[str, str]:
    """Return the headers with a key in one of its carriers."""
    return {
        "bearer": bearer(key),
        "lower case": {"authorization": f"bearer  {key}"},
        "x-api-key": {"X-API-Key": key},
        "api-key": {"api-key": key},
        "cookie": {"Cookie": f"a=b; {COOKIE}={key}; c=d", **OWN_PAGE},
    }[carrier]


CARRIERS = ("bearer", "lower case", "x-api-key", "api-key", "cookie")


@dataclass(frozen=True)
class Guarded:
    """A service with keys.

    Attributes:
        service: the service.
        mine: a valid key.
        other: a valid key of another principal.
        wrong: keys that do not count, by why.
    """

    service: Service
    mine: str
    other: str
    wrong: Mapping[str, str]

    async def ask(
        self, place: tuple[str, str], headers: Mapping[str, str], *, method: str = ""
    ) -> httpx2.Response:
        row = ROUTES[place]
        body = json.dumps(row.body) if row.body is not None else None
        return await self.service.client.request(
            method or place[0], row.path, headers=headers, content=body
        )


@asynccontextmanager
async def with_keys(directory: Path, settings: Settings) -> AsyncIterator[Guarded]:
    """Run a service with two principals, and with keys that were valid once."""
    keys = KeysFile(directory / "keys.toml")
    mine, other = keys.add("team-a"), keys.add("team-b")
    expired = keys.add("team-a", expires=datetime.now(UTC) - timedelta(seconds=1))
    revoked = keys.add("team-a")
    keys.revoke(revoked)
    unknown = KeysFile(directory / "elsewhere.toml").add("team-a")
    wrong = {
        "unknown": unknown,
        "revoked": revoked,
        "expired": expired,
        "cut short": mine[:-1],
        "hash": keys.text.partition('hash = "')[2].partition('"')[0],
        "id": mine.split("_")[1],
        "name": "team-a",
    }
    async with serving(guarded(settings, keys), {}) as service:
        yield Guarded(service, mine, other, wrong)


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    fake = at_once("Words of an answer.")
    settings = Settings(
        providers={"fake": fake, "second": FakeSettings()}, cors=CorsSettings(origins=(PAGE,))
    )
    async with with_keys(tmp_path_factory.mktemp("keys"), settings) as running:
        yield running


def places(listed: Iterator[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Yield the method and the pattern of each route."""
    for route in listed:
        if isinstance(route, Route):
            for method in (route.methods or set()) - {"HEAD"}:
                yield (method, route.path)
        else:
            assert isinstance(route, Mount)
            yield ("GET", route.path)


@pytest.mark.promise("door:closed")
async def test_table_has_every_route_of_the_running_service(service: Guarded) -> None:
    listed = service.service.app.routes
    assert sorted(places(iter(listed))) == sorted(ROUTES)
    for route in listed:
        if isinstance(route, ServiceRoute):
            (method,) = (route.methods or set()) - {"HEAD"}
            assert ROUTES[method, route.path].access is route.access


@pytest.mark.promise("door:closed")
def test_a_demo_has_no_open_route_more() -> None:
    endpoints = MagicMock(**{"page.__name__": "page", "metrics.__name__": "metrics"})
    listed = routes(
        generations=endpoints,
        chat_completions=endpoints,
        ui_messages=endpoints,
        tickets=endpoints,
        operations=endpoints,
        playground=endpoints,
        metrics=endpoints.metrics,
        overview=endpoints,
        demo=endpoints,
        control=AccessControl(None, ANONYMOUS, RunningRequests()),
    )
    more = [route for route in listed if {*places(iter([route]))} - ROUTES.keys()]
    assert [route.access for route in more if isinstance(route, ServiceRoute)] == [
        Access.CALLER,
        Access.CALLER,
    ]
    assert len(more) == 2


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize("place", GUARDED, ids=" ".join)
async def test_without_a_valid_key_every_carrier_is_refused_alike(
    service: Guarded, place: tuple[str, str]
) -> None:
    """Nothing is created, and the answer does not say what is wrong with a key."""
    before = len(service.service.log)
    without = await service.ask(place, {})
    assert without.status_code == 401
    assert without.headers["www-authenticate"] == "Bearer"
    assert without.headers["content-type"] == ROUTES[place].shape
    assert "An API key or token is required; send it as 'Authorization: Bearer" in without.text
    refusals = set()
    for key in service.wrong.values():
        for carrier in CARRIERS:
            response = await service.ask(place, carried(carrier, key))
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
            assert key not in response.text
            refusals.add(response.content)
    assert len(refusals) == 1
    assert b"The API key or token is not valid." in refusals.pop()
    if place[0] == "GET":
        assert (await service.ask(place, {}, method="HEAD")).status_code == 401
    assert len(service.service.log) == before


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize("place", GUARDED, ids=" ".join)
async def test_with_a_key_in_any_carrier_the_route_answers(
    service: Guarded, place: tuple[str, str]
) -> None:
    answers = set()
    for carrier in CARRIERS:
        response = await service.ask(place, carried(carrier, service.mine))
        answers.add(response.status_code)
    assert len(answers) == 1
    assert answers <= {200, 201, 204, 404}


@pytest.mark.parametrize("place", [place for place in ROUTES if place not in GUARDED], ids=" ".join)
async def test_open_route_needs_no_key_and_minds_no_wrong_one(
    service: Guarded, place: tuple[str, str]
) -> None:
    """A `/v1/stream` without a ticket is a mistake in the request, whatever else it has."""
    expected = 422 if ROUTES[place].access is Access.TICKET else 200
    for headers in ({}, bearer(service.wrong["unknown"]), bearer(service.mine)):
        assert (await service.ask(place, headers)).status_code == expected


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize(
    ("headers", "is_let_in"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),  # typed into the address bar
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "SELF"}, False),
        ({"Origin": "SELF"}, True),  # an older browser
        ({"Origin": PAGE}, False),
        ({"Origin": "null"}, False),
        ({}, False),
    ],
)
async def test_cookie_counts_only_for_pages_of_this_origin(
    service: Guarded, headers: Mapping[str, str], *, is_let_in: bool
) -> None:
    """A browser adds a cookie to the requests of any page."""
    port = service.service.port
    fields = {
        name: value.replace("SELF", f"http://127.0.0.1:{port}") for name, value in headers.items()
    }
    fields["Cookie"] = f"{COOKIE}={service.mine}"
    response = await service.ask(("GET", "/v1/providers"), fields)
    assert response.status_code == (200 if is_let_in else 401)


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize(
    ("headers", "is_let_in"),
    [
        ([("Authorization", "Bearer WRONG"), ("Cookie", f"{COOKIE}=MINE")], False),
        ([("X-API-Key", "WRONG"), ("Cookie", f"{COOKIE}=MINE")], False),
        ([("Authorization", "Bearer MINE"), ("Cookie", f"{COOKIE}=WRONG")], True),
        ([("Authorization", "Bearer MINE"), ("X-API-Key", "WRONG")], True),
        ([("Authorization", "Bearer WRONG"), ("X-API-Key", "MINE")], False),
        ([("Authorization", "Bearer WRONG"), ("Authorization", "Bearer MINE")], False),
        ([("Authorization", "Basic WRONG"), ("Cookie", f"{COOKIE}=MINE")], True),  # of a proxy
        ([("Authorization", "MINE")], False),
        ([("Authorization", "Bearer")], False),
        ([("Authorization", "BearerMINE")], False),
        ([("Cookie", "other=MINE")], False),
        ([("Cookie", f"{COOKIE}2=MINE; x{COOKIE}=MINE; {COOKIE}")], False),
    ],
)  # fmt: skip
async def test_one_credential_counts_and_a_header_wins_over_the_cookie(
    service: Guarded, headers: list[tuple[str, str]], *, is_let_in: bool
) -> None:
    keys = {"WRONG": service.wrong["unknown"], "MINE": service.mine}
    fields = [*OWN_PAGE.items()]
    for name, value in headers:
        word = next((word for word in keys if word in value), "")
        fields.append((name, value.replace(word, keys.get(word, ""))))
    response = await service.service.client.get("/v1/providers", headers=fields)
    assert response.status_code == (200 if is_let_in else 401)


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize("target", ["/v1/providers?key=KEY", "/v1/providers?api_key=KEY", "/v1/providers?access_token=KEY", "//KEY@x/v1/providers"])  # fmt: skip
async def test_key_in_an_address_is_not_a_credential(service: Guarded, target: str) -> None:
    """Addresses end up in logs (RFC 9700, section 4.3.2)."""
    response = await service.service.client.get(target.replace("KEY", service.mine))
    assert response.status_code in {401, 404}


async def test_page_of_an_allowed_origin_reads_the_refusal(service: Guarded) -> None:
    """And its preflight needs no key."""
    page = {"Origin": PAGE}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, x-api-key"}  # fmt: skip
    preflight = await service.service.client.options("/v1/generations", headers={**page, **asked})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == PAGE
    refused = await service.ask(("POST", "/v1/generations"), page)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in refused.headers


@pytest.mark.promise("input:clear-error")
async def test_clients_of_openai_get_their_own_exception(service: Guarded) -> None:
    url = f"{service.service.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=service.wrong["revoked"]) as client:
        for call in (client.models.list(), client.chat.completions.create(**CHAT)):
            with pytest.raises(openai.AuthenticationError) as caught:
                await call
            assert caught.value.code == "invalid_api_key"
    async with openai.AsyncOpenAI(base_url=url, api_key=service.mine) as client:
        answer = await client.chat.completions.create(**CHAT)
        assert answer.choices[0].message.content == "Words of an answer."


# ---- Another principal's


def without_date(response: httpx2.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return all of a response that can tell two from each other."""
    headers = [(name, value) for name, value in response.headers.items() if name != "date"]
    return response.status_code, headers, response.content


@pytest.mark.promise("door:own")
async def test_generation_of_another_is_answered_as_one_that_does_not_exist(
    service: Guarded,
) -> None:
    client, mine, other = service.service.client, bearer(service.mine), bearer(service.other)
    created = await client.post("/v1/generations", headers=mine, json={"prompt": "hi"})
    own = created.json()["id"]
    for method, path, fields in (
        ("GET", "/v1/generations/ID", {}),
        ("GET", "/v1/generations/ID/events", {}),
        ("GET", "/v1/generations/ID/events", {"Last-Event-ID": "ID.1"}),
        ("GET", "/v1/generations/ID/events?last_event_id=ID.1", {}),
        ("POST", "/v1/generations/ID/stop", {}),
        ("GET", "/stream-ai?prompt=hi", {"Last-Event-ID": "ID.1"}),
        ("GET", "/stream-ai?prompt=hi&last_event_id=ID.1", {}),
        ("GET", "/stream-ai?prompt=hi&lastEventId=ID.1", {}),
        ("POST", "/v1/generations", {"Last-Event-ID": "ID.1"}),
        ("POST", "/v1/generations", {"Last-Event-ID": "ID.1", "Accept": "text/event-stream"}),
    ):
        answers = []
        for generation in (own, NEVER):
            headers = {name: value.replace("ID", generation) for name, value in fields.items()}
            target = path.replace("ID", generation)
            response = await client.request(method, target, headers={**other, **headers})
            status, lines, content = without_date(response)
            text = (repr(lines) + content.decode()).replace(generation, "ID")
            answers.append((status, text))
        assert answers[0] == answers[1], (method, path)
    response = await client.get(f"/v1/generations/{own}/events", headers=mine)
    assert response.status_code == 200
    assert b'"status":"completed"' in response.content


@pytest.mark.promise("door:own")
async def test_same_idempotency_key_of_two_principals_gives_two_answers(service: Guarded) -> None:
    ids = []
    for key in (service.mine, service.other, service.mine):
        headers = {**bearer(key), "Idempotency-Key": "order-1"}
        response = await service.service.client.post(
            "/v1/generations", headers=headers, json={"prompt": "hi"}
        )
        ids.append(response.json()["id"])
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.promise("door:own")
async def test_same_chat_id_of_two_principals_is_two_chats(service: Guarded) -> None:
    """Open WebUI CVE-2026-45349: the chat id of another user was accepted."""
    client, mine, other = service.service.client, bearer(service.mine), bearer(service.other)
    body = {"id": "shared", "messages": [MESSAGE]}
    first = await client.post("/api/chat", headers=mine, json=body)
    assert (await client.get("/api/chat/shared/stream", headers=other)).status_code == 204
    assert (await client.post("/api/chat/shared/stop", headers=other)).status_code == 204
    second = await client.post("/api/chat", headers=other, json=body)
    generations = [it.headers["x-generation-id"] for it in (first, second)]
    for headers, generation in zip((mine, other), generations, strict=True):
        resumed = await client.get("/api/chat/shared/stream", headers=headers)
        assert resumed.headers["x-generation-id"] == generation
    assert (await client.post("/api/chat/shared/stop", headers=mine)).status_code == 204
    for headers, status in ((mine, 204), (other, 200)):
        assert (await client.get("/api/chat/shared/stream", headers=headers)).status_code == status


@pytest.mark.promise("door:own")
async def test_lists_show_what_a_principal_may_use(tmp_path: Path) -> None:
    keys = KeysFile(tmp_path / "keys.toml")
    narrow, wide = keys.add("narrow"), keys.add("wide")
    table = "[principals.narrow]\n"
    keys.replace(
        keys.text.replace(table, f'{table}providers = ["second", "third"]\nmodels = ["b"]\n')
    )
    entries = {"fake": "a", "second": "b", "third": "c"}
    fallbacks = {"second": ("fake", "third")}
    settings = Settings(
        providers={
            name: msgspec.structs.replace(
                at_once("Hi."), model=model, fallbacks=fallbacks.get(name, ())
            )
            for name, model in entries.items()
        }
    )
    async with serving(guarded(settings, keys), {}) as running:
        client = running.client

        async def shown(key: str) -> tuple[list[str], list[str]]:
            models = (await client.get("/v1/models", headers=bearer(key))).json()["data"]
            providers = (await client.get("/v1/providers", headers=bearer(key))).json()["providers"]
            return [it["id"] for it in models], [it["name"] for it in providers]

        assert await shown(wide) == ([*entries], [*entries])
        assert await shown(narrow) == (["second"], ["second", "third"])
        listed = (await client.get("/v1/providers", headers=bearer(narrow))).json()
        assert listed["default"] == "second"
        assert listed["providers"][0]["fallbacks"] == ["third"]
        for name, status in (("second", 200), ("third", 404), ("fake", 404), ("nobody", 404)):
            model = await client.get(f"/v1/models/{name}", headers=bearer(narrow))
            assert model.status_code == status
            chat = {**CHAT, "model": name}
            answer = await client.post("/v1/chat/completions", headers=bearer(narrow), json=chat)
            assert answer.status_code == status
            assert "fake" not in answer.text.replace(f"'{name}'", "")


@pytest.mark.promise("door:own")
@pytest.mark.parametrize(
    ("may_use", "expected"),
    [
        ('providers = ["third", "second"]', "second"),
        ('models = ["c"]', "third"),
        ('models = ["a", "c"]', "fake"),
        ('providers = ["second"]\nmodels = ["c"]', None),
    ],
    ids=["entries", "models", "the usual one", "nothing"],
)
async def test_request_without_a_provider_gets_one_that_it_may_use(
    tmp_path: Path, may_use: str, expected: str | None
) -> None:
    """The usual one may be one that does not exist for the principal."""
    keys = KeysFile(tmp_path / "keys.toml")
    key = keys.add("narrow")
    table = "[principals.narrow]\n"
    keys.replace(keys.text.replace(table, f"{table}{may_use}\n"))
    reply = at_once("Hi.")
    models = {"fake": "a", "second": "b", "third": "c"}
    settings = Settings(
        providers={
            name: msgspec.structs.replace(
                reply, model=model, fallbacks=() if name == "fake" else ("fake",)
            )
            for name, model in models.items()
        }
    )
    async with serving(guarded(settings, keys), {}) as running:
        client, head = running.client, bearer(key)
        shown = (await client.get("/v1/providers", headers=head)).json()
        is_fake_seen = "fake" in [it["name"] for it in shown["providers"]]
        assert all(it["fallbacks"] == ["fake"] * is_fake_seen for it in shown["providers"][1:])
        bodies = {
            "/v1/generations": {"prompt": "Hi."},
            "/api/chat": {"id": "c", "messages": [MESSAGE]},
            "/v1/tickets": {"request": {"prompt": "Hi."}},
        }
        answers = {
            path: await client.post(path, headers=head, json=body) for path, body in bodies.items()
        }
        answers["/stream-ai"] = await client.get("/stream-ai?prompt=Hi.", headers=head)
        if expected is None:
            assert all(it.status_code in {404, 422} for it in answers.values())
            return
        assert shown["default"] == expected
        assert all(it.is_success for it in answers.values())
        assert answers["/v1/generations"].json()["provider"] == expected
        assert f'"provider":"{expected}"' in answers["/stream-ai"].text
