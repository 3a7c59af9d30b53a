"""Pages in real browsers, behind a load balancer that sends every connection to a random worker."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import chain, pairwise, repeat
from pathlib import Path

import anyio
import pytest

from browser.farm import REPORTING, browser, farm
from support.parts import each
from support.proxy import after_events, breaking_proxy, never
from support.random_workers import TEXT, Pair, pair_on
from support.redis_servers import RedisServer

pytestmark = [pytest.mark.browser, pytest.mark.needs("valkey"), pytest.mark.timeout(120)]

PAGE = """<!doctype html><meta charset="utf-8"><p id="answer"></p>
<script>
  const source = new EventSource("URL");
  source.onmessage = e => answer.textContent += JSON.parse(e.data).text;
  for (const name of ["start", "restart"]) source.addEventListener(name, () => answer.textContent = "");
</script>"""


@pytest.fixture(scope="module")
async def pair(
    valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    async with pair_on(valkey, "random-worker", tmp_path_factory.mktemp("workers")) as pair:
        yield pair


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("resume:no-gap")
@pytest.mark.parametrize("name", each(("chromium",)))
async def test_page_has_every_word_once_over_random_workers(pair: Pair, name: str) -> None:
    """Each connection breaks after six events, and the next one may go to the other worker."""
    before = pair.ended
    ports = pair.ports(seed=len(name))
    async with farm() as pages, breaking_proxy(ports, repeat(after_events(6))) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/stream-ai?prompt=x&key={name}"
        pages.pages["/"] = PAGE.replace("URL", url) + REPORTING
        async with browser(name, f"{pages.url}/?one"):
            with anyio.fail_after(60):
                await pages.until_shown("one", TEXT)
        texts = pages.history["one"]
        assert proxy.broken >= 3
    assert all(TEXT.startswith(text) for text in texts)
    assert all(len(one) <= len(other) for one, other in pairwise(texts))
    await pair.until_ended(before + 1)
    assert pair.ended == before + 1


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("cancel:disconnect")
async def test_tab_closed_on_a_foreign_worker_stops_the_upstream(pair: Pair) -> None:
    here, there = pair.workers
    body = {"prompt": "hi", "provider": "paced", "grace_seconds": 0}
    generation = (await here.client.post("/v1/generations", json=body)).json()["id"]
    async with farm() as pages:
        url = f"http://127.0.0.1:{there.port}/v1/generations/{generation}/events"
        pages.pages["/"] = PAGE.replace("URL", url) + REPORTING
        async with browser("chromium", f"{pages.url}/?one"):
            with anyio.fail_after(30):
                while len(pages.shown.get("one", "")) < 20:
                    pages.changed.clear()
                    await pages.changed.wait()
            assert not pair.api.calls[-1].closed.is_set()
    with anyio.fail_after(10):
        await pair.api.calls[-1].closed.wait()


@pytest.mark.long
@pytest.mark.promise("scale:told")
@pytest.mark.promise("resume:no-gap")
@pytest.mark.parametrize("name", each(("firefox",)))
async def test_pages_show_the_whole_text_although_the_producer_is_killed(
    valkey: RedisServer, key_prefix: str, tmp_path: Path, name: str
) -> None:
    """One page is connected to the worker that dies, one to the other; both end up with the same text."""
    async with (
        pair_on(valkey, key_prefix, tmp_path, words_per_second=5) as pair,
        farm() as pages,
        AsyncExitStack() as stack,
    ):
        here, there = pair.workers
        created = await here.client.post("/v1/generations", json={"prompt": "x"})
        events = f"/v1/generations/{created.json()['id']}/events"
        for tab, worker in (("here", here), ("there", there)):
            ports = chain([worker.port], pair.ports(seed=1))
            proxy = await stack.enter_async_context(breaking_proxy(ports, repeat(never)))
            url = f"http://127.0.0.1:{proxy.port}{events}"
            pages.pages[f"/{tab}"] = PAGE.replace("URL", url) + REPORTING
        pages.pages["/both"] = "<script>open('/there?there'); location = '/here?here'</script>"
        async with browser(name, f"{pages.url}/both"):
            with anyio.fail_after(60):
                while not all(pages.shown.get(tab) for tab in ("here", "there")):
                    pages.changed.clear()
                    await pages.changed.wait()
                here.kill()
                for tab in ("here", "there"):
                    await pages.until_shown(tab, TEXT)
    assert all(TEXT.startswith(text) for tab in ("here", "there") for text in pages.history[tab])
    assert "generation.resumed" in there.output
