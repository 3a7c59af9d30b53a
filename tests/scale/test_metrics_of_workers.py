"""`/metrics` and `/operations` of several workers: any of them answers for all, and says which ones did not answer."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from support.eventstream import view
from support.figures import Figures, scrape
from support.process import Running, write_config
from support.redis_servers import RedisServer
from support.service import CLIENT_SECONDS
from support.workers import serve_workers, workers

STREAMS = 20
SECTIONS: Mapping[str, Mapping[str, object]] = {
    "server": {"drain_seconds": 30.0},
    "providers.fake": {
        "kind": "fake",
        "reply": "text",
        "text": "one two three four five",
        "first_word_seconds": 0.05,
        "words_per_second": 100.0,
    },
    "providers.endless": {
        "kind": "fake",
        "text": "word " * 20_000,
        "first_word_seconds": 0.0,
        "words_per_second": 20.0,
    },
}

pytestmark = [pytest.mark.needs("valkey"), pytest.mark.timeout(180)]


async def fresh(service: Running) -> Figures:
    """Scrape on a new connection, which any worker may get."""
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{service.port}", timeout=CLIENT_SECONDS
    ) as client:
        return await scrape(client)


async def state(service: Running) -> Any:
    """Return what the operators' page shows; any worker may answer."""
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{service.port}", timeout=CLIENT_SECONDS
    ) as client:
        return (await client.get("/operations/state")).json()


async def until(service: Running, is_so: Callable[[Figures], bool]) -> Figures:
    """Return the figures once they are as expected."""
    with anyio.fail_after(60):
        while True:
            figures = await fresh(service)
            if is_so(figures):
                return figures


def up(figures: Figures) -> dict[str, float]:
    return {it.labels["worker"]: it.value for it in figures.samples("streamsvc_worker_up")}


def is_leaving_with_a_viewer(figures: Figures) -> bool:
    """Return whether the only viewer is that of a worker that has been replaced and drains."""
    leaving = [it.labels["worker"] for it in figures.samples("streamsvc_draining") if it.value]
    return any("." in it and figures.total("streamsvc_viewers", worker=it) == 1 for it in leaving)


@asynccontextmanager
async def two_workers(directory: Path, valkey: RedisServer) -> AsyncIterator[Running]:
    sockets = directory / "sockets"
    sockets.mkdir()
    write_config(directory, SECTIONS)
    shell = ("env", f"TMPDIR={sockets}")
    async with serve_workers(directory, valkey, {}, shell=shell) as service:
        yield service
        assert await service.terminate() == 0
    assert [*sockets.iterdir()] == []


async def page_shows_all_workers(service: Running) -> None:
    page = await state(service)
    assert page["streams"] == {"finished": STREAMS}
    assert {"completed": STREAMS} in [it["outcomes"] for it in page["providers"]]
    assert [(it["worker"], it["up"]) for it in page["store"]] == [("1", True), ("2", True)]


@pytest.mark.promise("seen:outside")
async def test_any_worker_answers_for_all(tmp_path: Path, valkey: RedisServer) -> None:
    """Also while one is stopped, dead, or replaced under a live stream."""
    async with two_workers(tmp_path, valkey) as service:
        await until(service, lambda it: up(it) == {"1": 1, "2": 1})

        async def one() -> None:
            async with view(service.port, "/stream-ai?prompt=hi") as answer:
                assert (await answer.events())[-1].json["status"] == "completed"

        async with anyio.create_task_group() as tasks:
            for _ in range(STREAMS):
                tasks.start_soon(one)
        ended = "streamsvc_viewer_streams_total"
        figures = await until(service, lambda it: it.total(ended, reason="finished") == STREAMS)
        assert figures.total("streamsvc_pieces_total") == STREAMS * 5
        counts = figures.by("worker", "streamsvc_generations_total", outcome="completed")
        assert counts.keys() == {"1", "2"}
        assert sum(counts.values()) == STREAMS
        assert figures.by("worker", "streamsvc_store_up") == {"1": 1, "2": 1}
        await page_shows_all_workers(service)

        (first,), (second,) = (workers(service)[number] for number in (1, 2))
        os.kill(second, signal.SIGSTOP)
        figures = await fresh(service)
        assert up(figures) == {"1": 1, "2": 0}
        answering = {it["name"]: it["answers"] for it in (await state(service))["workers"]}
        assert answering == {"1": True, "2": False}
        os.kill(second, signal.SIGCONT)
        assert up(await fresh(service)) == {"1": 1, "2": 1}

        os.kill(first, signal.SIGKILL)
        await service.logged(rf"worker\.died number=1 pid={first}")
        await service.logged(rf"worker\.started number=1 pid=(?!{first}\b)")
        figures = await until(service, lambda it: up(it) == {"1": 1, "2": 1})
        left = figures.by("worker", "streamsvc_generations_total", outcome="completed")
        assert left == {"2": counts["2"]}

        async with view(service.port, "/stream-ai?prompt=hi&provider=endless") as answer:
            await answer.event()
            service.process.send_signal(signal.SIGUSR2)
            figures = await until(service, is_leaving_with_a_viewer)
            (old,) = figures.by("worker", "streamsvc_viewers")
            assert old in up(figures)
            assert figures.total("streamsvc_generations_running", worker=old) == 1
        await until(service, lambda it: up(it) == {"1": 1, "2": 1})
