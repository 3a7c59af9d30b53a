"""Tickets: what each request for one gets, and each (re)connect with one; the rows of the tables in `docs/reference/http.md`."""

import re
from collections.abc import Mapping
from typing import Any

import anyio
import httpx2
import msgspec
import pytest
from starlette.responses import Response

from conftest import Serve
from streamsvc.config.guard_settings import AuthSettings, PrincipalLimits
from streamsvc.config.settings import (
    CorsSettings,
    GenerationSettings,
    LimitSettings,
    LogSettings,
    ServerSettings,
)
from streamsvc.errors import RequestError, StoreUnavailable
from streamsvc.events import Record, Start
from streamsvc.web.tickets import START_SECONDS, _Spending
from support.eventstream import BrowserEvent, view
from support.native import (
    HURRIED,
    NEVER,
    SILENT,
    SLOW,
    created,
    creates,
    finished,
    follow,
    text_of,
    until_forgotten,
    with_fake,
)
from support.redis_servers import running_redis
from support.service import Service
from support.shared import shared_service

TICKETS = "/v1/tickets"
REQUEST: dict[str, Any] = {"request": {"prompt": "hi"}}
PAGE = "https://app.example.com"
UNKNOWN = f"/v1/stream?ticket=tkt_{'A' * 32}"

service = shared_service(
    with_fake(
        HURRIED,
        cors=CorsSettings(origins=(PAGE,)),
        generations=GenerationSettings(grace_seconds=20),
    )
)

pytestmark = pytest.mark.promise("door:browser")


async def minted(service: Service, **body: object) -> str:
    """Ask for a ticket; return the address that it comes with."""
    answer = await service.client.post(TICKETS, json=body or REQUEST)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["url"])


async def refused(service: Service, body: object) -> Mapping[str, Any]:
    answer = await service.client.post(TICKETS, json=body)
    assert answer.is_error
    problem: Mapping[str, Any] = answer.json()
    return problem


async def opened(service: Service, url: str) -> list[BrowserEvent]:
    """Open an address and read the whole answer."""
    status, events = await follow(service, url)
    assert status == 200
    assert events[0].type == "start"
    return events


