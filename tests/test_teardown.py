"""The central promise, on real sockets: without viewers, the call to the provider is closed.

A viewer is on one TCP connection, the upstream on another one, and the service on uvicorn between them. All three share
one event loop, and "at once" is counted in its turns instead of seconds.
"""

import asyncio
import os
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from streamsvc.config.settings import GenerationSettings, LimitSettings, Settings, StreamSettings
from support.eventstream import Answer, view, wire
from support.pools import pools
from support.service import Service
from support.turns import counting_turns
from support.upstreams import (
    GEMINI,
    HEAD,
    HOLD,
    OPENAI,
    Call,
    Script,
    Upstream,
    paced,
    text,
    upstream,
)

Serve = Callable[[Settings], Awaitable[Service]]

REPEATS = 20

MOST_TURNS_LEFT, MOST_TURNS_STOPPED, MOST_TOKENS = 5, 10, 1
"""Median turns of the event loop until the upstream sees the end, after a viewer leaves and after a stop, and the tokens
that it sends meanwhile. Medians, because a machine that pauses this process lets time pass within a turn."""

WAVES, WAVE_VIEWERS = 20, 50
GAP_SECONDS = 0.1

SCRIPTS: Mapping[str, tuple[Script, int]] = {
    "talking": ((text("One ", "two "), paced(GAP_SECONDS)), 3),
    "silent": ((text("One ", "two "), HOLD), 2),
    "head-only": ((HEAD, HOLD), 0),
    "no-answer": ((HOLD,), 0),
}
"""The script of the upstream, and the number of words that the viewer gets before it leaves."""

both = pytest.mark.parametrize("provider", ["openai", "gemini"])
whatever = pytest.mark.parametrize("doing", SCRIPTS)


def _settings(api: Upstream, **generations: Any) -> Settings:
    return Settings(
        provider="openai",
        providers={"openai": OPENAI.entry(api.url), "gemini": GEMINI.entry(api.url)},
        generations=GenerationSettings(**generations),
        limits=LimitSettings(max_generations=WAVE_VIEWERS * 2),
        stream=StreamSettings(ping_seconds=60),
    )


@pytest.fixture
async def api() -> AsyncIterator[Upstream]:
    """Run an upstream whose script depends on the prompt."""
    async with upstream() as api:
        api.choose = _script_of
        yield api


def _script_of(call: Call) -> Script:
    return next(script for name, (script, _) in SCRIPTS.items() if name in str(call.body))


@asynccontextmanager
async def _watching(
    service: Service, api: Upstream, provider: str, doing: str
) -> AsyncIterator[tuple[Answer, Call, str]]:
    """Watch a generation until its upstream has reached the stage."""
    number = len(api.calls)
    target = f"/stream-ai?provider={provider}&prompt={doing}"
    with anyio.fail_after(60):
        async with view(service.port, target) as answer:
            start = await answer.event()
            call = await api.call(number)
            for _ in range(SCRIPTS[doing][1]):
                assert (await answer.event()).json["type"] == "text"
            yield answer, call, start.json["generation"]
        await call.closed.wait()


async def _stop(service: Service, generation: str) -> Answer:
    """Stop a generation over a new connection; read the response to its end."""
    async with wire(service.port) as connection:
        answer = await connection.ask("POST", f"/v1/generations/{generation}/stop")
        await answer.body()
    return answer


@both
@whatever
@pytest.mark.promise("cancel:disconnect")
async def test_the_upstream_is_closed_when_the_viewer_leaves(
    api: Upstream, serve: Serve, provider: str, doing: str
) -> None:
    """The viewer leaves in mid-stream, in a silence, before the first word, and before any response."""
    service = await serve(_settings(api))
    turns, tokens = [], []
    for _ in range(REPEATS):
        with counting_turns() as turn:
            async with _watching(service, api, provider, doing) as (_, call, _):
                before, left_at = call.tokens, turn()
            turns.append(turn() - left_at)
        assert call.closed_at is not None
        tokens.append(call.tokens - before)
    assert statistics.median(turns) <= MOST_TURNS_LEFT
    assert statistics.median(tokens) <= MOST_TOKENS


