"""Reconnects: the rows about cursors in the table of `docs/reference/http.md`."""

import anyio
import pytest

from conftest import Serve
from streamsvc.config.settings import GenerationSettings, Settings
from streamsvc.engine.ids import new_id
from support.eventstream import BrowserEvent, EventStreamParser, parse, view, wire
from support.native import (
    ASK,
    CREATE,
    HURRIED,
    NEVER,
    QUESTION,
    SLOW,
    STREAM,
    creates,
    events_of,
    finished,
    follow,
    text_of,
    until_forgotten,
    with_fake,
)
from support.service import Service
from support.shared import shared_service

service = shared_service(with_fake(HURRIED))


@pytest.mark.promise("resume:no-gap")
async def test_cursor_gets_every_later_event_once_in_every_form(service: Service) -> None:
    """Every cursor, on both addresses, as a header and as a parameter."""
    generation, events = await finished(service)
    assert [event.seq for event in events] == [0, 1, 2, 3, 4, 5, 6]
    with creates(service, 0):
        for at, event in enumerate(events[:-1]):
            cursor = event.last_event_id
            for target in (events_of(generation), ASK):
                header = await follow(service, target, {"Last-Event-ID": cursor})
                separator = "&" if "?" in target else "?"
                for name in ("last_event_id", "lastEventId"):  # the polyfill sends the second
                    parameter = await follow(service, f"{target}{separator}{name}={cursor}")
                    assert header == parameter == (200, events[at + 1 :])


@pytest.mark.promise("resume:no-gap")
async def test_stream_cut_at_any_byte_resumes_without_gap(service: Service) -> None:
    generation, events = await finished(service)
    async with view(service.port, events_of(generation)) as viewer:
        body = await viewer.body()
    rest: dict[str, list[BrowserEvent]] = {}
    for at in range(len(body)):
        parser = EventStreamParser()
        seen = parser.feed(body[:at])
        cursor = parser.last_event_id
        if cursor not in rest:
            headers = {"Last-Event-ID": cursor} if cursor else {}
            _, rest[cursor] = await follow(
                service, ASK if cursor else events_of(generation), headers
            )
        assert seen + rest[cursor] == events
    assert len(rest) == len(events)


SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15"
CHROMIUM = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"


@pytest.mark.promise("resume:no-gap")
async def test_resume_of_a_webkit_ends_the_line_that_broke_off(service: Service) -> None:
    """In every answer that an EventSource may get: the rest, and a `done` that says why there is none."""
    generation, events = await finished(service)
    known, unknown = events[2].last_event_id, f"{new_id()}.2"
    for agent, kinds in ((SAFARI, ["cut"]), (CHROMIUM, [])):
        for cursor, rest in ((known, 4), (unknown, 1)):
            headers = {"Last-Event-ID": cursor, "User-Agent": agent}
            status, seen = await follow(service, events_of(cursor.partition(".")[0]), headers)
            assert (status, [it.type for it in seen[:-rest]]) == (200, kinds)
            assert all(it.last_event_id == cursor for it in seen[:-rest])
    _, seen = await follow(service, events_of(generation), {"User-Agent": SAFARI})
    assert seen == events


@pytest.mark.promise("resume:no-gap")
async def test_viewer_that_keeps_losing_the_connection_misses_nothing(
    serve: Serve,
) -> None:
    service = await serve(with_fake(SLOW, generations=GenerationSettings(grace_seconds=30)))
    seen: list[BrowserEvent] = []
    connections = 0
    with anyio.fail_after(10):
        while not seen or seen[-1].type != "done":
            headers = {"Last-Event-ID": seen[-1].last_event_id} if seen else {}
            async with wire(service.port) as connection:
                answer = await connection.ask("GET", ASK, headers)
                seen += [await answer.event(), await answer.event()]
                connection.reset()
            connections += 1
    assert [event.seq for event in seen] == list(range(22))
    assert text_of(seen) == SLOW.text
    assert connections == 11
    assert len(service.log) == 1


@pytest.mark.promise("resume:never-regenerate")
async def test_cursor_of_the_end_gets_204_at_every_address(service: Service) -> None:
    generation, events = await finished(service)
    headers = {"Last-Event-ID": events[-1].last_event_id}
    with creates(service, 0):
        for target in (events_of(generation), ASK, "/stream-ai"):
            assert await follow(service, target, headers) == (204, [])


async def test_finished_generation_is_replayed_whole_without_cursor(service: Service) -> None:
    generation, events = await finished(service)
    assert await follow(service, events_of(generation)) == (200, events)
    assert await follow(service, f"{events_of(generation)}?format=json") == (200, events)


async def test_header_cursor_overrides_query_cursor(service: Service) -> None:
    """A page resumes by its address and reconnects: the browser's header is newer."""
    generation, events = await finished(service)
    target = f"{events_of(generation)}?last_event_id={events[1].last_event_id}"
    headers = {"Last-Event-ID": events[4].last_event_id}
    assert await follow(service, target, headers) == (200, events[5:])