async def error_of(
    service: Service, url: str, headers: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Return the code of the one `done` that an address gets, and the id of that `done`."""
    status, events = await follow(service, url, headers)
    assert status == 200
    [done] = events
    assert done.type == "done"
    assert done.json["status"] == "failed"
    return done.json["error"]["code"], done.last_event_id


@pytest.fixture
async def slow(serve: Serve) -> Service:
    return await serve(with_fake(SLOW, generations=GenerationSettings(grace_seconds=20)))


# Asking for one


async def test_response_has_the_ticket_and_its_address(service: Service) -> None:
    answer = await service.client.post(TICKETS, json=REQUEST)
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert made == {
        "ticket": made["ticket"],
        "url": f"/v1/stream?ticket={made['ticket']}",
        "expires_in": 60,
    }


async def test_address_has_the_path_that_a_proxy_publishes(serve: Serve) -> None:
    service = await serve(with_fake(HURRIED, server=ServerSettings(root_path="/llm")))
    url = await minted(service)
    assert url.startswith("/llm/v1/stream?ticket=tkt_")
    assert text_of(await opened(service, url.removeprefix("/llm"))) == HURRIED.text


async def test_each_request_gets_a_new_ticket_even_with_a_key(service: Service) -> None:
    headers = {"Idempotency-Key": "one key"}
    answers = [await service.client.post(TICKETS, json=REQUEST, headers=headers) for _ in range(2)]
    assert len({answer.json()["ticket"] for answer in answers}) == 2


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "request", "invalid_field"),
        ({"generation": NEVER, **REQUEST}, "request", "invalid_field"),
        ({"generation": NEVER}, None, "generation_not_found"),
        ({"generation": "é\ud800".encode("utf-8", "replace").decode()}, None, "generation_not_found"),
        ({"generation": 1}, "generation", "invalid_field"),
        ({"request": {}}, "request.prompt", "invalid_field"),
        ({"request": {"prompt": "  "}}, "request.prompt", "invalid_field"),
        ({"request": {"prompt": "hi", "top_p": 2}}, "request.top_p", "invalid_field"),
        ({"request": {"prompt": "hi", "prmpt": 2}}, "request.prmpt", "invalid_field"),
        ({"request": {"prompt": "hi", "provider": "x"}}, "request.provider", "invalid_field"),
        ({"request": {"prompt": "hi", "fault": "cut"}}, "request.fault", "invalid_field"),
        ({"request": {"prompt": "hi", "grace_seconds": 1e9}}, "request.grace_seconds", "invalid_field"),
        ({"request": {"prompt": "x" * 400_001}}, "request.prompt", "too_large"),
        ({"request": {"messages": [{"role": "user", "content": 1}]}}, "request.messages[0].content", "invalid_field"),
        ({**REQUEST, "origin": f"{PAGE}/"}, "origin", "invalid_field"),
        ({**REQUEST, "origin": "null"}, "origin", "invalid_field"),
        ({**REQUEST, "origin": "app.example.com"}, "origin", "invalid_field"),
        ({**REQUEST, "origin": ""}, "origin", "invalid_field"),
        ({**REQUEST, "ticket": ""}, "ticket", "invalid_field"),
    ],
)  # fmt: skip
@pytest.mark.promise("input:clear-error")
async def test_bad_request_fails_in_the_back_end(
    service: Service, body: object, field: str | None, code: str
) -> None:
    """And not in the page, which could not read why."""
    with creates(service, 0):
        problem = await refused(service, body)
    assert (problem["code"], problem.get("field")) == (code, field)


async def test_nothing_is_minted_by_get_or_from_a_query(service: Service) -> None:
    assert (await service.client.get(TICKETS)).status_code == 405
    answer = await service.client.post(f"{TICKETS}?prompt=hi", json=REQUEST)
    assert answer.json()["field"] == "prompt"


async def test_pages_of_other_origins_mint_nothing(service: Service) -> None:
    answer = await service.client.post(
        TICKETS, json=REQUEST, headers={"Origin": "https://evil.example"}
    )
    assert answer.json()["code"] == "origin_refused"


async def test_draining_service_mints_nothing(serve: Serve) -> None:
    """What it keeps in memory would be gone before the page comes."""
    service = await serve(with_fake(HURRIED))
    await service.supervisor.drain(0)
    answer = await service.client.post(TICKETS, json=REQUEST)
    assert answer.json()["code"] == "draining"
    assert "retry-after" in answer.headers


# Opening it


async def test_ticket_for_a_request_starts_it_once(service: Service) -> None:
    with creates(service, 1):
        url = await minted(service)
        assert text_of(await opened(service, url)) == HURRIED.text
        assert (await error_of(service, url))[0] == "ticket_spent"


async def test_nothing_starts_before_the_page_comes(service: Service) -> None:
    with creates(service, 0):
        await minted(service)


async def test_ticket_for_a_generation_watches_it(service: Service) -> None:
    generation = await created(service)
    with creates(service, 0):
        url = await minted(service, generation=generation)
        events = await opened(service, url)
    assert generation not in url
    assert events[0].json["generation"] == generation


async def test_every_format_opens(service: Service) -> None:
    plain = await service.client.get(await minted(service) + "&format=plain&end=END")
    assert plain.text.startswith(HURRIED.text)
    assert "END completed" in plain.text
    _, events = await follow(service, await minted(service) + "&format=text")
    assert "".join(event.data for event in events if event.type == "message") == HURRIED.text


@pytest.mark.promise("resume:no-gap")
async def test_spent_ticket_resumes_with_its_cursor(service: Service) -> None:
    url = await minted(service)
    events = await opened(service, url)
    with creates(service, 0):
        for at, event in enumerate(events[:-1]):
            headers = {"Last-Event-ID": event.last_event_id}
            assert await follow(service, url, headers) == (200, events[at + 1 :])
        last = await service.client.get(url, headers={"Last-Event-ID": events[-1].last_event_id})
    assert last.status_code == 204


async def test_resuming_keeps_a_spent_ticket_known(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is read for longer than a spent ticket is kept can still be resumed."""
    renewed: list[str] = []

    async def renew(text: str) -> None:
        renewed.append(text)

    url = await minted(service)
    cursor = (await opened(service, url))[1].last_event_id
    monkeypatch.setattr(service.app.state.tickets, "renew", renew)
    await error_of(service, url)
    assert renewed == []
    assert (await follow(service, url, {"Last-Event-ID": cursor}))[0] == 200
    assert renewed == [url.partition("=")[2]]


async def test_spent_ticket_needs_a_cursor_that_no_log_has(service: Service) -> None:
    """An address with a cursor is in the log of a proxy; a header is not."""
    url = await minted(service)
    cursor = (await opened(service, url))[1].last_event_id
    for name in ("last_event_id", "lastEventId"):
        assert (await error_of(service, f"{url}&{name}={cursor}"))[0] == "ticket_spent"


async def test_spent_ticket_resumes_no_other_generation(service: Service) -> None:
    url = await minted(service)
    await opened(service, url)
    other, events = await finished(service)
    for cursor in (events[1].last_event_id, f"{NEVER}.1", "nonsense", f"{other}.999"):
        code, last = await error_of(service, url, {"Last-Event-ID": cursor})
        assert code == "not_resumable"
        assert other not in last


async def test_page_whose_ticket_opens_nothing_stops_reconnecting(service: Service) -> None:
    url = await minted(service)
    await opened(service, url)
    for target in (url, UNKNOWN):
        _, last = await error_of(service, target)
        answer = await service.client.get(target, headers={"Last-Event-ID": last})
        assert answer.status_code == 204


async def test_wrong_and_expired_tickets_get_the_same_answer(serve: Serve) -> None:
    settings = with_fake(HURRIED, auth=AuthSettings(ticket_seconds=1))
    service = await serve(settings)
    expired = await minted(service)
    tickets: Any = service.app.state.tickets
    with anyio.fail_after(10):
        while await tickets.find(expired.partition("=")[2]):  # noqa: ASYNC110  # time tells
            await anyio.sleep(0.05)
    targets = (expired, UNKNOWN, "/v1/stream?ticket=", "/v1/stream?ticket=%00", f"{UNKNOWN}A")
    with creates(service, 0):
        answers = [await service.client.get(target) for target in targets]
        codes = [await error_of(service, target) for target in targets]
    assert {code for code, _ in codes} == {"ticket_invalid"}
    assert len({len(answer.content) for answer in answers}) == 1
    assert len({tuple(sorted({*answer.headers} - {"date"})) for answer in answers}) == 1
    cursors = {"Last-Event-ID": f"{NEVER}.3"}
    assert {(await error_of(service, target, cursors))[0] for target in targets} == {
        "not_resumable"
    }


async def test_plain_text_gets_a_status(service: Service) -> None:
    """It does not reconnect, and its reader can read a refusal."""
    url = await minted(service)
    await opened(service, url)
    for target, code in ((url, "ticket_spent"), (UNKNOWN, "ticket_invalid")):
        answer = await service.client.get(f"{target}&format=plain")
        assert (answer.status_code, answer.json()["code"]) == (403, code)


async def test_address_without_a_ticket_is_refused(service: Service) -> None:
    answer = await service.client.get("/v1/stream")
    assert (answer.status_code, answer.json()["field"]) == (422, "ticket")


async def test_client_that_left_before_its_first_event_attaches(serve: Serve) -> None:
    """It has no cursor; what it started is not lost, and nothing is started twice."""
    service = await serve(with_fake(SLOW, generations=GenerationSettings(grace_seconds=20)))
    url = await minted(service)
    tickets: Any = service.app.state.tickets
    spend, began, goes_on = tickets.spend, anyio.Event(), anyio.Event()

    async def held(*_: Any) -> bool:
        began.set()
        await goes_on.wait()
        raise ConnectionError  # its connection is gone before anything is written

    with creates(service, 1):
        tickets.spend = held
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.client.get, url)
            with anyio.fail_after(10):
                await began.wait()
            tasks.cancel_scope.cancel()
        tickets.spend = spend
        goes_on.set()
        assert text_of(await opened(service, url)) == SLOW.text


