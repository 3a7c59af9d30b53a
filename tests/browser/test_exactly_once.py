"""Real browsers show every word exactly once, over connections that break.

The pages are those that the README recommends: a native EventSource, in three lines.
"""

import random
from collections.abc import Iterator
from itertools import pairwise, repeat

import anyio
import pytest

from browser.farm import BROWSERS, REPORTING, Farm, browser, farm
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import CorsSettings, GenerationSettings, Settings, StreamSettings
from support.parts import each
from support.proxy import BreakingProxy, Cut, after_bytes, after_events, breaking_proxy, never
from support.service import Service

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

TEXT = " ".join(f"word{number}" for number in range(24)) + " 😀\r\n\u2028 done."

PAGE = """<!doctype html><meta charset="utf-8"><p id="answer"></p>
<script>
  const url = "URL";
  new EventSource(url).onmessage = e => answer.textContent += JSON.parse(e.data).text;
</script>"""


def configuration(origin: str, *, words_per_second: float = 60) -> Settings:
    return Settings(
        cors=CorsSettings(origins=(origin,)),
        stream=StreamSettings(retry_ms=500),
        generations=GenerationSettings(grace_seconds=20),
        providers={
            "fake": FakeSettings(
                reply="text", text=TEXT, words_per_second=words_per_second, first_word_seconds=0.2
            )
        },
    )


def cuts_at_random_bytes(name: str) -> Iterator[Cut]:
    """Cut anywhere, but for Firefox only after the head: it does not reconnect after a response without a body."""
    draw = random.Random(7)  # noqa: S311  # repeatable
    while True:
        yield after_bytes(draw.randrange(1, 2500), spares_head=name == "firefox")


async def until_it_rests(proxy: BreakingProxy) -> None:
    """Wait until no request arrives for six times the reconnection time."""
    is_quiet = False
    while not is_quiet:
        with anyio.move_on_after(3) as quiet:
            await proxy.until_requests(len(proxy.requests) + 1)
        is_quiet = quiet.cancelled_caught


async def show(
    serve: Serve, pages: Farm, name: str, cuts: Iterator[Cut], *, resets: bool = False
) -> tuple[Service, int]:
    """Open the three-line page through a breaking proxy; return once it shows the whole text."""
    service = await serve(configuration(pages.url))
    async with breaking_proxy(service.port, cuts, resets=resets) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/stream-ai?prompt=x&key={name}"
        pages.pages["/"] = PAGE.replace("URL", url) + REPORTING
        async with browser(name, f"{pages.url}/?one"):
            with anyio.fail_after(60):
                await pages.until_shown("one", TEXT)
                await until_it_rests(proxy)
        return service, proxy.broken


@pytest.mark.long
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.parametrize("name", each(("chromium", "firefox")))  # the next test is for all
async def test_a_page_has_the_text_despite_a_break_after_each_sixth_event(
    serve: Serve, name: str
) -> None:
    async with farm() as pages:
        service, broken = await show(serve, pages, name, repeat(after_events(6)))
    assert broken >= 3
    assert len(service.log) == 1


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.parametrize("name", each(BROWSERS))
async def test_a_page_has_the_whole_text_despite_breaks_at_any_byte(
    serve: Serve, name: str
) -> None:
    """A cut may come before the first event; the key of the page prevents a second generation."""
    async with farm() as pages:
        service, broken = await show(
            serve, pages, name, cuts_at_random_bytes(name), resets=name == "chromium"
        )
    assert broken >= 2
    assert len(service.log) == 1


@pytest.mark.long
@pytest.mark.needs("firefox")
@pytest.mark.promise("resume:never-regenerate")
async def test_an_open_page_reconnects_once_after_the_end_and_stops(
    serve: Serve,
) -> None:
    """Each browser asks for its stream, reconnects once, gets a 204, and stops: no request in 24 times the retry time."""
    async with farm() as pages:
        service = await serve(configuration(pages.url))
        async with breaking_proxy(service.port, repeat(never)) as proxy:
            for name in ("chromium", "firefox"):
                url = f"http://127.0.0.1:{proxy.port}/stream-ai?prompt={name}"
                pages.pages[f"/{name}"] = PAGE.replace("URL", url) + REPORTING
            async with (
                browser("chromium", f"{pages.url}/chromium?chromium"),
                browser("firefox", f"{pages.url}/firefox?firefox"),
            ):
                with anyio.fail_after(40):
                    for name in ("chromium", "firefox"):
                        await pages.until_shown(name, TEXT)
                with anyio.move_on_after(12) as quiet:
                    await proxy.until_requests(5)
                assert quiet.cancelled_caught
                assert sum("firefox" in request for request in proxy.requests) == 2
                assert sum("chromium" in request for request in proxy.requests) == 2
        assert len(service.log) == 2


@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("fan-out:shared")
@pytest.mark.parametrize("name", each(("chromium", "firefox")))
async def test_a_reload_and_a_second_tab_get_the_generation_from_its_start(
    serve: Serve, name: str
) -> None:
    """The first tab reloads in mid-stream, the second one joins late, and the grace keeps the answer running."""
    reloading = """<script>
      new MutationObserver(() => {
        if (answer.textContent.length > 40 && !sessionStorage.reloaded) {
          sessionStorage.reloaded = "yes";
          location.reload();
        }
      }).observe(answer, {childList: true});
    </script>"""
    async with farm() as pages:
        service = await serve(configuration(pages.url, words_per_second=5))
        url = f"{service.url}/stream-ai?prompt=x&key=shared"
        pages.pages["/"] = PAGE.replace("URL", url) + REPORTING + reloading
        pages.pages["/both"] = "<script>open('/?two'); location = '/?one'</script>"
        async with browser(name, f"{pages.url}/both"):
            with anyio.fail_after(60):
                await pages.until_shown("one", TEXT)
                await pages.until_shown("two", TEXT)
        for tab in ("one", "two"):
            lengths = [len(text) for text in pages.history[tab]]
            # It was reloaded: between two loads a text only grows, but a slow browser may see all of it at once.
            assert any(later <= sooner for sooner, later in pairwise(lengths))
    assert len(service.log) == 1


@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize("name", each(BROWSERS))
async def test_closing_the_tab_stops_the_generation_by_beacon(serve: Serve, name: str) -> None:
    """The grace is long, so the beacon stops it, and not the closed connection."""
    opener = """<!doctype html><p id="answer"></p><script>window.open("/tab?tab")</script>"""
    closing = """<script>
      let stop;
      const source = new EventSource("URL");
      source.addEventListener("start", e => stop = `ORIGIN/v1/generations/${JSON.parse(e.data).generation}/stop`);
      source.onmessage = e => { answer.textContent += JSON.parse(e.data).text; setTimeout(() => close(), 500);  /* a person closes the tab in mid-answer */ };
      addEventListener("pagehide", () => navigator.sendBeacon(stop));
    </script>"""
    async with farm() as pages:
        service = await serve(configuration(pages.url, words_per_second=1))
        pages.pages["/"] = opener
        pages.pages["/tab"] = (
            """<!doctype html><meta charset="utf-8"><p id="answer"></p>"""
            + closing.replace("URL", f"{service.url}/stream-ai?prompt=x").replace(
                "ORIGIN", service.url
            )
            + REPORTING
        )
        async with browser(name, f"{pages.url}/?opener"):
            with anyio.fail_after(40):
                await service.until(lambda: service.supervisor.running > 0)
                generation = next(iter(service.directory.running_here))
                await generation.wait_ended()
        snapshot = (await service.client.get(f"/v1/generations/{generation.id}")).json()
    assert snapshot["outcome"] == "client_stop"
