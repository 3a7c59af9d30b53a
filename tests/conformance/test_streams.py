"""The conformance suite of a viewer's stream, on our own connection and on other ASGI servers.

Each server runs in a separate process, and clients use real sockets. The rows of the table "What a (re)connect gets" of
`docs/reference/http.md` come first.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.eventstream import Answer, BrowserEvent, EventStreamParser, parse, view, wire
from support.process import Running, write_config
from support.servers import SERVERS, Server

ASK = "/stream-ai?prompt=hi"
CREATE = "/v1/generations"
CHAT = "/v1/chat/completions"
STREAM = {"Accept": "text/event-stream"}
NEVER = f"gen_{'a' * 32}"
"""A valid id that was never issued."""

AT_ONCE: Mapping[str, object] = {
    "kind": "fake",
    "text": "One two three four five.",
    "words_per_second": 0,
    "first_word_seconds": 0,
    "attempts": 1,
    "circuit_failures": 0,
}
ENTRIES: Mapping[str, Mapping[str, object]] = {
    "fake": {},
    "silent": {"first_word_seconds": 3600, "first_token_seconds": 3700},
    "held": {"fault": "stall"},
    "slow": {"words_per_second": 40, "text": "word " * 12},
    "cut": {"fault": "cut"},
    "failing": {"fault": "auth"},
    "long": {"text": ("é" * 5000 + " ") * 2000},
}
SETTINGS = {
    "STREAM__PING_SECONDS": "0.2",
    "STREAM__SEND_TIMEOUT_SECONDS": "1",
    "STREAM__RETRY_MS": "1000",
    "SERVER__DRAIN_SECONDS": "0.5",
}
PATIENCE_SECONDS = 20
"""Bound for what ends at once, on a busy machine."""


@pytest.fixture(scope="module", params=SERVERS, ids=lambda server: server.name)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.param
    return found


@pytest.fixture(scope="module")
async def service(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """Yield a service under this server; tests share it, because starting takes a second."""
    directory = tmp_path_factory.mktemp(server.name)
    write_config(
        directory, {f"providers.{name}": {**AT_ONCE, **own} for name, own in ENTRIES.items()}
    )
    async with server.run(directory, SETTINGS) as running:
        yield running


async def follow(
    service: Running, target: str, headers: Mapping[str, str] | None = None
) -> tuple[int, list[BrowserEvent]]:
    """Read a stream to its end; return its status and events."""
    with anyio.fail_after(PATIENCE_SECONDS):
        async with view(service.port, target, headers=headers) as viewer:
            events = await viewer.events()
            assert viewer.is_whole
            return viewer.status, events


async def finished(service: Running) -> tuple[str, list[BrowserEvent]]:
    """Run a generation to its end; return the address of its events, and the events."""
    async with view(service.port, ASK) as viewer:
        events = await viewer.events()
        return viewer.headers["location"], events


async def ready(service: Running) -> dict[str, Any]:
    return dict((await service.client.get("/readyz")).json())


async def until_idle(service: Running) -> None:
    """Wait until no viewer is connected and no generation runs."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while (now := await ready(service))["viewers"] or now["generations"]:
            pass


async def outcome(service: Running, generation: str) -> str | None:
    """Return the outcome of a generation, or None while it runs."""
    snapshot = (await service.client.get(f"{CREATE}/{generation}")).json()
    found: str | None = snapshot["outcome"]
    return found


# The response to a (re)connect


@pytest.mark.promise("resume:no-gap")
async def test_cursor_gets_every_later_event_once(service: Running) -> None:
    location, events = await finished(service)
    assert [event.seq for event in events] == [0, 1, 2, 3, 4, 5, 6]
    for at, event in enumerate(events[:-1]):
        for target in (location, ASK):
            header = await follow(service, target, {"Last-Event-ID": event.last_event_id})
            separator = "&" if "?" in target else "?"
            address = f"{target}{separator}last_event_id={event.last_event_id}"
            assert header == await follow(service, address) == (200, events[at + 1 :])