async def test_of_two_browsers_at_once_one_gets_the_words(service: Service) -> None:
    for body in (REQUEST, {"generation": await created(service)}):
        url = await minted(service, **body)
        with creates(service, int("request" in body)):
            answers: list[httpx2.Response] = []

            async def ask(url: str, answers: list[httpx2.Response]) -> None:
                answers.append(await service.client.get(url))

            async with anyio.create_task_group() as tasks:
                for _ in range(6):
                    tasks.start_soon(ask, url, answers)
        assert sum("three" in answer.text for answer in answers) == 1
        assert sum("ticket_spent" in answer.text for answer in answers) == 5


async def test_new_ticket_goes_on_at_an_old_cursor(slow: Service) -> None:
    """As a cursor in the address, or in the header; both spend it."""
    generation = await created(slow)
    async with view(slow.port, await minted(slow, generation=generation)) as viewer:
        seen = [await viewer.event(), await viewer.event()]
    cursor = seen[-1].last_event_id
    by_query = f"{await minted(slow, generation=generation)}&last_event_id={cursor}"
    by_header = await minted(slow, generation=generation)
    for url, headers in ((by_query, {}), (by_header, {"Last-Event-ID": cursor})):
        async with view(slow.port, url, headers=headers) as viewer:
            assert (await viewer.event()).seq == seen[-1].seq + 1
        assert (await error_of(slow, url))[0] == "ticket_spent"


