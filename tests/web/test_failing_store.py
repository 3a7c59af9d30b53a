"""What clients get while the store that processes share cannot be used, is slow, or has lost their last words."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from conftest import Serve
from streamsvc.config.settings import LimitSettings, StreamSettings
from streamsvc.errors import CursorReplaced, StoreUnavailable
from streamsvc.events import Record
from support.asking import CLIENTS, answered, get, sent
from support.eventstream import Answer
from support.native import (
    ASK,
    HURRIED,
    SILENT,
    events_of,
    finished,
    follow,
    until,
    with_fake,
)
from support.service import Service


@asynccontextmanager
async def reads_fail(service: Service, error: Exception) -> AsyncIterator[None]:
    """Let every read of a log after its first record fail."""
    read = service.log.read

    async def fails(generation: str, *, after: int, wait_seconds: float = 0.0) -> Sequence[Record]:
        if after >= 0:
            raise error
        return await read(generation, after=after, wait_seconds=wait_seconds)

    service.log.read = fails  # type: ignore[method-assign]
    yield
    service.log.read = read  # type: ignore[method-assign]


@pytest.mark.promise("input:clear-error")
async def test_browsers_come_back_and_others_are_refused(serve: Serve) -> None:
    service = await serve(with_fake(HURRIED, stream=StreamSettings(retry_ms=1000)))
    generation, events = await finished(service)
    cursor = {"Last-Event-ID": events[1].last_event_id}
    async with reads_fail(service, StoreUnavailable("unreachable")):
        for target in ASK, events_of(generation):
            answer = await service.client.get(target, headers=cursor)
            assert (answer.status_code, answer.text.split("\n")[1]) == (200, ": busy")
        answer = await service.client.get(f"{events_of(generation)}?format=plain", headers=cursor)
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        for path in f"/v1/generations/{generation}", f"/v1/generations/{generation}/stop":
            answer = await service.client.request("POST" if "stop" in path else "GET", path)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
            assert answer.headers["retry-after"] == "2"


@pytest.mark.promise("resume:no-gap")
@pytest.mark.parametrize("form", ["json", "text"])
async def test_cursor_that_was_never_stored_gets_a_replay(serve: Serve, form: str) -> None:
    """A page clears its text at the `start`."""
    service = await serve(with_fake(HURRIED))
    generation, events = await finished(service)
    targets = ASK + f"&format={form}", events_of(generation) + f"?format={form}"
    cursor = {"Last-Event-ID": events[2].last_event_id}
    _, whole = await follow(service, targets[1])
    async with reads_fail(service, CursorReplaced()):
        for target in targets:
            assert await follow(service, target, cursor) == (200, whole)
    assert whole[0].type == "start"


SLOW_CLIENTS = ["native-get", "native", "text", "plain", "openai", "openai-whole", "ai-sdk"]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", SLOW_CLIENTS)
async def test_viewer_limit_holds_while_creation_takes_time(serve: Serve, name: str) -> None:
    """All requests arrive before the first has stored what it creates, and those that are refused create nothing."""
    service = await serve(with_fake(SILENT, limits=LimitSettings(max_viewers=2)))
    enter, go_on, entering = service.directory.enter, anyio.Event(), 0

    async def enters(generation: Any) -> None:
        nonlocal entering
        entering += 1
        await go_on.wait()
        await enter(generation)

    service.directory.enter = enters  # type: ignore[method-assign]
    refused: list[int] = []

    async def ask(number: int) -> None:
        request = CLIENTS[name].request(chat=f"chat-{number}")
        async with sent(service.port, request) as answer:
            if "content-length" in answer.headers:  # a refusal, or the request to come back later
                refused.append(answer.status)
            await anyio.sleep_forever()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(ask, number)
            await until(lambda: len(refused) == 4)
            go_on.set()
            await until(lambda: service.supervisor.running == 2)
            assert (entering, service.supervisor.viewers) == (2, 2)
            tasks.cancel_scope.cancel()
    assert set(refused) == ({200} if name == "native-get" else {503})
    await until(lambda: service.supervisor.viewers == 0)


def interrupt(service: Service) -> None:
    """Send all viewers away."""
    for stream in list(service.log._streams.values()):
        for follower in stream.dismiss():
            follower.reader.interrupted()


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("name", ["openai", "openai-whole"])
async def test_chat_completion_that_is_interrupted_is_worth_a_retry(
    serve: Serve, name: str
) -> None:
    service = await serve(with_fake(SILENT))
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await answered(service.port, CLIENTS[name].request()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await until(lambda: any(it.followers for it in service.log._streams.values()))
        interrupt(service)
    (answer,) = answers
    assert (answer.status, answer.headers["x-should-retry"]) == (503, "true")
    assert json.loads(bytes(answer.raw))["error"]["code"] == "interrupted"


async def test_stream_of_a_browser_that_is_interrupted_is_cut(serve: Serve) -> None:
    service = await serve(with_fake(SILENT))
    async with sent(service.port, get(ASK)) as answer:
        await answer.raw_until(b"start")
        interrupt(service)
        await until(lambda: service.supervisor.viewers == 0)
        await answer.body()
        assert not answer.is_whole
