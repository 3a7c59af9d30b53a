"""A generation runs while it has viewers, and then for its grace."""

import anyio
import pytest

from conftest import Serve
from streamsvc.config.settings import GenerationSettings, StreamSettings
from support.eventstream import view, wire
from support.native import (
    ASK,
    CREATE,
    SILENT,
    SLOW,
    STREAM,
    created,
    events_of,
    follow,
    snapshot,
    until_finished,
    until_viewers_are,
    with_fake,
)


@pytest.mark.promise("cancel:disconnect")
async def test_generation_stops_when_its_last_viewer_leaves(serve: Serve) -> None:
    """At once, for a close and for a reset, also while the provider is silent."""
    service = await serve(with_fake(SILENT))
    for leave in ("close", "reset"):
        with anyio.fail_after(10):
            async with wire(service.port) as connection, view(service.port, ASK) as first:
                generation = first.headers["x-generation-id"]
                second = await connection.ask("GET", events_of(generation))
                assert (await first.event()).type == (await second.event()).type == "start"
                first.wire.close()
                await until_viewers_are(service, 1)
                assert (await snapshot(service, generation))["status"] == "running"
                getattr(connection, leave)()
                ended = await until_finished(service, generation)
        assert (ended["status"], ended["outcome"]) == ("stopped", "no_viewers")
        assert service.supervisor.running == 0
        # Too late: a viewer that comes back gets the end, not a new answer.
        _, [done] = await follow(service, ASK, {"Last-Event-ID": f"{generation}.0"})
        assert done.json["outcome"] == "no_viewers"


@pytest.mark.promise("cancel:disconnect")
async def test_disconnect_after_pipelined_requests_is_noticed(
    serve: Serve,
) -> None:
    """The server reads only one request ahead, so the next keepalive notices the disconnect."""
    service = await serve(with_fake(SILENT, stream=StreamSettings(ping_seconds=0.02)))
    with anyio.fail_after(10):
        async with wire(service.port) as connection:
            stream = await connection.ask("GET", ASK)
            generation = stream.headers["x-generation-id"]
            await connection.send(2 * b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await stream.raw_until(b": ka\n: ka\n")
            connection.reset()
            ended = await until_finished(service, generation)
    assert (ended["status"], ended["outcome"]) == ("stopped", "no_viewers")


@pytest.mark.promise("cancel:disconnect")
async def test_generation_outlives_its_viewers_by_the_grace_time(serve: Serve) -> None:
    """The grace is the configured one, or the one in the request."""
    for configured, body in (
        (0.1, b'{"prompt":"hi"}'),
        (60, b'{"prompt":"hi","grace_seconds":0.1}'),
    ):
        generations = GenerationSettings(grace_seconds=configured)
        service = await serve(with_fake(SILENT, generations=generations))
        with anyio.fail_after(10):
            async with view(
                service.port, CREATE, method="POST", headers=STREAM, body=body
            ) as viewer:
                generation = viewer.headers["x-generation-id"]
                left = anyio.current_time()
            ended = await until_finished(service, generation)
        assert anyio.current_time() - left >= 0.1
        assert (ended["status"], ended["outcome"]) == ("stopped", "no_viewers")


@pytest.mark.promise("resume:no-gap")
async def test_viewer_back_within_the_grace_time_misses_nothing(serve: Serve) -> None:
    service = await serve(with_fake(SLOW, generations=GenerationSettings(grace_seconds=30)))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as viewer:
            generation = viewer.headers["x-generation-id"]
            seen = [await viewer.event() for _ in range(3)]
        await until_viewers_are(service, 0)
        # Words keep coming without a viewer.
        left_at = (await snapshot(service, generation))["last_event_id"]
        seq = int(left_at.rpartition(".")[2])
        assert await service.log.read(generation, after=seq, wait_seconds=5)
        assert (await snapshot(service, generation))["status"] == "running"
        _, rest = await follow(service, ASK, {"Last-Event-ID": seen[-1].last_event_id})
    assert [event.seq for event in seen + rest] == list(range(22))
    assert rest[-1].json["status"] == "completed"
    assert len(service.log) == 1


async def test_grace_time_restarts_each_time_the_last_viewer_leaves(serve: Serve) -> None:
    """A viewer that comes back stops the clock."""
    service = await serve(with_fake(SILENT, generations=GenerationSettings(grace_seconds=0.2)))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as viewer:
            generation = viewer.headers["x-generation-id"]
        await until_viewers_are(service, 0)
        async with view(service.port, events_of(generation)) as viewer:
            back = anyio.current_time()
            assert (await viewer.event()).type == "start"
            with anyio.move_on_after(0.4) as patience:
                await viewer.event()
            assert patience.cancelled_caught
            assert anyio.current_time() - back >= 0.4
            assert (await snapshot(service, generation))["status"] == "running"


async def test_created_generation_waits_attach_seconds_for_a_viewer(serve: Serve) -> None:
    service = await serve(with_fake(SILENT, generations=GenerationSettings(attach_seconds=0.1)))
    with anyio.fail_after(10):
        began = anyio.current_time()
        ended = await until_finished(service, await created(service))
        assert anyio.current_time() - began >= 0.1
    assert (ended["status"], ended["outcome"]) == ("stopped", "no_viewers")


async def test_created_generation_continues_once_it_has_a_viewer(serve: Serve) -> None:
    settings = with_fake(SLOW, generations=GenerationSettings(attach_seconds=0.2))
    service = await serve(settings)
    with anyio.fail_after(10):
        _, events = await follow(service, events_of(await created(service)))
    assert events[-1].at - events[0].at > 0.2
    assert events[-1].json["status"] == "completed"