async def test_new_ticket_with_a_cursor_waits_for_no_word(serve: Serve) -> None:
    """The head of the response comes at once, however long the model is silent."""
    service = await serve(with_fake(SILENT, generations=GenerationSettings(grace_seconds=20)))
    generation = await created(service)
    url = f"{await minted(service, generation=generation)}&last_event_id={generation}.0"
    with anyio.fail_after(10):
        async with view(service.port, url) as viewer:
            assert viewer.status == 200
            assert (await error_of(service, url))[0] == "ticket_spent"


async def test_new_ticket_spends_nothing_on_a_wrong_cursor(service: Service) -> None:
    url = await minted(service, generation=await created(service))
    for cursor in ("nonsense", f"{NEVER}.1"):
        for headers, target in (
            ({"Last-Event-ID": cursor}, url),
            ({}, f"{url}&last_event_id={cursor}"),
        ):
            assert (await error_of(service, target, headers))[0] == "not_resumable"
    assert text_of(await opened(service, url)) == HURRIED.text


async def test_ticket_of_a_forgotten_generation_says_so(serve: Serve) -> None:
    settings = with_fake(HURRIED, generations=GenerationSettings(keep_finished_seconds=0))
    service = await serve(settings)
    url, other = await minted(service), ""
    generation, events = await finished(service, url)
    await until_forgotten(service, generation)
    headers = {"Last-Event-ID": events[1].last_event_id}
    assert (await error_of(service, url, headers))[0] == "not_resumable"
    assert (await error_of(service, url))[0] == "ticket_spent"
    other = await created(service)
    late = await minted(service, generation=other)
    await service.client.get(f"/v1/generations/{other}/events")
    await until_forgotten(service, other)
    assert (await error_of(service, late))[0] == "generation_not_found"


# What spends nothing


NAVIGATIONS = (
    {"Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Dest": "script"},
    {"Sec-Fetch-Dest": "", "Accept": "*/*"},
    {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    {"Accept": "Text/HTML"},
)
AHEAD = (
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
)
ELSEWHERE = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "empty"},
)


async def test_nothing_but_a_script_spends_it(service: Service) -> None:
    url = await minted(service)
    with creates(service, 0):
        for headers in NAVIGATIONS:
            answer = await service.client.get(url, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "navigation_refused")
        for headers in AHEAD:
            answer = await service.client.get(url, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "prefetch_refused")
        for headers in ELSEWHERE:
            answer = await service.client.get(url, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")
        answer = await service.client.head(url)
        assert (answer.status_code, answer.content) == (200, b"")
    assert text_of(await opened(service, url)) == HURRIED.text


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "sections",
    [
        {"limits": LimitSettings(max_generations=1)},
        {"limits": LimitSettings(max_viewers=1)},
        {"principal_limits": PrincipalLimits(max_generations=1)},
        {"principal_limits": PrincipalLimits(max_viewers=1)},
    ],
    ids=["generations", "viewers", "own-generations", "own-viewers"],
)
async def test_service_at_a_limit_spends_nothing(serve: Serve, sections: dict[str, object]) -> None:
    fast = msgspec.structs.replace(SLOW, words_per_second=200)
    service = await serve(with_fake(fast, **sections))
    url = await minted(service)
    async with view(service.port, "/stream-ai?prompt=hi") as first:
        await first.event()
        answer = await service.client.get(url)
        assert answer.status_code == 200
        assert re.fullmatch(r"retry: \d+\n: (busy|rate_limited)\n", answer.text)
        assert (await service.client.get(f"{url}&format=plain")).status_code in {429, 503}
    await service.until(lambda: not service.supervisor.viewers and not service.supervisor.running)
    assert text_of(await opened(service, url)) == SLOW.text


