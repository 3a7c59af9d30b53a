"""Streams of chat completions, byte for byte: heads, frames, failures, disconnects."""

import json
import re

import anyio
import pytest

from conftest import Serve
from streamsvc.config.settings import GenerationSettings, Settings
from support.chat_completions import (
    ASKED,
    CREATE,
    HURRIED,
    STREAMED,
    asking,
    assert_is_error,
    chunks,
    post,
)
from support.eventstream import view
from support.native import snapshot
from support.security import own_headers
from support.shared import fresh_upstream
from support.upstreams import HOLD, Upstream, finish, status, text, until

BLOCKS = re.compile(rb"(?:(?:: ka\n)*data: [^\r\n]+\n\n)+")
"""Data and lone comments; no id, no event name, no reconnection time."""

api = fresh_upstream()


@pytest.mark.promise("alive:ping")
async def test_stream_is_nothing_but_data_and_lone_comments(api: Upstream, serve: Serve) -> None:
    service = await serve(asking(api, ping_seconds=0.01))
    go_on = anyio.Event()
    api.script((text("One "), until(go_on), text("two"), finish()))
    with anyio.fail_after(10):
        async with view(service.port, CREATE, method="POST", body=STREAMED) as answer:
            await answer.raw_until(b": ka\n: ka\n")
            go_on.set()
            raw = await answer.body()
    assert answer.status == 200
    generation = answer.headers["x-generation-id"]
    assert own_headers(answer) == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
        "x-generation-id": generation,
        "connection": "keep-alive",
        "transfer-encoding": "chunked",
    }
    assert BLOCKS.fullmatch(raw)
    assert raw.endswith(b"data: [DONE]\n\n")
    assert {chunk["id"] for chunk in chunks(raw)} == {generation}


@pytest.mark.promise("alive:ping")
@pytest.mark.promise("end:exactly-one")
async def test_head_waits_for_the_first_token_up_to_head_seconds(
    api: Upstream, serve: Serve
) -> None:
    """Then it goes out, keepalives begin, and a failure is reported in the stream."""
    service = await serve(asking(api, head_seconds=0.05, ping_seconds=0.01))
    fail = anyio.Event()
    api.script((until(fail), status(500)))
    with anyio.fail_after(10):
        async with view(service.port, CREATE, method="POST", body=STREAMED) as answer:
            assert answer.status == 200
            await answer.raw_until(b": ka\n")
            fail.set()
            raw = await answer.body()
    assert BLOCKS.fullmatch(raw)
    start, error = chunks(raw)
    assert start["choices"][0]["delta"]["role"] == "assistant"
    assert error["error"]["code"] == "provider_unavailable"
    assert raw.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_failure_before_the_first_token_has_its_generation_id(
    api: Upstream, serve: Serve, *, stream: bool
) -> None:
    """An operator finds it in the log by that id."""
    service = await serve(asking(api))
    api.script((status(401),))
    answer, body = await post(service, {**ASKED, "stream": stream})
    assert_is_error(answer, body, 502, None, "provider_auth")
    assert answer.headers["x-should-retry"] == "false"
    generation = answer.headers["x-generation-id"]
    described = await snapshot(service, generation)
    assert described["error"]["code"] == "provider_auth"


@pytest.mark.promise("stream:word-by-word")
async def test_head_arrives_with_the_first_token(api: Upstream, serve: Serve) -> None:
    service = await serve(asking(api, head_seconds=60))
    api.script((text("One "), HOLD))
    with anyio.fail_after(10):
        async with view(service.port, CREATE, method="POST", body=STREAMED) as answer:
            await answer.raw_until(b"One ")


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("head_seconds", [0.0, 60.0])
@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_before_the_first_token_closes_the_call(
    api: Upstream, serve: Serve, head_seconds: float, *, stream: bool
) -> None:
    """Before and after the head goes out."""
    service = await serve(asking(api, head_seconds=head_seconds))
    api.script((HOLD,))
    body = json.dumps({**ASKED, "stream": stream}).encode()

    async def ask() -> None:
        async with view(service.port, CREATE, method="POST", body=body):
            await anyio.sleep_forever()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            call = await api.call()
            assert service.supervisor.running == 1
            tasks.cancel_scope.cancel()
        await call.closed.wait()


@pytest.mark.promise("resume:no-gap")
async def test_client_with_the_id_resumes_in_the_native_dialect(
    api: Upstream, serve: Serve
) -> None:
    """The request sets its own grace."""
    service = await serve(asking(api))
    go_on = anyio.Event()
    api.script((text("One "), until(go_on), text("two"), finish()))
    body = json.dumps({**ASKED, "stream": True, "grace_seconds": 20}).encode()
    with anyio.fail_after(10):
        async with view(service.port, CREATE, method="POST", body=body) as answer:
            await answer.raw_until(b"One ")
        generation = answer.headers["x-generation-id"]
        go_on.set()
        async with view(service.port, f"/v1/generations/{generation}/events") as back:
            events = [event.json for event in await back.events()]
    assert "".join(event["text"] for event in events if event["type"] == "text") == "One two"
    assert events[-1]["status"] == "completed"
    assert len(api.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_dropped_at_once_is_whole_or_an_error(serve: Serve, *, stream: bool) -> None:
    """A client that is reading it gets one or the other; nothing crashes."""
    kept = GenerationSettings(keep_finished_seconds=0, keep_abandoned_seconds=0, keep_count=1)
    service = await serve(Settings(providers={"fake": HURRIED}, generations=kept))
    answer, body = await post(service, {**ASKED, "stream": stream})
    if answer.status == 200 and not stream:
        assert body["choices"][0]["message"]["content"] == "One two three."
    elif stream:
        assert body.endswith(b"data: [DONE]\n\n")
        assert b'"stop"' in body or b"not_resumable" in body
    else:
        assert_is_error(answer, body, 502, None, "not_resumable")