@pytest.mark.promise("resume:never-regenerate")
async def test_cursor_of_the_end_gets_204(service: Running) -> None:
    location, events = await finished(service)
    headers = {"Last-Event-ID": events[-1].last_event_id}
    for target in (location, ASK):
        assert await follow(service, target, headers) == (204, [])


async def test_finished_generation_is_replayed_without_cursor(service: Running) -> None:
    location, events = await finished(service)
    assert await follow(service, location) == (200, events)


async def test_events_ignore_a_cursor_that_is_not_of_this_generation(service: Running) -> None:
    location, events = await finished(service)
    for cursor in ("-1", "nonsense", f"{NEVER}.3"):
        assert await follow(service, location, {"Last-Event-ID": cursor}) == (200, events)


@pytest.mark.promise("resume:honest")
@pytest.mark.parametrize("cursor", [f"{NEVER}.3", "nonsense"])
async def test_cursor_without_records_gets_one_error_then_204(
    service: Running, cursor: str
) -> None:
    status, [done] = await follow(service, ASK, {"Last-Event-ID": cursor})
    assert (status, done.type, done.json["error"]["code"]) == (200, "done", "not_resumable")
    assert await follow(service, ASK, {"Last-Event-ID": done.last_event_id}) == (204, [])


@pytest.mark.promise("door:browser")
async def test_ticket_opens_its_stream_once_and_resumes_it(service: Running) -> None:
    """Of two clients at once, one gets the words; in plain text, the other gets a status."""
    for form in ("json", "plain"):
        made = await service.client.post("/v1/tickets", json={"request": {"prompt": "hi"}})
        url, got = f"{made.json()['url']}&format={form}", dict[int, tuple[int, str]]()
        async with anyio.create_task_group() as tasks:
            for number in range(2):
                tasks.start_soon(look, service, url, number, got)
        [dead] = [answer for answer in got.values() if "three" not in answer[1]]
        assert dead[0] == (200 if form == "json" else 403)
        assert "ticket_spent" in dead[1]
        if form == "json":
            [body] = [body for _, body in got.values() if "three" in body]
            events = parse(body.encode())
            headers = {"Last-Event-ID": events[2].last_event_id}
            assert await follow(service, url, headers) == (200, events[3:])


async def look(service: Running, url: str, number: int, got: dict[int, tuple[int, str]]) -> None:
    """Note what an address gets."""
    answer = await service.client.get(url)
    got[number] = answer.status_code, answer.text


@pytest.mark.promise("resume:honest")
async def test_unknown_generation_is_a_404(service: Running) -> None:
    answer = await service.client.get(f"{CREATE}/{NEVER}/events")
    assert (answer.status_code, answer.json()["code"]) == (404, "generation_not_found")


@pytest.mark.promise("resume:never-regenerate")
async def test_post_with_a_cursor_resumes(service: Running) -> None:
    body = b'{"prompt": "hi"}'
    async with view(service.port, CREATE, method="POST", headers=STREAM, body=body) as first:
        events = await first.events()
    headers = {**STREAM, "Last-Event-ID": events[2].last_event_id}
    async with view(service.port, CREATE, method="POST", headers=headers, body=body) as second:
        assert await second.events() == events[3:]
    assert second.headers["x-generation-id"] == first.headers["x-generation-id"]


@pytest.mark.promise("input:clear-error")
async def test_at_a_limit_a_get_comes_back_later_and_a_post_is_refused(
    server: Server, tmp_path: Path
) -> None:
    write_config(tmp_path, {"providers.fake": {**AT_ONCE, **ENTRIES["silent"]}})
    settings = {**SETTINGS, "LIMITS__MAX_VIEWERS": "1"}
    async with server.run(tmp_path, settings) as service, view(service.port, ASK) as viewer:
        assert (await viewer.event()).type == "start"
        async with view(service.port, ASK) as second:
            parser = EventStreamParser()
            assert parser.feed(await second.body()) == []
            assert second.status == 200
            assert 1000 <= (parser.retry_ms or 0) <= 3000
        refused = await service.client.post(CREATE, json={"prompt": "hi"}, headers=STREAM)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert "retry-after" in refused.headers