async def test_provider_that_is_gone_meanwhile_is_named(service: Service) -> None:
    """Checked when the ticket was minted, and again when it is opened."""
    tickets: Any = service.app.state.tickets
    url = await minted(service)
    ticket = await tickets.find(url.partition("=")[2])
    request = msgspec.structs.replace(ticket.request, provider="removed")
    text = await tickets.mint(msgspec.structs.replace(ticket, request=request))
    assert (await error_of(service, f"/v1/stream?ticket={text}"))[0] == "invalid_field"


# Origins


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": PAGE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "empty"},
        {"Origin": "HTTPS://App.Example.com:443"},
    ],
)
async def test_bound_ticket_opens_for_its_origin(service: Service, headers: dict[str, str]) -> None:
    url = await minted(service, **REQUEST, origin="https://APP.example.com.")
    status, events = await follow(service, url, headers)
    assert (status, text_of(events)) == (200, HURRIED.text)
    headers["Last-Event-ID"] = events[1].last_event_id
    assert await follow(service, url, headers) == (200, events[2:])


async def test_bound_ticket_opens_for_no_other_origin(service: Service) -> None:
    """Not even to resume; and nothing is spent."""
    host = f"127.0.0.1:{service.port}"
    own = await minted(service, **REQUEST, origin=f"http://{host}")
    page = await minted(service, **REQUEST, origin=PAGE)
    same, cross = {"Sec-Fetch-Site": "same-origin"}, {"Origin": PAGE}
    wrong: dict[str, tuple[dict[str, str], ...]] = {own: ({}, cross), page: ({}, same)}
    for url, some in wrong.items():
        for headers in some:
            assert (await error_of(service, url, headers))[0] == "ticket_invalid"
    status, events = await follow(service, own, same)
    assert (status, text_of(events)) == (200, HURRIED.text)
    cursor = {"Last-Event-ID": events[1].last_event_id}
    assert (await error_of(service, own, {**cross, **cursor}))[0] == "not_resumable"
    assert await follow(service, own, {**same, **cursor}) == (200, events[2:])
    assert text_of((await follow(service, page, cross))[1]) == HURRIED.text


async def test_log_says_why_a_ticket_is_invalid(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """The answers are the same, but an operator must find a wrong origin."""
    service = await serve(with_fake(HURRIED))
    caplog.set_level("INFO", "streamsvc.telemetry")
    await error_of(service, UNKNOWN)
    await error_of(service, await minted(service, **REQUEST, origin=PAGE))
    for why in ("unknown", "of_another_origin"):
        assert f"code=ticket_invalid method=GET path=/v1/stream ticket={why}" in caplog.text


async def test_allowed_page_may_read_why_there_is_no_stream(service: Service) -> None:
    answer = await service.client.get(UNKNOWN, headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE


@pytest.mark.needs("valkey")
async def test_lost_redis_spends_nothing(serve: Serve) -> None:
    """A page is asked to come back, and a back end hears that the store is away."""
    with running_redis("valkey") as server:
        log = LogSettings(kind="redis", url=server.url, timeout_seconds=1)
        service = await serve(with_fake(HURRIED, log=log))
        url = await minted(service)
        server.kill()
        answer = await service.client.get(url)
        assert (answer.status_code, ": busy\n" in answer.text) == (200, True)
        assert (await service.client.get(f"{url}&format=plain")).status_code == 503
        answer = await service.client.post(TICKETS, json=REQUEST)
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")


@pytest.mark.parametrize("has_begun", [True, False])
async def test_store_that_goes_away_at_the_last_moment_is_said(has_begun: bool) -> None:  # noqa: FBT001
    """Before anything is written: the client comes back."""
    refusals: list[RequestError] = []

    async def spend() -> bool:
        assert has_begun, "a ticket is spent on nothing"
        raise StoreUnavailable("silent")

    def refuse(exc: RequestError) -> Response:
        refusals.append(exc)
        return Response()

    head = _Spending(spend, refuse, START_SECONDS)
    if has_begun:
        start = Start(generation=NEVER, provider="fake", model="words", created=1)
        head.take([Record(NEVER, 0, start)])
    assert await head.answer() is not None
    assert [exc.code for exc in refusals] == ["store_unavailable"]
