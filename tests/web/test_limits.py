"""New requests at a limit, and while the service drains."""

from contextlib import AsyncExitStack

import anyio
import msgspec
import pytest

from conftest import Serve
from streamsvc.config.settings import LimitSettings, StreamSettings
from support.contents import PNG, data_url, image
from support.eventstream import EventStreamParser, view, wire
from support.native import (
    ASK,
    CREATE,
    QUESTION,
    SILENT,
    STREAM,
    created,
    creates,
    events_of,
    until,
    until_viewers_are,
    with_fake,
)


def assert_is_busy(status: int, body: bytes) -> None:
    """Check for a retry time and a comment: the browser reconnects, and its page sees nothing."""
    assert status == 200
    parser = EventStreamParser()
    assert parser.feed(body) == []
    assert parser.retry_ms is not None
    assert 1000 <= parser.retry_ms <= 3000
    assert body == b"retry: %d\n: busy\n" % parser.retry_ms


@pytest.mark.promise("input:clear-error")
async def test_images_of_running_answers_have_a_limit(serve: Serve) -> None:
    asked = {"messages": [image(data_url(PNG))]}
    size = len(data_url(PNG))
    service = await serve(with_fake(SILENT, limits=LimitSettings(max_total_data_bytes=2 * size)))
    generations = []
    for _ in range(2):
        response = await service.client.post(CREATE, json=asked)
        assert response.status_code == 201
        generations.append(response.json()["id"])
    refused = await service.client.post(CREATE, json=asked)
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert "limits.max_total_data_bytes" in refused.json()["detail"]
    await created(service)  # which has no images
    await service.client.post(f"{CREATE}/{generations[0]}/stop")
    await until(lambda: service.supervisor.running == 2)
    assert (await service.client.post(CREATE, json=asked)).status_code == 201


@pytest.mark.promise("input:clear-error")
async def test_generation_limit_defers_browsers_and_refuses_posts(
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
        # A running generation may be watched; its end makes room for another.
        async with view(service.port, events_of(generation)) as viewer:
            assert (await viewer.event()).type == "start"
            await service.client.post(f"{CREATE}/{generation}/stop")
            assert (await viewer.event()).type == "done"
        await created(service)


@pytest.mark.promise("input:clear-error")
async def test_viewer_limit_adds_no_viewer_and_creates_nothing(serve: Serve) -> None:
    limits = LimitSettings(max_viewers=1)
    service = await serve(with_fake(SILENT, limits=limits, stream=StreamSettings(retry_ms=1000)))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as first:
            cursor = {"Last-Event-ID": (await first.event()).last_event_id}
            for target, headers in ((ASK, {}), (ASK, cursor), (first.headers["location"], {})):
                async with view(service.port, target, headers=headers) as second:
                    assert_is_busy(second.status, await second.body())
            refused = await service.client.post(CREATE, json=QUESTION, headers=STREAM)
            assert refused.status_code == 503
            assert len(service.log) == 1
        await until_viewers_are(service, 0)
        async with view(service.port, ASK) as third:
            assert (await third.event()).type == "start"


@pytest.mark.promise("input:clear-error")
async def test_burst_creates_only_as_many_as_the_viewer_limit_allows(
    serve: Serve,
) -> None:
    """All requests arrive before the first is answered."""
    service = await serve(with_fake(SILENT, limits=LimitSettings(max_viewers=2)))
    with anyio.fail_after(10):
        async with AsyncExitStack() as stack:
            burst = [await stack.enter_async_context(wire(service.port)) for _ in range(8)]
            for connection in burst:
                await connection.send(f"GET {ASK} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            for connection in burst:
                assert (await connection.answer("GET")).status == 200
            assert (service.supervisor.viewers, service.supervisor.running) == (2, 2)
            assert len(service.log) == 2


async def test_post_at_the_viewer_limit_creates_nothing(serve: Serve) -> None:
    """Also when another viewer takes the last slot while the body is on its way."""
    service = await serve(with_fake(SILENT, limits=LimitSettings(max_viewers=1)))
    with anyio.fail_after(10):
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
async def test_drain_refuses_new_work_and_lets_viewers_resume(serve: Serve) -> None:
    service = await serve(with_fake(SILENT, stream=StreamSettings(retry_ms=1000)))
    client = service.client
    assert (await client.get("/readyz")).json()["status"] == "ready"
    generation = await created(service)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.supervisor.drain, 3600)
            await until(lambda: service.supervisor.is_draining)
            ready = await client.get("/readyz")
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