@pytest.mark.promise("fan-out:shared")
async def test_viewer_that_is_too_slow_is_disconnected_and_resumes(
    server: Server, service: Running
) -> None:
    """Another viewer of the same generation gets everything in time."""
    with anyio.fail_after(PATIENCE_SECONDS):
        async with wire(service.port, receive_buffer=4096) as connection:
            slow = await connection.ask("GET", f"{ASK}&provider=long")
            location = slow.headers["location"]
            _, events = await follow(service, location)
            assert events[-1].json["status"] == "completed"
            await until_idle(service)
            seen = await slow.events()
            assert not slow.is_whole or not server.reports_cuts
    assert len(seen) < len(events)
    _, rest = await follow(service, location, {"Last-Event-ID": seen[-1].last_event_id})
    assert seen + rest == events


# Bytes and time


async def test_head_of_a_stream_has_what_proxies_need(service: Running) -> None:
    async with view(service.port, ASK) as viewer:
        assert viewer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert viewer.headers["cache-control"] == "no-store, no-transform"
        assert viewer.headers["x-accel-buffering"] == "no"
        generation = viewer.headers["x-generation-id"]
        assert viewer.headers["location"] == f"{CREATE}/{generation}/events"
        body = await viewer.body()
    assert body.startswith(b"retry: 1000\nid: gen_")
    assert body.count(b"retry:") == 1
    assert b"\r" not in body


@pytest.mark.promise("stream:word-by-word")
async def test_each_token_goes_out_at_once(service: Running) -> None:
    """Earlier tokens arrive while the provider holds back the next one."""
    with anyio.fail_after(PATIENCE_SECONDS):
        async with view(service.port, f"{ASK}&provider=held") as viewer:
            start, *words = [await viewer.event() for _ in range(4)]
            assert start.type == "start"
            assert [word.type for word in words] == ["message"] * 3
            assert await outcome(service, viewer.headers["x-generation-id"]) is None
    await until_idle(service)


@pytest.mark.promise("alive:ping")
async def test_silence_is_filled_with_lone_comment_lines(service: Running) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with view(service.port, f"{ASK}&provider=held") as viewer:
            body = await viewer.raw_until(b"\n\n: ka\n: ka\n")
    assert len(parse(body)) == 4
    assert body.replace(b": ka\n", b"").endswith(b"\n\n")


@pytest.mark.promise("alive:ping")
async def test_dialect_without_keepalive_gets_none(service: Running) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with view(service.port, f"{ASK}&provider=slow&format=plain") as viewer:
            assert await viewer.body() == b"word " * 12
    assert viewer.is_whole


@pytest.mark.promise("end:exactly-one")
async def test_failure_that_a_dialect_cannot_express_is_a_cut(
    server: Server, service: Running
) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with view(service.port, f"{ASK}&provider=cut&format=plain") as viewer:
            assert (await viewer.body()).startswith(b"One ")
    assert viewer.is_whole != server.reports_cuts
    await until_idle(service)


