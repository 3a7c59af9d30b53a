"""`python -m streamsvc serve` whose Redis is away, as an operator and a client see it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest

from support.process import Running, serve
from support.redis_servers import RedisServer, running_redis

LOST = r"store.lost reason=unreachable cause=\S+"


@asynccontextmanager
async def with_redis(folder: Path, on_outage: str) -> AsyncIterator[tuple[Running, RedisServer]]:
    """Run a service with a Redis of its own."""
    with running_redis() as server:
        settings = {"LOG__KIND": "redis", "LOG__URL": server.url, "LOG__ON_OUTAGE": on_outage}
        async with serve(folder, settings) as service:
            yield service, server


async def readiness(service: Running, *, status: int, reasons: list[str]) -> dict[str, object]:
    """Wait until `/readyz` answers so."""
    with anyio.fail_after(20):
        while True:
            answer = await service.client.get("/readyz")
            state = dict(answer.json())
            if answer.status_code == status and state.get("reasons", []) == reasons:
                return state


async def ask(service: Running) -> httpx2.Response:
    body = {"prompt": "hi", "provider": "fake"}
    return await service.client.post("/v1/generations", json=body)


@pytest.mark.promise("input:clear-error")
async def test_without_its_store_a_worker_is_not_ready(tmp_path: Path) -> None:
    """It says why, refuses new work with a code, and is ready as soon as the store is back."""
    async with with_redis(tmp_path, "refuse") as (service, server):
        assert (await readiness(service, status=200, reasons=[]))["status"] == "ready"
        server.kill()
        state = await readiness(service, status=503, reasons=["store_unreachable"])
        assert state["status"] == "unavailable"
        refused = await ask(service)
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        assert refused.headers["retry-after"] == "2"
        server.start()
        await readiness(service, status=200, reasons=[])
        assert (await ask(service)).status_code == 201
        await service.logged("store.back after=unreachable")
        assert await service.terminate() == 0
        assert len([it for it in service.output.splitlines() if "store.lost" in it]) == 1
        service.assert_quiet(LOST, "store.back", "status=503")


async def test_a_worker_that_may_go_on_alone_stays_ready(tmp_path: Path) -> None:
    """With `on_outage = "local"` operators learn of the outage, and clients do not."""
    async with with_redis(tmp_path, "local") as (service, server):
        server.kill()
        state = await readiness(service, status=200, reasons=["store_unreachable"])
        assert state["status"] == "ready"
        made = await ask(service)
        assert made.status_code == 201
        events = await service.client.get(f"/v1/generations/{made.json()['id']}/events")
        assert "event: done" in events.text
        assert await service.terminate() == 0
        service.assert_quiet(LOST)


@pytest.mark.promise("secret:kept")
async def test_a_bug_in_the_background_ends_the_process(tmp_path: Path) -> None:
    """One log line without values, nobody waits for an answer that cannot come, and a supervisor can replace it."""
    async with with_redis(tmp_path, "refuse") as (service, server):
        made = (await ask(service)).json()["id"]
        meta = next(it for it in server.command("KEYS", "*") if b":meta:" in it)
        worker = server.command("HGET", meta, "w").decode()
        partition = worker.partition("-")[0]
        bad = b"\xff the-secret-question"  # a message that no version sends
        server.command("XADD", f"streamsvc:{{{partition}}}:control:{worker}", "*", "g", bad)
        await service.logged("service.crashed exception=UnicodeDecodeError")
        with anyio.fail_after(20):
            assert await service.process.wait() == 1
        assert made in service.output
        assert "Traceback" not in service.output
        assert "secret-question" not in service.output


async def test_a_worker_that_never_reached_its_store_is_not_ready(tmp_path: Path) -> None:
    with running_redis() as server:
        server.command("REPLICAOF", "127.0.0.1", 1)
        async with serve(tmp_path, {"LOG__KIND": "redis", "LOG__URL": server.url}) as service:
            first = await service.client.get("/readyz")
            assert (first.status_code, first.json()["reasons"]) == (503, ["store_read_only"])
