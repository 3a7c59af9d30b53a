"""What a connect and a reconnect get: the table of `docs/wire.md`, row by row."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any

import anyio
import msgspec
import pytest

from conftest import Serve
from streamsvc.config.settings import (
    FakeSettings,
    GenerationSettings,
    LimitSettings,
    Settings,
    StreamSettings,
)
from streamsvc.eventlog.base import BEFORE_FIRST, LogEnded
from support.eventstream import BrowserEvent, EventStreamParser, parse, view, wire
from support.service import Service, serving

ASK = "/stream-ai?prompt=hi"
CREATE = "/v1/generations"
QUESTION = {"prompt": "hi"}
STREAM = {"Accept": "text/event-stream"}
NEVER = f"gen_{'a' * 32}"
"""An id in the right form that was never given out."""

HURRIED = FakeSettings(words_per_second=0, first_word_seconds=0, text="One two three four five.")
SILENT = FakeSettings(first_word_seconds=3600)
SLOW = FakeSettings(first_word_seconds=0, words_per_second=40, text="word " * 20)


def with_fake(fake: FakeSettings, **sections: object) -> Settings:
    return Settings(providers={"fake": fake}, **sections)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    """Give a service that answers at once; shared, so generations are counted with `creates`."""
    async with serving(with_fake(HURRIED), {}) as service:
        yield service


@contextmanager
def creates(service: Service, count: int) -> Iterator[None]:
    """Expect so many new generations."""
    before = len(service.log)
    yield
    assert len(service.log) - before == count


def events_of(generation: str) -> str:
    return f"{CREATE}/{generation}/events"


async def follow(
    service: Service, target: str, headers: Mapping[str, str] | None = None
) -> tuple[int, list[BrowserEvent]]:
    """Read a stream to its end; return its status and events."""
    async with view(service.port, target, headers=headers) as viewer:
        events = await viewer.events()
        assert viewer.is_whole
        return viewer.status, events


async def finished(service: Service, target: str = ASK) -> tuple[str, list[BrowserEvent]]:
    """Have a generation run to its end; return its id and its events."""
    async with view(service.port, target) as viewer:
        return viewer.headers["x-generation-id"], await viewer.events()


async def created(service: Service, **body: object) -> str:
    """Create a generation that nobody watches yet."""
    response = await service.client.post(CREATE, json={**QUESTION, **body})
    assert response.status_code == 201
    return str(response.json()["id"])


async def snapshot(service: Service, generation: str) -> dict[str, Any]:
    response = await service.client.get(f"{CREATE}/{generation}")
    assert response.status_code == 200
    return dict(response.json())


async def until_finished(service: Service, generation: str) -> dict[str, Any]:
    """Wait for the end of a generation without being its viewer."""
    after = BEFORE_FIRST
    with suppress(LogEnded):
        while records := await service.log.read(generation, after=after, wait_seconds=10):
            after = records[-1].seq
    return await snapshot(service, generation)


async def until_unwatched(service: Service) -> None:
    """Wait until the service has noticed that all viewers have gone."""
    while (await service.client.get("/readyz")).json()["viewers"]:
        pass


async def until_forgotten(service: Service, generation: str) -> None:
    """Wait until a finished generation is no longer kept."""
    while (await service.client.get(f"{CREATE}/{generation}")).is_success:
        pass


@pytest.mark.promise("resume:no-gap")
async def test_a_cursor_gets_every_later_event_once(service: Service) -> None:
    """Every cursor, on both addresses, as a header and as a parameter."""
    generation, events = await finished(service)
    assert [event.seq for event in events] == [0, 1, 2, 3, 4, 5, 6]
    with creates(service, 0):
        for at, event in enumerate(events[:-1]):
            cursor = event.last_event_id
            for target in (events_of(generation), ASK):
                header = await follow(service, target, {"Last-Event-ID": cursor})
                separator = "&" if "?" in target else "?"
                for name in ("last_event_id", "lastEventId"):  # the second of the polyfill
                    parameter = await follow(service, f"{target}{separator}{name}={cursor}")
                    assert header == parameter == (200, events[at + 1 :])


@pytest.mark.promise("resume:no-gap")
async def test_a_stream_cut_at_any_byte_goes_on_where_the_browser_was(service: Service) -> None:
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


@pytest.mark.promise("resume:no-gap")
async def test_a_viewer_who_loses_the_connection_again_and_again_misses_nothing(
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
    assert "".join(event.json["text"] for event in seen[1:-1]) == SLOW.text
    assert connections == 11
    assert len(service.log) == 1


@pytest.mark.promise("resume:never-regenerate")
async def test_the_cursor_of_the_end_gets_204_which_stops_a_browser(service: Service) -> None:
    generation, events = await finished(service)
    headers = {"Last-Event-ID": events[-1].last_event_id}
    with creates(service, 0):
        for target in (events_of(generation), ASK, "/stream-ai"):
            assert await follow(service, target, headers) == (204, [])


async def test_without_a_cursor_a_finished_generation_is_replayed_whole(service: Service) -> None:
    generation, events = await finished(service)
    assert await follow(service, events_of(generation)) == (200, events)
    assert await follow(service, f"{events_of(generation)}?format=json") == (200, events)


async def test_a_cursor_in_the_header_goes_before_the_one_in_the_address(service: Service) -> None:
    """A page that resumes by its address loses the connection again: the browser knows better."""
    generation, events = await finished(service)
    target = f"{events_of(generation)}?last_event_id={events[1].last_event_id}"
    headers = {"Last-Event-ID": events[4].last_event_id}
    assert await follow(service, target, headers) == (200, events[5:])


async def test_a_cursor_that_is_not_of_this_generation_is_as_none(service: Service) -> None:
    generation, events = await finished(service)
    other, _ = await finished(service)
    for cursor in (
        *("-1", "0", "3", "null", "undefined", "1780000000000-0", "\xa0", "\xff" * 70),
        *(generation, f"{generation}.", f"{generation}.-1", f"{generation}.1.2", f"{generation}.1e3"),
        *(f"{generation}.{'9' * 13}", f"{generation}:3", f"{generation.upper()}.3", f" {generation}.x"),
        *(f"{other}.3", f"{other}.6", f"{other}.gone", f"{NEVER}.3"),
    ):  # fmt: skip
        with creates(service, 0):
            answer = await follow(service, events_of(generation), {"Last-Event-ID": cursor})
        assert answer == (200, events), cursor


@pytest.mark.promise("resume:honest")
async def test_a_cursor_beyond_the_end_is_told_that_it_cannot_be_honoured(service: Service) -> None:
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
async def test_a_cursor_of_a_generation_that_is_gone_gets_an_error_and_then_204(
    serve: Serve,
) -> None:
    forgetful = GenerationSettings(keep_finished_seconds=0.01)
    service = await serve(with_fake(HURRIED, generations=forgetful))
    generation, events = await finished(service)
    with anyio.fail_after(5):
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


@pytest.mark.promise("resume:honest")
async def test_an_unknown_generation_is_a_404(service: Service) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/stop")):
        for generation in (NEVER, "nonsense", "gen_%F0%9F%98%80", "%00"):
            answer = await service.client.request(method, f"{CREATE}/{generation}{path}")
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "generation_not_found"


@pytest.mark.promise("resume:never-regenerate")
async def test_a_post_that_is_sent_again_with_a_cursor_resumes(service: Service) -> None:
    """As clients built on fetch do it: the same POST, body and all, with the cursor."""
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


async def test_a_post_answers_with_json_or_the_stream_as_it_is_asked(service: Service) -> None:
    stream, json = "text/event-stream", "application/json"
    for accept, wanted in (
        *((stream, stream), (f"{stream}, {json}", stream), (f"{stream};q=1", stream)),
        *((json, json), ("*/*", json), (f"{json}, {stream}", json), ("", json), ("text/html", json)),
    ):  # fmt: skip
        async with view(
            service.port, CREATE, method="POST", headers={"Accept": accept}, body=b'{"prompt":"hi"}'
        ) as viewer:
            generation = viewer.headers["x-generation-id"]
            assert viewer.headers["content-type"].startswith(wanted)
            if wanted == stream:
                assert (viewer.status, viewer.headers["location"]) == (200, events_of(generation))
                assert (await viewer.events())[-1].type == "done"
            else:
                assert (viewer.status, viewer.headers["location"]) == (
                    201,
                    f"{CREATE}/{generation}",
                )
                assert (await viewer.json())["id"] == generation


@pytest.mark.promise("resume:never-regenerate")
async def test_the_same_key_attaches_to_the_first_generation(service: Service) -> None:
    """Whichever way it comes in: the header, the parameter, GET or POST."""
    key = {"Idempotency-Key": "k1"}
    with creates(service, 1):
        generation, events = await finished(service, f"{ASK}&key=k1")
        assert await finished(service, f"{ASK}&key=k1") == (generation, events)
        assert await follow(service, ASK, key) == (200, events)
        for url, headers in ((CREATE, key), (f"{CREATE}?key=k1", {})):
            response = await service.client.post(url, json=QUESTION, headers=headers)
            assert response.json()["id"] == generation
    with creates(service, 2):
        assert (await finished(service, f"{ASK}&key=k2"))[0] != generation
        assert (await finished(service))[0] != generation


@pytest.mark.promise("resume:never-regenerate")
async def test_requests_with_one_key_at_the_same_time_make_one_generation(serve: Serve) -> None:
    service = await serve(with_fake(SILENT))
    generations: list[str] = []

    async def create() -> None:
        response = await service.client.post(
            CREATE, json=QUESTION, headers={"Idempotency-Key": "k"}
        )
        generations.append(response.json()["id"])

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(create)
    assert len(generations) == 10
    assert len(set(generations)) == len(service.log) == 1


@pytest.mark.promise("input:clear-error")
async def test_a_key_cannot_stand_for_two_requests(service: Service) -> None:
    key = {"Idempotency-Key": "k3"}
    first = await service.client.post(CREATE, json=QUESTION, headers=key)
    with creates(service, 0):
        for body in (
            {"prompt": "ho"},
            {**QUESTION, "max_tokens": 3},
            {**QUESTION, "grace_seconds": 1},
            {**QUESTION, "metadata": {"a": "b"}},
        ):
            response = await service.client.post(CREATE, json=body, headers=key)
            assert response.status_code == 422
            assert response.json()["field"] == "Idempotency-Key"
        again = await service.client.post(CREATE, json=QUESTION, headers=key)
        assert again.json()["id"] == first.json()["id"]


@pytest.mark.promise("input:clear-error")
async def test_a_field_of_a_refusal_has_the_name_that_the_client_gave(service: Service) -> None:
    """The key as a parameter, or as a header; the entry as `provider`."""
    await service.client.post(f"{CREATE}?key=k4", json=QUESTION)
    for url, body, headers, field in (
        (f"{CREATE}?key=k4", {"prompt": "ho"}, {}, "key"),
        (CREATE, {"prompt": "ho"}, {"Idempotency-Key": "k4"}, "Idempotency-Key"),
        (CREATE, {**QUESTION, "provider": "nobody"}, {}, "provider"),
    ):
        refused = (await service.client.post(url, json=body, headers=headers)).json()
        assert refused["field"] == field
        assert repr(field) in refused["detail"]
    refused = (await service.client.get("/stream-ai?prompt=other&key=k4")).json()
    assert refused["field"] == "key"


async def test_a_key_is_free_again_when_its_generation_is_no_longer_kept(serve: Serve) -> None:
    forgetful = GenerationSettings(keep_finished_seconds=0.01)
    service = await serve(with_fake(HURRIED, generations=forgetful))
    first, _ = await finished(service, f"{ASK}&key=k")
    with anyio.fail_after(5):
        await until_forgotten(service, first)
    second, _ = await finished(service, "/stream-ai?prompt=other&key=k")
    assert second != first


def assert_is_busy(status: int, body: bytes) -> None:
    """A retry time and a comment: a browser comes back, and its page sees nothing."""
    assert status == 200
    parser = EventStreamParser()
    assert parser.feed(body) == []
    assert parser.retry_ms is not None
    assert 1000 <= parser.retry_ms <= 3000
    assert body == b"retry: %d\n: busy\n" % parser.retry_ms


@pytest.mark.promise("input:clear-error")
async def test_at_the_bound_of_generations_a_browser_comes_back_later_and_a_post_is_refused(
    serve: Serve,
) -> None:
    stream = StreamSettings(retry_ms=1000)
    for limits, fake in (
        (LimitSettings(max_generations=1), SILENT),
        (LimitSettings(), msgspec.structs.replace(SILENT, max_generations=1)),
    ):
        service = await serve(with_fake(fake, limits=limits, stream=stream))
        generation = await created(service)
        for _ in range(5):
            async with view(service.port, ASK) as viewer:
                assert_is_busy(viewer.status, await viewer.body())
        for headers in ({}, STREAM):
            refused = await service.client.post(CREATE, json=QUESTION, headers=headers)
            assert refused.status_code == 503
            assert refused.json()["code"] == "overloaded"
            assert int(refused.headers["retry-after"]) >= 1
        assert len(service.log) == 1
        # What runs may be watched, and when it is over there is room.
        async with view(service.port, events_of(generation)) as viewer:
            assert (await viewer.event()).type == "start"
            await service.client.post(f"{CREATE}/{generation}/stop")
            assert (await viewer.event()).type == "done"
        await created(service)


@pytest.mark.promise("input:clear-error")
async def test_at_the_bound_of_viewers_nobody_is_added_and_nothing_created(serve: Serve) -> None:
    limits = LimitSettings(max_viewers=1)
    service = await serve(with_fake(SILENT, limits=limits, stream=StreamSettings(retry_ms=1000)))
    with anyio.fail_after(5):
        async with view(service.port, ASK) as first:
            cursor = {"Last-Event-ID": (await first.event()).last_event_id}
            for target, headers in ((ASK, {}), (ASK, cursor), (first.headers["location"], {})):
                async with view(service.port, target, headers=headers) as second:
                    assert_is_busy(second.status, await second.body())
            refused = await service.client.post(CREATE, json=QUESTION, headers=STREAM)
            assert refused.status_code == 503
            assert len(service.log) == 1
        await until_unwatched(service)
        async with view(service.port, ASK) as third:
            assert (await third.event()).type == "start"


@pytest.mark.promise("input:clear-error")
async def test_of_a_burst_only_those_create_who_find_a_place_among_the_viewers(
    serve: Serve,
) -> None:
    """All are there before one is answered."""
    service = await serve(with_fake(SILENT, limits=LimitSettings(max_viewers=2)))
    with anyio.fail_after(5):
        async with AsyncExitStack() as stack:
            burst = [await stack.enter_async_context(wire(service.port)) for _ in range(8)]
            for connection in burst:
                await connection.send(f"GET {ASK} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            for connection in burst:
                assert (await connection.answer("GET")).status == 200
            assert (service.supervisor.viewers, service.supervisor.running) == (2, 2)
            assert len(service.log) == 2


async def test_a_post_that_finds_the_last_place_taken_creates_nothing(serve: Serve) -> None:
    """Also if the place is taken while its body is on the way."""
    service = await serve(with_fake(SILENT, limits=LimitSettings(max_viewers=1)))
    with anyio.fail_after(5):
        async with wire(service.port) as connection:
            head = f"POST {CREATE} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            await connection.send(
                f"{head}Expect: 100-continue\r\nContent-Length: 15\r\n\r\n".encode()
            )
            # The service waits for the body now.
            assert await connection.read_line() == b"HTTP/1.1 100 Continue"
            assert await connection.read_line() == b""
            async with view(service.port, ASK) as viewer:
                assert (await viewer.event()).type == "start"
                with creates(service, 0):
                    await connection.send(b'{"prompt":"hi"}')
                    refused = await connection.answer("POST")
                    assert (refused.status, (await refused.json())["code"]) == (503, "overloaded")


@pytest.mark.promise("drain:no-loss")
async def test_while_draining_nothing_new_begins_and_what_runs_can_be_resumed(serve: Serve) -> None:
    service = await serve(with_fake(SILENT, stream=StreamSettings(retry_ms=1000)))
    client = service.client
    assert (await client.get("/readyz")).json()["status"] == "ready"
    generation = await created(service)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.supervisor.drain, 3600)
            while (ready := await client.get("/readyz")).is_success:
                pass
            assert (ready.status_code, ready.json()["status"]) == (503, "draining")
            assert (await client.get("/healthz")).is_success
            async with view(service.port, ASK) as viewer:
                assert_is_busy(viewer.status, await viewer.body())
            refused = await client.post(CREATE, json=QUESTION)
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
            assert int(refused.headers["retry-after"]) >= 1
            headers = {"Last-Event-ID": f"{generation}.0"}
            async with view(service.port, ASK, headers=headers) as viewer:
                await client.post(f"{CREATE}/{generation}/stop")
                assert (await viewer.event()).json["status"] == "stopped"
    assert len(service.log) == 1


@pytest.mark.promise("cancel:stop")
async def test_a_stop_ends_it_at_once_and_every_viewer_is_told(serve: Serve) -> None:
    service = await serve(with_fake(SILENT))
    generation = await created(service)
    target = events_of(generation)
    stop = f"{CREATE}/{generation}/stop"
    with anyio.fail_after(5):
        async with (
            view(service.port, target) as one,
            view(service.port, target) as two,
            view(service.port, f"{target}?format=text") as three,
        ):
            stopped = await service.client.post(stop)
            assert stopped.status_code == 200
            assert stopped.json()["status"] == "stopped"
            for viewer in (one, two, three):
                start, done = await viewer.events()
                assert start.type == "start"
                assert (done.json["status"], done.json["outcome"]) == ("stopped", "client_stop")
                assert viewer.is_whole
        # Again, and as navigator.sendBeacon does it.
        beacon = {"Content-Type": "text/plain;charset=UTF-8"}
        for headers, content in (({}, b""), (beacon, b"bye")):
            again = await service.client.post(stop, headers=headers, content=content)
            assert (again.status_code, again.json()) == (200, stopped.json())


@pytest.mark.promise("cancel:stop")
async def test_stopping_what_is_complete_changes_nothing(service: Service) -> None:
    generation, events = await finished(service)
    before = await snapshot(service, generation)
    stopped = await service.client.post(f"{CREATE}/{generation}/stop")
    assert stopped.json() == before
    assert before["status"] == "completed"
    assert await follow(service, events_of(generation)) == (200, events)


async def test_a_snapshot_has_the_text_so_far_and_the_cursor_to_go_on_from(serve: Serve) -> None:
    service = await serve(with_fake(msgspec.structs.replace(SLOW, reasoning="Well, now.")))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as viewer:
            generation = viewer.headers["x-generation-id"]
            seen = [await viewer.event() for _ in range(6)]
            early = await snapshot(service, generation)
            assert early["status"] == "running"
            assert early["finish_reason"] is None
            assert early["reasoning"] == "Well, now."
            assert early["text"].startswith("word word word ")
            headers = {"Last-Event-ID": early["last_event_id"]}
            _, rest = await follow(service, events_of(generation), headers)
            seen += await viewer.events()
    text = "".join(event.json["text"] for event in rest if event.type == "message")
    assert early["text"] + text == SLOW.text
    late = await snapshot(service, generation)
    assert late["text"] == SLOW.text
    assert late["last_event_id"] == seen[-1].last_event_id
    done = seen[-1].json
    same = ("status", "finish_reason", "provider_finish_reason", "outcome", "usage", "error")
    assert {name: late[name] for name in same} == {name: done[name] for name in same}
    start = seen[0].json
    assert late["id"] == start["generation"]
    assert {name: late[name] for name in ("provider", "model", "created")} == {
        name: start[name] for name in ("provider", "model", "created")
    }


async def test_metadata_is_given_back(service: Service) -> None:
    metadata = {"thread": "7", "": "", "😀": "\u2028"}
    generation = await created(service, metadata=metadata)
    _, events = await follow(service, events_of(generation))
    assert events[0].json["metadata"] == metadata
    assert (await snapshot(service, generation))["metadata"] == metadata


@pytest.mark.promise("cancel:disconnect")
async def test_when_the_last_viewer_leaves_it_is_stopped(serve: Serve) -> None:
    """Closed or reset; at once, also while the provider is silent."""
    service = await serve(with_fake(SILENT))
    for leave in ("close", "reset"):
        with anyio.fail_after(5):
            async with wire(service.port) as connection, view(service.port, ASK) as first:
                generation = first.headers["x-generation-id"]
                second = await connection.ask("GET", events_of(generation))
                assert (await first.event()).type == (await second.event()).type == "start"
                first.wire.close()
                while (await service.client.get("/readyz")).json()["viewers"] == 2:
                    pass
                assert (await snapshot(service, generation))["status"] == "running"
                getattr(connection, leave)()
                ended = await until_finished(service, generation)
        assert (ended["status"], ended["outcome"]) == ("stopped", "no_viewers")
        assert service.supervisor.running == 0
        # Too late: the viewer who comes back is told, and not given a new answer.
        _, [done] = await follow(service, ASK, {"Last-Event-ID": f"{generation}.0"})
        assert done.json["outcome"] == "no_viewers"


@pytest.mark.promise("cancel:disconnect")
async def test_a_viewer_who_sent_more_requests_behind_the_stream_is_missed_too(
    serve: Serve,
) -> None:
    """The server reads no further than one, so it is the next keepalive that finds nobody there."""
    service = await serve(with_fake(SILENT, stream=StreamSettings(ping_seconds=0.02)))
    with anyio.fail_after(5):
        async with wire(service.port) as connection:
            stream = await connection.ask("GET", ASK)
            generation = stream.headers["x-generation-id"]
            await connection.send(2 * b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await stream.raw_until(b": ka\n: ka\n")
            connection.reset()
            ended = await until_finished(service, generation)
    assert (ended["status"], ended["outcome"]) == ("stopped", "no_viewers")


@pytest.mark.promise("cancel:disconnect")
async def test_it_goes_on_for_the_grace_time_without_viewers_and_no_longer(serve: Serve) -> None:
    """The time is the configured one, or that of the request."""
    for configured, body in (
        (0.1, b'{"prompt":"hi"}'),
        (60, b'{"prompt":"hi","grace_seconds":0.1}'),
    ):
        generations = GenerationSettings(grace_seconds=configured)
        service = await serve(with_fake(SILENT, generations=generations))
        with anyio.fail_after(5):
            async with view(
                service.port, CREATE, method="POST", headers=STREAM, body=body
            ) as viewer:
                generation = viewer.headers["x-generation-id"]
                left = anyio.current_time()
            ended = await until_finished(service, generation)
        assert anyio.current_time() - left >= 0.1
        assert (ended["status"], ended["outcome"]) == ("stopped", "no_viewers")


@pytest.mark.promise("resume:no-gap")
async def test_a_viewer_who_comes_back_within_the_grace_time_has_it_all(serve: Serve) -> None:
    service = await serve(with_fake(SLOW, generations=GenerationSettings(grace_seconds=30)))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as viewer:
            generation = viewer.headers["x-generation-id"]
            seen = [await viewer.event() for _ in range(3)]
        await until_unwatched(service)
        # Words come although nobody is there.
        at_leaving = (await snapshot(service, generation))["text"]
        while (away := await snapshot(service, generation))["text"] == at_leaving:
            pass
        assert away["status"] == "running"
        _, rest = await follow(service, ASK, {"Last-Event-ID": seen[-1].last_event_id})
    assert [event.seq for event in seen + rest] == list(range(22))
    assert rest[-1].json["status"] == "completed"
    assert len(service.log) == 1


async def test_the_grace_time_starts_anew_with_each_leaving(serve: Serve) -> None:
    """A viewer who came back has stopped the clock: it does not run out under them."""
    service = await serve(with_fake(SILENT, generations=GenerationSettings(grace_seconds=0.2)))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as viewer:
            generation = viewer.headers["x-generation-id"]
        await until_unwatched(service)
        async with view(service.port, events_of(generation)) as viewer:
            back = anyio.current_time()
            assert (await viewer.event()).type == "start"
            with anyio.move_on_after(0.4) as patience:
                await viewer.event()
            assert patience.cancelled_caught
            assert anyio.current_time() - back >= 0.4
            assert (await snapshot(service, generation))["status"] == "running"


async def test_a_created_generation_waits_for_its_first_viewer_only_so_long(serve: Serve) -> None:
    service = await serve(with_fake(SILENT, generations=GenerationSettings(attach_seconds=0.1)))
    with anyio.fail_after(5):
        began = anyio.current_time()
        ended = await until_finished(service, await created(service))
        assert anyio.current_time() - began >= 0.1
    assert (ended["status"], ended["outcome"]) == ("stopped", "no_viewers")


async def test_a_created_generation_that_is_watched_in_time_goes_on(serve: Serve) -> None:
    settings = with_fake(SLOW, generations=GenerationSettings(attach_seconds=0.2))
    service = await serve(settings)
    with anyio.fail_after(10):
        _, events = await follow(service, events_of(await created(service)))
    assert events[-1].at - events[0].at > 0.2
    assert events[-1].json["status"] == "completed"


async def test_an_answer_whole_in_the_log_is_the_same_for_every_dialect(service: Service) -> None:
    """The ids too: a viewer may change the format between two connections."""
    generation, events = await finished(service)
    _, text = await follow(service, f"{events_of(generation)}?format=text")
    assert [event.last_event_id for event in text] == [event.last_event_id for event in events]
    assert [event.type for event in text] == [event.type for event in events]
    assert "".join(event.data for event in text if event.type == "message") == HURRIED.text
    cursor = events[2].last_event_id
    _, rest = await follow(service, f"{ASK}&format=text", {"Last-Event-ID": cursor})
    assert rest == text[3:]


@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("resume:honest")
@pytest.mark.parametrize("cursor", ["-1", "gen_x.1", "0", "gen_" + "a" * 32])
async def test_a_cursor_that_is_not_ours_never_creates(serve: Serve, cursor: str) -> None:
    """Who sends one comes back; an EventSource is told that there is nothing to resume, and rests."""
    service = await serve(Settings())
    headers = {"Last-Event-ID": cursor}
    told = await service.client.get(ASK, headers=headers)
    (event,) = parse(told.content)
    assert (event.type, event.json["error"]["code"]) == ("done", "not_resumable")
    again = await service.client.get(ASK, headers={"Last-Event-ID": event.last_event_id})
    assert again.status_code == 204
    posted = await service.client.post("/v1/generations", json={"prompt": "a"}, headers=headers)
    assert (posted.status_code, posted.json()["field"]) == (422, "Last-Event-ID")
    assert len(service.log) == 0