# Leaving


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize(
    ("provider", "events"), [("silent", 0), ("silent", 1), ("slow", 3), ("held", 4)]
)
async def test_leaving_stops_the_generation(
    service: Running, provider: str, events: int, leave: str
) -> None:
    """The viewer leaves before the first event, before the first token, between tokens, and in a silence."""
    with anyio.fail_after(PATIENCE_SECONDS):
        async with wire(service.port) as connection:
            viewer = await connection.ask("GET", f"{ASK}&provider={provider}")
            for _ in range(events):
                await viewer.event()
            getattr(connection, leave)()
        await until_idle(service)
        assert await outcome(service, viewer.headers["x-generation-id"]) == "no_viewers"


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("streams", ["true", "false"])
async def test_leaving_before_the_head_stops_the_generation(service: Running, streams: str) -> None:
    body = f'{{"model":"silent","stream":{streams},"messages":[{{"role":"user","content":"hi"}}]}}'
    with anyio.fail_after(PATIENCE_SECONDS):
        async with wire(service.port) as connection:
            await connection.send(
                f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            while not (await ready(service))["viewers"]:
                pass
            connection.close()
        await until_idle(service)


@pytest.mark.promise("cancel:disconnect")
async def test_leaving_does_not_end_the_stream_of_another_viewer(service: Running) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with view(service.port, f"{ASK}&provider=slow") as first:
            await first.event()
            async with view(service.port, first.headers["location"]) as second:
                await second.event()
                first.wire.close()
                assert (await second.events())[-1].json["status"] == "completed"


# Delayed heads


async def chat(service: Running, model: str, *, streams: bool) -> Answer:
    body = b'{"model":"%b","stream":%b,"messages":[{"role":"user","content":"hi"}]}' % (
        model.encode(),
        b"true" if streams else b"false",
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        async with view(service.port, CHAT, method="POST", body=body) as answer:
            await answer.body()
            return answer


@pytest.mark.parametrize("streams", [True, False])
async def test_failure_before_the_first_token_has_a_status(
    service: Running, *, streams: bool
) -> None:
    answer = await chat(service, "failing", streams=streams)
    assert answer.status >= 400
    assert answer.headers["x-should-retry"] == "false"
    assert b'"error"' in answer.raw


async def test_head_waits_for_the_first_token_and_nothing_is_lost(service: Running) -> None:
    streamed = await chat(service, "slow", streams=True)
    assert streamed.status == 200
    assert streamed.raw.count(b'"content":"word ') == 12
    assert streamed.raw.endswith(b"data: [DONE]\n\n")
    whole = await chat(service, "slow", streams=False)
    assert whole.status == 200
    assert (await whole.json())["choices"][0]["message"]["content"] == "word " * 12


# Shutdown


@pytest.mark.promise("drain:no-loss")
@pytest.mark.parametrize("provider", ["held", "silent"])
async def test_sigterm_ends_streams_with_a_done_if_the_server_drains(
    server: Server, tmp_path: Path, provider: str
) -> None:
    write_config(tmp_path, {f"providers.{provider}": {**AT_ONCE, **ENTRIES[provider]}})
    async with server.run(tmp_path, SETTINGS) as service:
        with anyio.fail_after(PATIENCE_SECONDS):
            async with view(service.port, f"{ASK}&provider={provider}") as viewer:
                await viewer.event()
                code = None
                async with anyio.create_task_group() as tasks:

                    async def end() -> None:
                        nonlocal code
                        code = await service.terminate()

                    tasks.start_soon(end)
                    events = await viewer.events()
                if server.drains:
                    assert events[-1].json["error"]["code"] == "drained"
                    assert viewer.is_whole
                    service.assert_quiet()
                else:
                    assert "done" not in {event.type for event in events}
                assert viewer.is_whole == server.drains
                assert code is not None


@pytest.mark.promise("drain:no-loss")
async def test_sigterm_answers_a_delayed_head_if_the_server_drains(
    server: Server, tmp_path: Path
) -> None:
    write_config(tmp_path, {"providers.silent": {**AT_ONCE, **ENTRIES["silent"]}})
    async with server.run(tmp_path, SETTINGS) as service, wire(service.port) as connection:
        with anyio.fail_after(PATIENCE_SECONDS):
            body = b'{"model":"silent","messages":[{"role":"user","content":"hi"}]}'
            await connection.send(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            while not (await ready(service))["viewers"]:
                pass
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(service.terminate)
                if server.drains:
                    answer = await connection.answer("POST")
                    assert (answer.status, (await answer.json())["error"]["code"]) == (
                        503,
                        "drained",
                    )
