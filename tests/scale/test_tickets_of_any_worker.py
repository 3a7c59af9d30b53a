"""A ticket that one worker mints is opened, spent and resumed through any other, and worthless in a log.

Two workers share a Redis server; each is `python -m streamsvc serve` in its own process.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import pytest

from support.asking import entries
from support.eventstream import BrowserEvent, view
from support.fleet import Place, Worker, fleet
from support.process import FAKE
from support.redis_servers import RedisServer

pytestmark = [
    pytest.mark.needs("valkey"),
    pytest.mark.promise("door:browser"),
    pytest.mark.promise("scale:any-worker"),
]

PREFIX = "tickets-of-any-worker"
TEXT = " ".join(f"word{number}" for number in range(30))
SECRET = "a question that ends with its ticket"


@dataclass(frozen=True)
class Pair:
    """Two workers, and their store."""

    here: Worker
    there: Worker
    server: RedisServer

    def stored(self) -> bytes:
        """Return what Redis has of tickets: keys and values."""
        keys = self.server.command("KEYS", f"{PREFIX}:*:ticket:*")
        values = [value for key in keys for value in self.server.command("HVALS", key)]
        return b"".join((*keys, *values))


@pytest.fixture(scope="module")
async def pair(
    valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    paced: dict[str, object] = {**FAKE, "text": TEXT, "words_per_second": 100.0}
    sections = {
        **entries(),
        "providers.paced": paced,
        "server": dict[str, object](log_level="debug"),
        "generations": dict[str, object](grace_seconds=20),
        "log": dict[str, object](prefix=PREFIX),
    }
    places = [Place(redis_url=valkey.url)] * 2
    async with fleet(tmp_path_factory.mktemp("fleet"), places, sections) as (here, there):
        yield Pair(here, there, valkey)
        for worker in (here, there):
            assert await worker.running.terminate() == 0
            worker.running.assert_quiet()


async def minted(worker: Worker, **body: object) -> str:
    answer = await worker.client.post("/v1/tickets", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["url"])


async def code_of(worker: Worker, url: str) -> object:
    """Return the code of the one `done` that an address gets."""
    async with view(worker.port, url) as viewer:
        [done] = await viewer.events()
        assert viewer.status == 200
        return done.json["error"]["code"]


async def test_address_is_dead_after_the_first_words(pair: Pair) -> None:
    """While its page still reads, and after it; the page itself resumes as often as it must."""
    url = await minted(pair.here, request={"prompt": "Hello", "provider": "paced"})
    seen: list[BrowserEvent] = []
    cursor: dict[str, str] = {}
    for worker in [pair.here, pair.there] * 4:
        async with view(worker.port, url, headers=cursor) as viewer:  # leaving it cuts it
            seen += [await viewer.event() for _ in range(3)]
            cursor = {"Last-Event-ID": seen[-1].last_event_id}
            assert await code_of(pair.here, url) == "ticket_spent"
            assert await code_of(pair.there, url) == "ticket_spent"
    async with view(pair.here.port, url, headers=cursor) as viewer:
        seen += await viewer.events()
    assert [event.seq for event in seen] == list(range(len(seen)))
    assert seen[-1].json["status"] == "completed"
    assert "".join(event.json["text"] for event in seen if event.type == "message") == TEXT
    assert await code_of(pair.there, url) == "ticket_spent"


LOOKS: tuple[tuple[str, dict[str, str], int], ...] = (
    ("HEAD", {}, 200),
    ("GET", {"Sec-Purpose": "prefetch"}, 503),
    ("GET", {"Sec-Fetch-Dest": "document"}, 403),
    ("GET", {"Accept": "text/html"}, 403),
    ("GET", {"Origin": "https://evil.example"}, 403),
    ("OPTIONS", {}, 405),
    ("POST", {}, 405),
)
"""What looks at an address: method, headers, and the status that it gets."""


async def test_what_looks_at_an_address_does_not_spend_it(pair: Pair) -> None:
    """Such as a program that shows a preview of a link, before the page opens it."""
    url = await minted(pair.here, request={"prompt": "Hello"})
    for method, headers, status in LOOKS:
        async with view(pair.there.port, url, method=method, headers=headers) as viewer:
            assert viewer.status == status
    async with view(pair.there.port, url) as viewer:
        assert (await viewer.event()).type == "start"


async def test_ticket_of_here_is_opened_there_and_resumed_here(pair: Pair) -> None:
    url = await minted(pair.here, request={"prompt": SECRET})
    assert SECRET.encode() in pair.stored()
    async with view(pair.there.port, url) as viewer:
        events = await viewer.events()
    assert events[0].type == "start"
    assert events[-1].json["status"] == "completed"
    for worker in (pair.here, pair.there):
        assert await code_of(worker, url) == "ticket_spent"
    cursor = {"Last-Event-ID": events[1].last_event_id}
    async with view(pair.here.port, url, headers=cursor) as viewer:
        assert await viewer.events() == events[2:]
    assert url.partition("=")[2].encode() not in pair.stored()
    assert SECRET.encode() not in pair.stored()


async def test_ticket_for_a_generation_of_here_is_for_it_there(pair: Pair) -> None:
    made = (await pair.here.client.post("/v1/generations", json={"prompt": "Hello"})).json()
    url = await minted(pair.there, generation=made["id"])
    async with view(pair.here.port, url) as viewer:
        assert (await viewer.event()).json["generation"] == made["id"]


async def test_ticket_opened_on_both_at_once_starts_one_answer(pair: Pair) -> None:
    for _ in range(3):
        url = await minted(pair.here, request={"prompt": "Hello", "provider": "held"})
        first: list[str] = []
        generations: set[str] = set()

        async def look(worker: Worker, url: str, first: list[str], generations: set[str]) -> None:
            async with view(worker.port, url) as viewer:
                event = await viewer.event()
                first.append(event.type)
                generations.add(event.json.get("generation", ""))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for worker in [pair.here, pair.there] * 3:
                    tasks.start_soon(look, worker, url, first, generations)
        assert sorted(first) == [*["done"] * 5, "start"]
        [generation] = generations - {""}
        stopped = await pair.there.client.post(f"/v1/generations/{generation}/stop")
        assert stopped.json()["outcome"] == "client_stop"


@pytest.mark.promise("secret:kept")
async def test_no_log_line_has_a_ticket(pair: Pair) -> None:
    """Not even at the level of debugging."""
    url = await minted(pair.here, request={"prompt": SECRET})
    for target in (url, url, f"{url}A", f"{url}&format=wrong"):
        async with view(pair.there.port, target) as viewer:
            await viewer.body()
    await pair.there.running.logged("code=ticket_spent")
    for worker in (pair.here, pair.there):
        assert "tkt_" not in worker.output
        assert url.partition("tkt_")[2] not in worker.output
        assert SECRET not in worker.output
