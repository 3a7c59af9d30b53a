"""Lasting faults, on real sockets: what waiting costs, how a client leaves, and how service recovers."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskStatus

from streamsvc.config.provider_settings import ProviderSettings
from streamsvc.config.settings import Settings, StreamSettings
from streamsvc.events import Done
from support.eventstream import Answer, view, wire
from support.faults.row import (
    FALLBACK,
    HALF,
    OTHER,
    PRIMARY,
    WELL,
)
from support.pools import close_kept, pools
from support.service import Service
from support.stage import (
    ENTRY,
    OTHER_KIND,
    WIRES,
    Stage,
    address,
    ask,
    no_more_tasks_than,
    tasks_by_kind,
)
from support.stored import stored_records
from support.upstreams import CLOSE, HEAD, HOLD, RESET, Script, Upstream, status, upstream

Serve = Callable[..., Awaitable[Service]]
Build = Callable[..., Awaitable[Stage]]

CIRCUIT_SECONDS = 0.3
DOWN_SECONDS, MOST_DOWN_SECONDS = 2.0, 20.0
ANSWERS_WHILE_DOWN = 15
STALL_SECONDS = 0.5
_REFUSED = status(400, {"error": {"code": "context_length_exceeded", "message": "context length"}})

both = pytest.mark.parametrize("kind", WIRES)


@pytest.fixture
async def primary() -> AsyncIterator[Upstream]:
    async with upstream(*WELL) as api:
        yield api


@pytest.fixture
async def fallback() -> AsyncIterator[Upstream]:
    async with upstream(*OTHER) as api:
        yield api


@pytest.fixture
def build(primary: Upstream, fallback: Upstream, serve: Serve) -> Build:
    """Run a service between two healthy upstreams; `entry` sets fields of the primary."""

    async def build(kind: str, *, fallback_url: str = "", **entry: Any) -> Stage:
        fields = {**ENTRY, "fallbacks": (FALLBACK,), **entry}
        entries: dict[str, ProviderSettings] = {
            PRIMARY: WIRES[kind].entry(primary.url, **fields),
            FALLBACK: WIRES[OTHER_KIND[kind]].entry(fallback_url or fallback.url, **ENTRY),
        }
        stream = StreamSettings(ping_seconds=60)
        service = await serve(Settings(provider=PRIMARY, providers=entries, stream=stream))
        return Stage(service, primary, fallback)

    return build


# A provider that is down for a while


async def _circuit(service: Service) -> str:
    answer = (await service.client.get("/v1/providers")).json()
    (state,) = (it["circuit"] for it in answer["providers"] if it["name"] == PRIMARY)
    return str(state)


@both
@pytest.mark.promise("upstream:bounded")
async def test_fallback_answers_until_the_provider_recovers(build: Build, kind: str) -> None:
    """Every steady request is answered, and a few of them probe the provider."""
    failures = 3
    stage = await build(kind, circuit_failures=failures, circuit_seconds=CIRCUIT_SECONDS)
    service, primary = stage.service, stage.primary
    assert (await ask(service, PRIMARY)).done["provider"] == PRIMARY
    assert await _circuit(service) == "closed"
    well = len(primary.calls)

    close_kept(service)
    closing = status(503, headers={"Connection": "close"})
    ways: tuple[Script, ...] = ((closing,), (RESET,), (CLOSE,))
    primary.choose = lambda _: ways[len(primary.calls) % len(ways)]
    down_at = anyio.current_time()
    answers: list[Any] = []
    circuits: list[str] = []
    while anyio.current_time() < down_at + DOWN_SECONDS or len(answers) < ANSWERS_WHILE_DOWN:
        assert anyio.current_time() < down_at + MOST_DOWN_SECONDS
        answers.append((await ask(service, PRIMARY)).done)
        circuits.append(await _circuit(service))
        await anyio.sleep(CIRCUIT_SECONDS / 10)  # the pace of the requests
    down_seconds = anyio.current_time() - down_at
    assert {(done["status"], done["provider"]) for done in answers} == {("completed", FALLBACK)}
    assert set(circuits) == {"open"}
    while_down = primary.calls[well:]
    probes = while_down[failures:]
    assert 1 <= len(probes) <= down_seconds / CIRCUIT_SECONDS
    probed_at = [call.at for call in while_down[failures - 1 :]]
    gaps = [later - earlier for earlier, later in pairwise(probed_at)]
    # A busy machine may hand over one call late, and the next one in time.
    assert median(gaps) >= 0.9 * CIRCUIT_SECONDS

    primary.script(WELL)
    with anyio.fail_after(MOST_DOWN_SECONDS):
        while True:
            done = (await ask(service, PRIMARY)).done
            assert done["status"] == "completed"
            if done["provider"] == PRIMARY:
                break
            await anyio.sleep(CIRCUIT_SECONDS / 10)  # the pace of the requests
    assert await _circuit(service) == "closed"
    assert (await ask(service, PRIMARY)).done["provider"] == PRIMARY
    await stage.rest()
    print(f"\ndown for {down_seconds:.1f} s: {len(answers)} answers, {len(probes)} probes")


# What waiting costs


@both
async def test_waiting_for_a_silent_provider_costs_no_cpu(build: Build, kind: str) -> None:
    """Four calls at once: silent, head only, stalled in mid-answer, and between two tries."""
    stage = await build(kind, backoff_seconds=30, max_backoff_seconds=60, first_token_seconds=60)
    scripts: list[tuple[Script, str]] = [
        ((HOLD,), "start"),
        ((HEAD, HOLD), "start"),
        ((HALF, HOLD), "text"),
        ((status(503),), "status"),
    ]
    await ask(stage.service, PRIMARY)
    tasks = tasks_by_kind()
    stage.fallback.script((HOLD,))
    async with anyio.create_task_group() as viewers:
        for number, (script, last) in enumerate(scripts, start=len(stage.primary.calls)):
            stage.primary.script(script)
            with anyio.fail_after(10):
                await viewers.start(_watch, stage.service, last)
                await stage.primary.call(number)
        before = time.process_time()
        await anyio.sleep(STALL_SECONDS)  # the window in which CPU time is measured, not a wait
        spent = time.process_time() - before
        assert stage.service.supervisor.running == len(scripts)
        viewers.cancel_scope.cancel()
    print(f"\n{len(scripts)} stalled calls of {kind}: {spent / STALL_SECONDS:.1%} of the CPU")
    assert spent < STALL_SECONDS / 5
    await stage.rest()
    await no_more_tasks_than(tasks)


async def _watch(service: Service, last: str, *, task_status: TaskStatus[None]) -> None:
    """Follow an answer; report as started when the *last* type of event before the silence is here."""
    async with view(service.port, "/stream-ai?prompt=why") as answer:
        while (await answer.event()).json["type"] != last:
            pass
        task_status.started()
        await answer.events()


# Leaving during failover


@dataclass(frozen=True)
class LogPosition:
    """The stage of a generation when its client leaves.

    Attributes:
        primary: what the primary plays.
        state: the state in the latest `status` event.
        calls: calls to the primary and to the fallback so far.
        tokens: tokens that the last call to the primary has sent so far.
        takes_connections: whether the fallback accepts connections.
    """

    primary: tuple[Script, ...]
    state: str
    calls: tuple[int, int]
    tokens: int = 0
    takes_connections: bool = True


PLACES: Mapping[str, LogPosition] = {
    "backoff": LogPosition(((status(503, headers={"Retry-After": "0.9"}),),), "retrying", (1, 0)),
    "connect": LogPosition(((_REFUSED,),), "switching", (1, 0), takes_connections=False),
    "silence": LogPosition(((_REFUSED,),), "switching", (1, 1)),
    "rescue": LogPosition(((HALF, CLOSE), (HOLD,)), "retrying", (2, 0)),
    "catching-up": LogPosition(((HALF, CLOSE), (HALF, HOLD)), "retrying", (2, 0), tokens=2),
}


@both
@pytest.mark.parametrize("is_stop", [False, True], ids=["left", "stopped"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.promise("cancel:disconnect")
@pytest.mark.promise("cancel:stop")
async def test_leaving_during_failover_tears_it_down(
    build: Build, kind: str, place: str, *, is_stop: bool
) -> None:
    """The open call is closed, no provider is called afterwards, and the log has one end."""
    where = PLACES[place]
    with address(backlog=0) as deaf:
        stage = await build(kind, fallback_url="" if where.takes_connections else deaf)
        service, calls = stage.service, (stage.primary.calls, stage.fallback.calls)
        await ask(service, PRIMARY)
        tasks = tasks_by_kind()
        before = tuple(map(len, calls))
        stage.primary.script(*where.primary)
        stage.fallback.script((HOLD,))
        with anyio.fail_after(10):
            async with view(service.port, "/stream-ai?prompt=why") as answer:
                generation = (await answer.event()).json["generation"]
                await _reach(stage, answer, where, before)
                if is_stop:
                    await _stop(service, generation)
                    last = (await answer.events())[-1]
                    assert last.json["outcome"] == "client_stop"
        await stage.rest()
        await no_more_tasks_than(tasks)
        # No task is left that could call a provider. A call after the backoff of 0.9 s would be an error,
        # and only time can show that none comes.
        await anyio.sleep(1 if place == "backoff" else 0)

        asked = tuple(len(now) - then for now, then in zip(calls, before, strict=True))
        assert asked == where.calls
        if place not in {"backoff", "connect"}:
            held = calls[where.calls[1]][-1]
            assert held.closed_at is not None
        ends = [it.event async for it in stored_records(service.log, generation)]
        done = [event for event in ends if isinstance(event, Done)]
        assert [it.outcome for it in done] == ["client_stop" if is_stop else "no_viewers"]
        assert ends[-1] is done[0]


async def _reach(stage: Stage, answer: Answer, where: LogPosition, before: tuple[int, ...]) -> None:
    """Wait until the generation has reached the stage."""
    while (await answer.event()).json.get("state") != where.state:
        pass
    last = await stage.primary.call(before[0] + where.calls[0] - 1)
    await stage.primary.until(lambda: last.tokens >= where.tokens)
    if where.calls[1]:
        await stage.fallback.call(before[1])
    while not (where.takes_connections or any(pools(stage.service).get(FALLBACK, ()))):
        await anyio.lowlevel.checkpoint()


async def _stop(service: Service, generation: str) -> None:
    async with wire(service.port) as connection:
        stopped = await connection.ask("POST", f"/v1/generations/{generation}/stop")
        assert (await stopped.json())["status"] == "stopped"
