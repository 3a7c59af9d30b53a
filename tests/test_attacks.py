"""During attacks on the socket of a real process, healthy requests stay fast and memory stays flat."""

import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from support import attacks
from support.eventstream import wire
from support.owned import own_tasks
from support.process import serve

REQUESTS, WORKERS = 120, 10

MORE_SECONDS, TIMES_SLOWER = 0.5, 3
"""How much longer nine of ten healthy requests may take during an attack; on a busy machine, how many
times as long. With no room for connections or no turn of the loop it would be seconds."""

TRIES = 3
"""Other work on the machine may disturb one measurement; an effective attack disturbs all of them."""

MORE_BYTES = 64_000_000
"""How much memory all attacks together may take."""

SETTINGS = {
    "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0",
    "PROVIDERS__FAKE__WORDS_PER_SECOND": "0",
    "SERVER__REQUEST_SECONDS": "3",
    "STREAM__SEND_TIMEOUT_SECONDS": "3",
    "LIMITS__MAX_CONNECTIONS": "500",
}


async def healthy(port: int) -> float:
    """Make requests, each over a new connection; return the 90th percentile of their seconds, which a pause of the machine leaves alone."""
    taken: list[float] = []

    async def ask() -> None:
        for _ in range(REQUESTS // WORKERS):
            begun = anyio.current_time()
            async with wire(port) as connection:
                answer = await connection.ask("GET", "/stream-ai?prompt=hi")
                assert b'"status":"completed"' in await answer.body()
            taken.append(anyio.current_time() - begun)

    async with anyio.create_task_group() as tasks:
        for _ in range(WORKERS):
            tasks.start_soon(ask)
    return sorted(taken)[len(taken) * 9 // 10]


@asynccontextmanager
async def attack(port: int, kind: str) -> AsyncIterator[None]:
    """Attack from a separate process until the context is left."""
    command = [sys.executable, attacks.__file__, str(port), kind]
    async with await anyio.open_process(command) as process:
        try:
            assert process.stdout is not None
            assert await process.stdout.receive()  # the attack has begun
            yield
        finally:
            process.kill()


def memory_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.quiet
@pytest.mark.timeout(400)
@pytest.mark.promise("upstream:bounded")
@pytest.mark.skipif(sys.platform != "linux", reason="memory is looked up in /proc")
async def test_healthy_requests_stay_fast_during_each_attack(tmp_path: Path) -> None:
    async with own_tasks(), serve(tmp_path, SETTINGS) as service:
        alone = await healthy(service.port)
        before = memory_bytes(service.process.pid)
        memory = 0
        for kind in attacks.ATTACKS:
            for left in reversed(range(TRIES)):
                async with attack(service.port, kind):
                    beside = await healthy(service.port)
                    memory = memory_bytes(service.process.pid) - before
                print(f"{kind}: p90 {alone:.3f} s, {beside:.3f} s; {memory / 1e6:+.1f} MB")
                if beside < max(alone + MORE_SECONDS, alone * TIMES_SLOWER):
                    break
                alone = await healthy(service.port)
                assert left, f"{kind}: {alone:.3f} s alone, {beside:.3f} s beside it"
            assert memory < MORE_BYTES, kind
        assert await service.terminate() == 0
    service.assert_quiet()
