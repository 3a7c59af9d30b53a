"""A worker that is killed or drained is a pause: another one goes on with its answers, and no word comes twice.

Workers are `python -m streamsvc serve`, each in its own process, and share a Redis server. They store words rarely, so
that viewers of the first worker, "here", have words that nobody else will ever have.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from support.asking import CLIENTS, answered, chat_stream, get, sent
from support.eventstream import Answer, BrowserEvent
from support.fleet import Place, Worker, fleet
from support.native import text_of
from support.redis_servers import RedisServer

pytestmark = pytest.mark.needs("valkey")

WORDS = [f"w{number} " for number in range(30)]
FAKE = {
    "kind": "fake",
    "text": "".join(WORDS),
    "words_per_second": 25,
    "first_word_seconds": 0,
}
KNOWN_SECONDS = 5.0
BUSY_SECONDS = 3.0
"""What a busy machine may add."""
"""By when each viewer has words again, or knows why not."""


@asynccontextmanager
async def two_workers(
    valkey: RedisServer, folder: Path, prefix: str, **sections: Mapping[str, object]
) -> AsyncIterator[tuple[Worker, Worker]]:
    log = {"prefix": prefix, "lease_seconds": 1.0, "write_ms": 300}
    places = [Place(redis_url=valkey.url)] * 2
    async with fleet(folder, places, {"providers.fake": FAKE, "log": log, **sections}) as workers:
        here, there = workers
        yield here, there


@dataclass
class Page:
    """A page with an EventSource: it reconnects with its cursor, and clears its text at each `start`.

    Attributes:
        seen: the events since the latest `start`.
        by_id: all events that it has ever seen, by their ids.
    """

    seen: list[BrowserEvent] = field(default_factory=list)
    by_id: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return text_of(self.seen)

    @property
    def cursor(self) -> str:
        return self.seen[-1].last_event_id

    async def read(self, answer: Answer, *, words: int | None = None) -> None:
        """Read events to the end of the connection, or until there are so many words."""
        while words is None or len(self.text.split()) < words:
            try:
                event = await answer.event()
            except EOFError:
                return
            if event.type == "start":
                self.seen.clear()
            self.seen.append(event)
            # No id ever stands for two events.
            assert self.by_id.setdefault(event.last_event_id, event.data) == event.data

    async def resume(self, worker: Worker) -> None:
        """Reconnect, until the answer has ended."""
        while self.seen[-1].type != "done":
            header = {"Last-Event-ID": self.cursor}
            async with sent(worker.port, get("/stream-ai?prompt=Hello"), headers=header) as answer:
                assert answer.status == 200
                await self.read(answer)

    def assert_whole(self, *, outcome: str = "completed") -> None:
        assert self.text == "".join(WORDS)
        assert self.seen[-1].json["outcome"] == outcome


def longest_pause(events: Sequence[BrowserEvent]) -> float:
    return max(late.at - early.at for early, late in pairwise(events))


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("scale:told")
@pytest.mark.promise("scale:one-writer")
async def test_killed_worker_is_a_pause_for_every_viewer(
    valkey: RedisServer, tmp_path: Path, key_prefix: str
) -> None:
    async with two_workers(valkey, tmp_path, key_prefix) as (here, there):
        own, foreign = Page(), Page()
        async with AsyncExitStack() as stack:
            asked = CLIENTS["native"].request()
            at_here = await stack.enter_async_context(sent(here.port, asked))
            chat = await stack.enter_async_context(sent(here.port, CLIENTS["ai-sdk"].request()))
            events = get(f"/v1/generations/{at_here.headers['x-generation-id']}/events")
            at_there = await stack.enter_async_context(sent(there.port, events))
            await foreign.read(at_there, words=5)
            await own.read(at_here, words=12)
            await chat.raw_until(b"w5")
            here.kill()
            await own.read(at_here)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(own.resume, there)
                await foreign.read(at_there)
            replay = await answered(there.port, chat_stream("chat-1"))
        for page in (own, foreign):
            page.assert_whole()
        assert longest_pause(foreign.seen) < KNOWN_SECONDS + BUSY_SECONDS
        status = [event.json for event in foreign.seen if event.type == "status"]
        assert [(it["state"], it["reason"]) for it in status] == [("retrying", "worker_lost")]
        assert replay.status == 200
        assert b"w29" in replay.raw
        assert replay.raw.endswith(b"data: [DONE]\n\n")
        assert there.output.count("generation.resumed") == 2


@pytest.mark.promise("end:exactly-one")
@pytest.mark.promise("scale:told")
async def test_without_a_rescue_a_killed_worker_ends_its_answers(
    valkey: RedisServer, tmp_path: Path, key_prefix: str
) -> None:
    off = {"rescue": False}
    async with two_workers(valkey, tmp_path, key_prefix, generations=off) as (here, there):
        own = Page()
        async with sent(here.port, CLIENTS["native"].request()) as answer:
            await own.read(answer, words=12)
            here.kill()
            await own.read(answer)
        await own.resume(there)
        done = own.seen[-1].json
        assert (done["status"], done["outcome"]) == ("failed", "upstream_lost")
        assert done["error"]["code"] == "upstream_lost"
        assert done["error"]["retryable"]
        assert "".join(WORDS).startswith(own.text)


@pytest.mark.promise("drain:no-loss")
@pytest.mark.promise("resume:no-gap")
async def test_drained_worker_hands_its_answers_over(
    valkey: RedisServer, tmp_path: Path, key_prefix: str
) -> None:
    drain: dict[str, object] = {"drain_seconds": 0.0}
    async with two_workers(valkey, tmp_path, key_prefix, server=drain) as (here, there):
        page = Page()
        async with AsyncExitStack() as stack:
            answer, plain, stream = [
                await stack.enter_async_context(sent(here.port, CLIENTS[name].request()))
                for name in ("native", "plain", "openai")
            ]
            await page.read(answer, words=12)
            await stream.raw_until(b"w5")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(page.read, answer)
                tasks.start_soon(plain.body)
                tasks.start_soon(stream.body)
                assert await here.running.terminate() == 0
        await page.resume(there)
        page.assert_whole()
        assert not answer.is_whole
        assert not plain.is_whole
        assert b'"code":"interrupted"' in stream.raw
        assert stream.raw.endswith(b"data: [DONE]\n\n")
        assert "drain.finished cut=0 handed_over=3" in here.output
        assert there.output.count("generation.resumed") == 1  # nobody comes back for the others
