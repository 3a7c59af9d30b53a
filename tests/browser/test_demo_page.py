"""The page of `streamsvc demo` in Chromium: producers are killed, and the words go on."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from playwright.async_api import Page, expect

from browser.playground import ANSWER, EXPLAIN, ask, playground, violations
from conftest import Serve
from streamsvc.config.settings import Settings
from streamsvc.providers.fake.text import reply_to
from support.demo import shared_demo
from support.process import Running

pytestmark = [pytest.mark.browser, pytest.mark.needs("valkey")]

CUT = ["ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE"]
"""What a browser reports about a stream whose worker has died."""

NAME = re.compile(r"Worker [12] \(process \d+\)")


service = shared_demo()


@asynccontextmanager
async def demo_page(service: Running) -> AsyncIterator[Page]:
    """Open the page of a demo."""
    with anyio.fail_after(100):
        async with playground(f"http://127.0.0.1:{service.port}", expected=CUT) as page:
            yield page


async def until_long(page: Page, length: int) -> None:
    """Wait until the answer has this many characters."""
    await page.wait_for_function(
        f"() => document.querySelector('{ANSWER}')?.textContent.length > {length}"
    )


async def kill(page: Page) -> str:
    """Press the button, and wait until the page says that the producer is dead; return its name."""
    name = await page.locator("#producer").inner_text()
    assert NAME.fullmatch(name)
    await page.locator("#kill").click()
    await expect(page.locator("#producer")).to_have_text(f"{name}: killed")
    return name


async def shown(page: Page) -> str:
    text: str = await page.locator(ANSWER).evaluate("element => element.textContent")
    return text


@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("resume:no-gap")
async def test_words_go_on_after_each_of_two_kills(service: Running) -> None:
    """The page names each producer, and the text is whole at the end."""
    async with demo_page(service) as page:
        await expect(page.locator("#kill")).to_be_disabled()
        await ask(page, EXPLAIN)
        names = []
        for length in (120, 350):
            await until_long(page, length)
            names.append(await kill(page))
            at_death = await shown(page)
            await expect(page.locator("#producer")).to_have_text(NAME)
            await expect(page.locator("#lab")).to_contain_text("Words again")
            assert (await shown(page)).startswith(at_death)
            assert await page.locator("#producer").inner_text() not in names
        await expect(page.locator("#state")).to_have_text("done", timeout=30_000)
        assert await shown(page) == reply_to(EXPLAIN).rstrip()
        await expect(page.locator(".turn .hint")).to_contain_text("Complete")
        await expect(page.locator("#producer")).to_have_text("none: the answer has ended")
        await expect(page.locator("#kill")).to_be_disabled()
        label = await page.locator(".seam").last.get_attribute("data-label")
        assert re.fullmatch(r"process \d+ took over", label or "")


@pytest.mark.node
async def test_axe_finds_nothing_before_during_and_after_a_kill(service: Running) -> None:
    async with demo_page(service) as page:

        async def check() -> None:
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                assert await violations(page) == []

        await check()
        await ask(page, EXPLAIN)
        await until_long(page, 100)
        await kill(page)
        await check()
        await expect(page.locator("#lab")).to_contain_text("Words again")
        await check()


async def test_the_page_of_a_service_has_no_such_button(serve: Serve) -> None:
    service = await serve(Settings())
    async with playground(service.url) as page:
        for hidden in ("#kill", "#kill-says", "#producer"):
            await expect(page.locator(hidden)).to_be_hidden()
