"""Upstreams with endless responses, against a real process: other requests are unaffected, and memory stays flat."""

import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest

from support.floods import FLOODS, Flood
from support.process import FAKE, Running, serve, write_config
from support.stage import WIRES
from support.upstreams import Call, Script, Upstream, upstream

WRITE_BYTES = 300
"""Small, because the parser copies a long field again at each read."""

MOST_BYTES = 50_000_000
HEALTHY = 120
SLOWER_SECONDS, TIMES_SLOWER = 0.5, 3
"""How much longer the slowest of a hundred healthy requests may take; on a busy machine, how many times as long.
Parsing that copies what it has read costs seconds."""

GROWTH_KIB = 30_000
ATTACKERS = 2

pytestmark = [pytest.mark.timeout(240), pytest.mark.unmeasured]


def flood(name: str) -> Callable[[Call], Script]:
    """Return a script that makes an upstream respond without an end."""
    begin, piece = FLOODS[name]
    return lambda _: (Flood(begin, piece, most_bytes=MOST_BYTES, write_bytes=WRITE_BYTES),)


@asynccontextmanager
async def attacked(directory: Path, kind: str) -> AsyncIterator[tuple[Running, Upstream]]:
    """Run a service with a healthy entry and one whose responses have no end."""
    async with upstream() as api:
        attack = {
            "kind": kind,
            "model": "m",
            "api_key_env": "",
            "base_url": f"{api.url}/v1" if kind == "openai" else api.url,
            "attempts": 1,
            "circuit_failures": 0,
            "first_token_seconds": 20.0,
            "fallbacks": ["fine"],
        }
        write_config(directory, {"providers.fine": FAKE, "providers.endless": attack})
        settings = {"PROVIDER": "fine", "SERVER__LOG_LEVEL": "error"}
        async with serve(directory, settings) as service:
            yield service, api


async def ask(client: httpx2.AsyncClient, provider: str) -> float:
    """Ask until the healthy entry has answered; return the seconds that it took."""
    began = time.perf_counter()
    answer = await client.get("/stream-ai", params={"prompt": "Hi", "provider": provider})
    assert '"status":"completed"' in answer.text
    assert '"provider":"fine"' in answer.text
    return time.perf_counter() - began


async def p99_seconds(client: httpx2.AsyncClient, requests: int) -> float:
    """Ask the healthy entry several times, one after another; return the 99th percentile of the seconds."""
    taken = sorted([await ask(client, "fine") for _ in range(requests)])
    return taken[math.ceil(0.99 * len(taken)) - 1]


@pytest.mark.parametrize("kind", WIRES)
@pytest.mark.promise("upstream:bounded")
@pytest.mark.promise("upstream:rescue")
async def test_the_fallback_answers_instead_of_an_endless_response(
    tmp_path: Path, kind: str
) -> None:
    async with attacked(tmp_path, kind) as (service, api):
        for number, name in enumerate(FLOODS):
            api.choose = flood(name)
            with anyio.fail_after(30):
                await ask(service.client, "endless")
                await api.calls[number].closed.wait()
            assert len(api.calls) == number + 1, name


@pytest.mark.quiet
@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("openai", "field of a trailer"),
        ("openai", "extension of a chunk"),
        ("gemini", "interim answers"),
    ],
)
async def test_healthy_requests_stay_fast_beside_endless_responses(
    tmp_path: Path, kind: str, name: str
) -> None:
    async with attacked(tmp_path, kind) as (service, api):
        api.choose = flood(name)
        await ask(service.client, "endless")
        before_kib = resident_kib(service)
        is_fast = False
        for _ in range(3):  # other work on the machine may slow one measurement
            without = await p99_seconds(service.client, HEALTHY)
            async with anyio.create_task_group() as tasks:
                for _ in range(ATTACKERS):
                    tasks.start_soon(_attack, service)
                beside = await p99_seconds(service.client, HEALTHY)
                tasks.cancel_scope.cancel()
            is_fast = beside < max(without + SLOWER_SECONDS, without * TIMES_SLOWER)
            print(f"\np99 {without * 1e3:.1f} ms without, {beside * 1e3:.1f} ms beside", end=" ")
            if is_fast:
                break
        grown_kib = resident_kib(service) - before_kib
        print(f"{len(api.calls)} attacks; memory {grown_kib:+} KiB")
        assert is_fast
        assert len(api.calls) > ATTACKERS
        assert grown_kib < GROWTH_KIB


async def _attack(service: Running) -> None:
    url = f"http://127.0.0.1:{service.port}"
    async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
        while True:
            await ask(client, "endless")


def resident_kib(service: Running) -> int:
    """Return the resident memory of the process."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
