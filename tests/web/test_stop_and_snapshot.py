"""Generations are created, described and stopped."""

import json

import anyio
import msgspec
import pytest

from conftest import Serve
from support.asking import fetch
from support.eventstream import parse, view
from support.native import (
    ASK,
    CREATE,
    HURRIED,
    SILENT,
    SLOW,
    created,
    events_of,
    finished,
    follow,
    snapshot,
    text_of,
    with_fake,
)
from support.service import Service
from support.shared import shared_service

service = shared_service(with_fake(HURRIED))


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("text/event-stream, application/json", True),
        ("application/json;q=0.5, text/event-stream", True),
        ("text/event-stream;q=1", True),
        ("text/event-stream;q=1.0, */*;q=0.1", True),
        ("application/json, text/event-stream", False),
        ("text/event-stream;q=0.2, application/json", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=x", False),
        ("application/json", False),
        ("text/html", False),
        ("*/*", False),
        ("", False),
    ],
)
async def test_accept_decides_between_json_and_stream(
    service: Service, accept: str, *, streams: bool
) -> None:
    headers = {"Accept": accept}
    answer = await fetch(
        service.port, CREATE, method="POST", headers=headers, body=b'{"prompt":"hi"}'
    )
    generation = answer.headers["x-generation-id"]
    head = answer.status, answer.headers["content-type"], answer.headers["location"]
    if streams:
        assert head == (200, "text/event-stream; charset=utf-8", events_of(generation))
        assert parse(bytes(answer.raw))[-1].type == "done"
    else:
        assert head == (201, "application/json", f"{CREATE}/{generation}")
        assert json.loads(bytes(answer.raw))["id"] == generation


@pytest.mark.promise("cancel:stop")
async def test_stop_ends_generation_and_informs_every_viewer(serve: Serve) -> None:
    service = await serve(with_fake(SILENT))
    generation = await created(service)
    target = events_of(generation)
    stop = f"{CREATE}/{generation}/stop"
    with anyio.fail_after(10):
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
        # A second stop, and one as navigator.sendBeacon sends it.
        beacon = {"Content-Type": "text/plain;charset=UTF-8"}
        for headers, content in (({}, b""), (beacon, b"bye")):
            again = await service.client.post(stop, headers=headers, content=content)
            assert (again.status_code, again.json()) == (200, stopped.json())


@pytest.mark.promise("cancel:stop")
async def test_stop_of_a_complete_generation_changes_nothing(service: Service) -> None:
    generation, events = await finished(service)
    before = await snapshot(service, generation)
    stopped = await service.client.post(f"{CREATE}/{generation}/stop")
    assert stopped.json() == before
    assert before["status"] == "completed"
    assert await follow(service, events_of(generation)) == (200, events)


async def test_snapshot_has_text_so_far_and_a_cursor_to_resume_from(serve: Serve) -> None:
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
    assert early["text"] + text_of(rest) == SLOW.text
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


async def test_metadata_is_returned_in_start_and_snapshot(service: Service) -> None:
    metadata = {"thread": "7", "": "", "😀": "\u2028"}
    generation = await created(service, metadata=metadata)
    _, events = await follow(service, events_of(generation))
    assert events[0].json["metadata"] == metadata
    assert (await snapshot(service, generation))["metadata"] == metadata
