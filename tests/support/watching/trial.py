"""A service with troubles, for trying `docs/operate/watch.md`, and for the picture of the dashboard.

`just picture` runs it.

Two workers run under load for so many seconds. One provider's first tokens are late, another one fails and has a
fallback, some clients do not read, some leave, and some ask for nonsense. With `-` instead of a file, the service and
Prometheus go on until Ctrl-C, and their addresses are printed.
"""

import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import httpx2
from playwright.async_api import async_playwright

from support.eventstream import view, wire
from support.parts import find
from support.process import Running, write_config
from support.redis_servers import running_redis
from support.service import CLIENT_SECONDS
from support.watching import alerts, dashboard
from support.watching.picture import CELL_HEIGHT, drawn
from support.watching.prometheus import Prometheus, scraping
from support.workers import serve_workers

ANSWER = " ".join(f"word{number}" for number in range(60))
SECTIONS: Mapping[str, Mapping[str, object]] = {
    "stream": {"send_timeout_seconds": 3.0},
    "generations": {"grace_seconds": 1.0},
    "providers.fake": {
        "kind": "fake",
        "model": "quick",
        "reply": "text",
        "text": ANSWER,
        "first_word_seconds": 0.4,
        "words_per_second": 25.0,
        "jitter": 0.6,
        "allow_faults": True,
    },
    "providers.thinker": {
        "kind": "fake",
        "model": "deep",
        "reply": "text",
        "text": ANSWER,
        "first_word_seconds": 4.0,
        "words_per_second": 20.0,
        "jitter": 0.6,
    },
    "providers.shaky": {
        "kind": "fake",
        "model": "cheap",
        "fault": "unavailable",
        "attempts": 2,
        "backoff_seconds": 0.2,
        "circuit_seconds": 20.0,
        "fallbacks": ["fake"],
    },
    "providers.flood": {
        "kind": "fake",
        "model": "long",
        "reply": "text",
        "text": "word " * 400_000,
        "first_word_seconds": 0.0,
        "words_per_second": 0.0,
    },
}


async def _read(port: int, provider: str, words: int | None = None) -> None:
    """Read an answer, or its first words."""
    async with view(port, f"/stream-ai?prompt=hi&provider={provider}") as answer:
        seen = 0
        while words is None or seen < words:
            event = await answer.event()
            seen += event.type == "message"
            if event.type == "done":
                return


async def _stall(port: int) -> None:
    """Ask for a long answer, and do not read it."""
    async with wire(port) as connection:
        answer = await connection.ask("GET", "/stream-ai?prompt=hi&provider=flood")
        await answer.event()
        await anyio.sleep(8)


async def _ask_nonsense(port: int) -> None:
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=CLIENT_SECONDS
    ) as client:
        await client.post("/v1/generations", json={"prompt": "hi", "provider": "nobody"})


LOAD: tuple[tuple[float, Callable[[int], Awaitable[None]]], ...] = (
    (4.0, lambda port: _read(port, "fake")),
    (1.0, lambda port: _read(port, "thinker")),
    (1.5, lambda port: _read(port, "shaky")),
    (1.0, lambda port: _read(port, "fake", random.randrange(2, 20))),  # noqa: S311  # no secret
    (0.1, _stall),
    (0.3, _ask_nonsense),
)
"""How often in a second each kind of client comes."""


async def _load(port: int, seconds: float) -> None:
    async def one(client: Callable[[int], Awaitable[None]]) -> None:
        with suppress(EOFError, OSError):
            await client(port)

    async def kind(rate: float, client: Callable[[int], Awaitable[None]]) -> None:
        while True:
            await anyio.sleep(random.expovariate(rate))
            tasks.start_soon(one, client)

    async with anyio.create_task_group() as tasks:
        for rate, client in LOAD:
            tasks.start_soon(kind, rate, client)
        await anyio.sleep(seconds)
        tasks.cancel_scope.cancel()


async def _photograph(page: str, board: Mapping[str, Any], path: Path) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find("chromium"), args=["--no-sandbox"]
        )
        shown = await browser.new_page(viewport={"width": 1440, "height": _height(board)})
        await shown.set_content(page)
        await shown.screenshot(path=path)
        await browser.close()


def _height(board: Mapping[str, Any]) -> int:
    places = [it["gridPos"] for it in board["panels"]]
    return max(int(it["y"] + it["h"]) for it in places) * CELL_HEIGHT + 8


async def main(seconds: float, picture: str) -> None:
    """Run it."""
    board = json.loads(dashboard.PAGE.read_text())
    with TemporaryDirectory() as folder, running_redis("valkey") as redis:
        directory = Path(folder)
        write_config(directory, SECTIONS)
        async with (
            serve_workers(directory, redis, {}) as service,
            scraping(directory, [service.port], rules=[alerts.PAGE]) as prometheus,
        ):
            await _run(service, prometheus, seconds, picture, board, directory)


async def _run(
    service: Running,
    prometheus: Prometheus,
    seconds: float,
    picture: str,
    board: Mapping[str, Any],
    directory: Path,
) -> None:
    begin = time.time()
    await _load(service.port, seconds)
    (directory / "service.log").write_text(service.output)
    if picture != "-":
        page = await drawn(board, prometheus, begin=begin, end=time.time(), window="15s")
        await _photograph(page, board, Path(picture))
        return
    print(f"service: {service.client.base_url}  prometheus: {prometheus.client.base_url}")
    print(f"log: {directory}/service.log")
    await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, float(sys.argv[1]), sys.argv[2])
