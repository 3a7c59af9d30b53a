"""Every viewer gets its own answer and not a byte of another one, however many there are.

MCP CVE-2026-25536: clients that shared a transport got each other's answers.
"""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import pytest

from support.asking import CLIENTS, Request, answered, get, sent
from support.eventstream import Answer, BrowserEvent
from support.fleet import Place, Worker, fleet
from support.native import text_of
from support.process import FAKE, Running
from support.redis_servers import RedisServer
from support.shared import quiet_service, shared_process

VIEWERS = 1000
AT_ONCE = 250
TAKEN_OVER = 40
WORDS = 12
NAMES = ("native", "text", "plain", "openai", "openai-whole", "ai-sdk")
MARK = re.compile(rb"mark(\d+)x")

ECHO: Mapping[str, object] = {**FAKE, "reply": "echo"}

process = shared_process({"providers.fake": {**ECHO, "words_per_second": 100}})
service = quiet_service()


def asking(name: str, number: int) -> Request:
    """Return a request whose answer repeats its own mark."""
    client, said = CLIENTS[name], f"mark{number}x " * WORDS
    if client.wraps == "native":
        return client.request(prompt=said)
    turn: dict[str, object] = {"role": "user", "content": said}
    if client.wraps == "chat":
        turn = {"id": "m", "role": "user", "parts": [{"type": "text", "text": said}]}
    return client.request(messages=[turn], chat=f"chat {number}")


def assert_is_own(answer: Answer, number: int) -> None:
    assert answer.status == 200
    assert MARK.findall(bytes(answer.raw)) == [b"%d" % number] * WORDS


async def test_cve_2026_25536_thousand_interleaved_viewers_get_their_own_words(
    service: Running,
) -> None:
    """In every dialect, each over a connection of its own, all mixed."""
    room = anyio.CapacityLimiter(AT_ONCE)

    async def ask(number: int) -> None:
        async with room:
            answer = await answered(service.port, asking(NAMES[number % len(NAMES)], number))
        assert_is_own(answer, number)

    with anyio.fail_after(90):
        async with anyio.create_task_group() as viewers:
            for number in range(VIEWERS):
                viewers.start_soon(ask, number)


@pytest.fixture
async def pair(
    valkey: RedisServer, tmp_path: Path, key_prefix: str
) -> AsyncIterator[tuple[Worker, Worker]]:
    entry = {**ECHO, "words_per_second": 8}
    log = {"prefix": key_prefix, "lease_seconds": 1.0}
    places = [Place(redis_url=valkey.url)] * 2
    sections: Mapping[str, Mapping[str, object]] = {
        "providers.fake": entry,
        "log": log,
        "generations": {"grace_seconds": 20},  # a busy machine lets viewers come back late
    }
    async with fleet(tmp_path, places, sections) as (here, there):
        yield here, there


@pytest.mark.needs("valkey")
async def test_cve_2026_25536_viewers_get_their_own_words_after_a_take_over(
    pair: tuple[Worker, Worker],
) -> None:
    here, there = pair
    begun = anyio.Semaphore(0)

    async def watch(number: int) -> None:
        seen: list[BrowserEvent] = []
        async with sent(here.port, asking("native", number)) as answer:
            while not text_of(seen):
                seen.append(await answer.event())
            begun.release()
            seen += await rest_of(answer)
        while seen[-1].type != "done":
            header = {"Last-Event-ID": seen[-1].last_event_id}
            async with sent(there.port, get("/stream-ai?prompt=x"), headers=header) as answer:
                seen += await rest_of(answer)
        assert {*text_of(seen).split()} == {f"mark{number}x"}
        assert shown(seen) == f"mark{number}x " * WORDS

    async with anyio.create_task_group() as viewers:
        for number in range(TAKEN_OVER):
            viewers.start_soon(watch, number)
        for _ in range(TAKEN_OVER):
            await begun.acquire()
        here.kill()
    # On a busy machine the first answers may have ended before the last one has begun.
    assert there.output.count("generation.resumed") >= TAKEN_OVER / 2


def shown(seen: list[BrowserEvent]) -> str:
    """Return what a page shows: it clears its text at each `start` and `restart`, as after an event that was lost."""
    begins = [at for at, event in enumerate(seen) if event.type in {"start", "restart"}]
    return text_of(seen[begins[-1] :])


async def rest_of(answer: Answer) -> list[BrowserEvent]:
    """Return the events to the end of the connection, cut or not."""
    events = []
    try:
        while True:
            events.append(await answer.event())
    except EOFError:
        return events