async def test_events_ignore_a_foreign_cursor(service: Service) -> None:
    generation, events = await finished(service)
    other, _ = await finished(service)
    for cursor in (
        *("-1", "0", "3", "null", "undefined", "1780000000000-0", "\xa0", "\xff" * 70),
        *(generation, f"{generation}.", f"{generation}.-1", f"{generation}.1.2", f"{generation}.1e3"),
        *(f"{generation}.{'9' * 16}", f"{generation}:3", f"{generation.upper()}.3", f" {generation}.x"),
        *(f"{other}.3", f"{other}.6", f"{other}.gone", f"{NEVER}.3"),
    ):  # fmt: skip
        with creates(service, 0):
            answer = await follow(service, events_of(generation), {"Last-Event-ID": cursor})
        assert answer == (200, events), cursor


@pytest.mark.promise("resume:honest")
async def test_cursor_beyond_the_end_is_not_resumable(service: Service) -> None:
    generation, events = await finished(service)
    for seq in (len(events), len(events) + 1, 10**12 - 1):
        for target in (events_of(generation), ASK):
            with creates(service, 0):
                headers = {"Last-Event-ID": f"{generation}.{seq}"}
                status, [done] = await follow(service, target, headers)
            assert status == 200
            assert done.json["error"]["code"] == "not_resumable"


@pytest.mark.promise("resume:honest")
@pytest.mark.promise("resume:never-regenerate")
async def test_cursor_of_a_dropped_generation_gets_error_then_204(
    serve: Serve,
) -> None:
    forgetful = GenerationSettings(keep_finished_seconds=0.01)
    service = await serve(with_fake(HURRIED, generations=forgetful))
    generation, events = await finished(service)
    with anyio.fail_after(10):
        await until_forgotten(service, generation)
    for cursor in (events[2].last_event_id, events[-1].last_event_id, f"{NEVER}.0"):
        for target in (ASK, events_of(cursor.partition(".")[0])):
            status, [done] = await follow(service, target, {"Last-Event-ID": cursor})
            assert (status, done.type) == (200, "done")
            assert done.json["status"] == "failed"
            assert done.json["error"]["code"] == "not_resumable"
            again = {"Last-Event-ID": done.last_event_id}
            assert await follow(service, target, again) == (204, [])
    assert len(service.log) == 0


@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("resume:honest")
@pytest.mark.parametrize("cursor", ["-1", "gen_x.1", "0", "gen_" + "a" * 32])
async def test_foreign_cursor_never_creates(serve: Serve, cursor: str) -> None:
    """A client with a cursor is reconnecting: it learns that nothing can be resumed, then gets 204."""
    service = await serve(Settings())
    headers = {"Last-Event-ID": cursor}
    answer = await service.client.get(ASK, headers=headers)
    (event,) = parse(answer.content)
    assert (event.type, event.json["error"]["code"]) == ("done", "not_resumable")
    again = await service.client.get(ASK, headers={"Last-Event-ID": event.last_event_id})
    assert again.status_code == 204
    posted = await service.client.post("/v1/generations", json={"prompt": "a"}, headers=headers)
    assert (posted.status_code, posted.json()["field"]) == (422, "Last-Event-ID")
    assert len(service.log) == 0


@pytest.mark.promise("resume:honest")
async def test_unknown_generation_is_a_404_for_every_method(service: Service) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/stop")):
        for generation in (NEVER, "nonsense", "gen_%F0%9F%98%80", "%00"):
            answer = await service.client.request(method, f"{CREATE}/{generation}{path}")
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "generation_not_found"


@pytest.mark.promise("resume:never-regenerate")
async def test_repeated_post_with_a_cursor_resumes(service: Service) -> None:
    """Clients built on fetch repeat the same POST and the same body, with the cursor."""
    body = b'{"prompt": "hi"}'
    async with view(service.port, CREATE, method="POST", headers=STREAM, body=body) as viewer:
        events = await viewer.events()
    generation = viewer.headers["x-generation-id"]
    with creates(service, 0):
        for event in events:
            headers = {**STREAM, "Last-Event-ID": event.last_event_id}
            async with view(
                service.port, CREATE, method="POST", headers=headers, body=body
            ) as viewer:
                assert await viewer.events() == events[event.seq + 1 :]
            assert viewer.status == (200 if event.seq < 6 else 204)
        described = await service.client.post(
            CREATE, json=QUESTION, headers={"Last-Event-ID": events[1].last_event_id}
        )
        assert described.status_code == 200
        assert described.json()["id"] == generation
        assert described.headers["location"] == f"{CREATE}/{generation}"


async def test_ids_are_the_same_in_every_dialect(service: Service) -> None:
    """A viewer may change the format between two connections."""
    generation, events = await finished(service)
    _, text = await follow(service, f"{events_of(generation)}?format=text")
    assert [event.last_event_id for event in text] == [event.last_event_id for event in events]
    assert [event.type for event in text] == [event.type for event in events]
    assert "".join(event.data for event in text if event.type == "message") == HURRIED.text
    cursor = events[2].last_event_id
    _, rest = await follow(service, f"{ASK}&format=text", {"Last-Event-ID": cursor})
    assert rest == text[3:]