@both
@whatever
@pytest.mark.promise("cancel:stop")
@pytest.mark.promise("end:exactly-one")
async def test_a_stop_closes_the_upstream_and_ends_the_stream(
    api: Upstream, serve: Serve, provider: str, doing: str
) -> None:
    """The response to the stop arrives once the call is closed, and a second stop changes nothing."""
    service = await serve(_settings(api))
    turns, tokens = [], []
    for _ in range(REPEATS):
        async with _watching(service, api, provider, doing) as (answer, call, generation):
            before = call.tokens
            with counting_turns() as turn:
                stopped = await _stop(service, generation)
                await call.closed.wait()
                turns.append(turn())
            assert (stopped.status, (await stopped.json())["status"]) == (200, "stopped")
            said = [event.json for event in await answer.events()]
            assert [event["type"] for event in said].count("done") == 1
            assert (said[-1]["type"], said[-1]["status"]) == ("done", "stopped")
            assert answer.is_whole
        again = await _stop(service, generation)
        assert (again.status, bytes(again.raw)) == (200, bytes(stopped.raw))
        assert call.closed_at is not None
        tokens.append(call.tokens - before)
    assert statistics.median(turns) <= MOST_TURNS_STOPPED
    assert statistics.median(tokens) <= MOST_TOKENS


@both
@pytest.mark.promise("cancel:disconnect")
async def test_only_the_last_viewer_that_leaves_closes_the_upstream(
    api: Upstream, serve: Serve, provider: str
) -> None:
    service = await serve(_settings(api))
    async with _watching(service, api, provider, "talking") as (_, call, generation):
        async with view(service.port, f"/v1/generations/{generation}/events") as second:
            for _ in range(4):
                await second.event()
        sent = call.tokens
        await api.until(lambda: call.tokens > sent + 2)
        assert call.closed_at is None
    assert call.closed_at is not None


# After a thousand aborts


@dataclass(frozen=True)
class _Before:
    """The resources before the aborts."""

    tasks: set[asyncio.Task[Any]]
    file_descriptors: int


def _file_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # only the count matters


def _left_behind(service: Service, before: _Before) -> dict[str, object]:
    return {
        "running generations": service.supervisor.running,
        "viewers": service.supervisor.viewers,
        "logs": len(service.log),
        "pool connections": sum(map(sum, pools(service).values())),
        "tasks": sorted(task.get_name() for task in asyncio.all_tasks() - before.tasks),
        "file descriptors": max(0, _file_descriptors() - before.file_descriptors),
    }


NOTHING: Mapping[str, object] = {
    "running generations": 0,
    "viewers": 0,
    "logs": 0,
    "pool connections": 0,
    "tasks": [],
    "file descriptors": 0,
}


async def _abort(service: Service, number: int) -> None:
    """Abort one generation, in one of five ways in rotation, with each of the providers."""
    provider = ("openai", "gemini")[number % 2]
    way = (*SCRIPTS, "at once", "stop")[number // 2 % 6]
    doing = way if way in SCRIPTS else "silent"
    target = f"/stream-ai?provider={provider}&prompt={doing}"
    if way == "at once":
        async with wire(service.port) as connection:
            await connection.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return
    async with view(service.port, target) as answer:
        start = await answer.event()
        for _ in range(SCRIPTS[doing][1]):
            await answer.event()
        if way == "stop":
            stopped = await _stop(service, start.json["generation"])
            # Ended logs are not kept here, so the response to the stop may find none.
            assert stopped.status in {200, 204}


@pytest.mark.long
@pytest.mark.promise("cancel:clean")
async def test_1000_aborts_leave_nothing_behind(api: Upstream, serve: Serve) -> None:
    """There are no more tasks, connections, pool slots, logs, generations or file descriptors than before."""
    service = await serve(_settings(api, keep_abandoned_seconds=0, keep_finished_seconds=0))
    file_descriptors = _file_descriptors()
    for provider in ("openai", "gemini"):  # objects that are made once are made here
        async with _watching(service, api, provider, "silent"):
            pass
    before = _Before(asyncio.all_tasks(), file_descriptors)

    for wave in range(WAVES):
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for number in range(WAVE_VIEWERS):
                    tasks.start_soon(_abort, service, wave * WAVE_VIEWERS + number)

    with anyio.move_on_after(60):
        # Look again after each turn of the loop; the assertion below reports what remains.
        while _left_behind(service, before) != NOTHING:
            await anyio.lowlevel.checkpoint()
    print(
        f"\nafter {WAVES * WAVE_VIEWERS} aborts, {len(api.calls)} of them with an upstream call:"
        f" {_left_behind(service, before)}; file descriptors {before.file_descriptors} before,"
        f" {_file_descriptors()} after; tasks {len(before.tasks)} before,"
        f" {len(asyncio.all_tasks())} after"
    )
    assert _left_behind(service, before) == NOTHING
    assert [call for call in api.calls if call.closed_at is None] == []
    assert (
        len(api.calls) >= WAVES * WAVE_VIEWERS // 2
    )  # some viewers leave before the upstream is called
