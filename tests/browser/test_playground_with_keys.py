"""The playground of a service that asks for keys, used as a person uses it."""

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from browser.playground import (
    ANSWER,
    EXPLAIN,
    ask,
    drawer,
    enter_key,
    example,
    playground,
    violations,
)
from streamsvc.providers.fake.text import reply_to
from support.api_keys import KeysFile
from support.process import serve

pytestmark = pytest.mark.browser

REFUSED = ["401 (Unauthorized)", "429 (Too Many Requests)"]
CUT = ["ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE"]
"""What a browser reports about refusals, and about a stream that is cut."""

WIDTHS = (1280, 320)

SETTINGS = {
    "AUTH__KEYS_FILE": "keys.toml",
    "STREAM__RETRY_MS": "500",
    "PROVIDERS__FAKE__WORDS_PER_SECOND": "20",
    "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0",
}

INVALID = "The API key or token is not valid."


async def shown(page: Page) -> str:
    text: str = await page.locator(ANSWER).evaluate("element => element.textContent")
    return text


async def kept_by(page: Page) -> str:
    """Return everything in which a page could leave a key for others to find."""
    text: str = await page.evaluate("""() => JSON.stringify([
      document.documentElement.outerHTML, [...document.querySelectorAll("input, textarea")].map(it => it.value),
      {...localStorage}, {...sessionStorage}, document.cookie, location.href,
      performance.getEntriesByType("resource").map(it => it.name),
    ])""")
    return text


@pytest.mark.node
async def test_the_page_asks_for_a_key_and_keeps_it_to_itself(tmp_path: Path) -> None:
    """With a key everything works; without one that counts, a dialog asks for it. One browser for all of it."""
    keys = KeysFile(tmp_path / "keys.toml")
    key, second, limited = (keys.add(name) for name in ("team", "team", "limited"))
    table = "[principals.limited]\n"
    assert table in keys.text
    keys.replace(keys.text.replace(table, f"{table}requests_per_minute = 1\n"))
    async with serve(tmp_path, SETTINGS) as service:
        url = f"http://127.0.0.1:{service.port}"
        async with playground(url, expected=[*REFUSED, *CUT], key=key) as page:
            await everything_works(page)
            await asks_again_after_a_revocation(page, lambda: keys.revoke(key), second)
            await says_when_a_limit_ends(page, limited)
            left = await kept_by(page)
            assert "/v1/stream?ticket=tkt_" in left
            assert not any(it in left for it in (key, second, limited))
            await page.reload()
            await expect(page.locator("#key-dialog")).to_be_visible()
        assert not any(it in service.output for it in (key, second, limited))


async def everything_works(page: Page) -> None:
    """Streams by tickets: a cut, a second viewer, raw frames, coming back, tools, and a stop."""
    await expect(page.locator("#key-dialog")).to_be_hidden()
    await ask(page, EXPLAIN)
    await page.wait_for_function(
        "() => document.querySelector('.turn .answer').textContent.length > 40"
    )
    await drawer(page, "lab")
    await page.locator("#cut").click()
    await page.locator("#second").click()
    await page.locator("#raw summary").click()
    await expect(page.locator(".seam")).to_have_count(1)
    await expect(page.locator("#state")).to_have_text("done")
    assert await shown(page) == reply_to(EXPLAIN).rstrip()
    other = page.locator("#other-answer")
    assert await other.evaluate("element => element.textContent") == reply_to(EXPLAIN).rstrip()
    await expect(page.locator("#frames")).to_contain_text("event: done")
    await page.locator("#again").click()
    await expect(page.locator("#lab")).to_contain_text("204 No Content")
    await example(page, "Call a tool")
    await expect(page.locator(".results textarea")).to_have_count(2)
    await example(page, "Explain streaming")
    await expect(page.locator("#state")).to_have_text("open")
    await page.locator("#stop").click()
    await expect(page.locator(".turn .hint").last).to_contain_text("Stopped")
    await page.get_by_role("button", name="Copy as code").last.click()
    for language, placeholder in (("curl", "$STREAMSVC_KEY"), ("React", "YOUR_KEY")):
        await page.locator(".as-code").last.get_by_role("button", name=language).click()
        await expect(page.locator(".as-code code").last).to_contain_text(placeholder)


async def asks_again_after_a_revocation(
    page: Page, revoke: Callable[[], None], second: str
) -> None:
    """In mid-stream the dialog says why, to everybody; with another key of the team the answer goes on."""
    await drawer(page, "settings")
    await page.locator("#grace").select_option("30")
    await page.locator("#new").click()
    await ask(page, EXPLAIN)
    await page.locator("#change-key").click()
    await page.keyboard.press("Escape")
    await expect(page.locator("#key-dialog")).to_be_hidden()
    assert await page.evaluate("document.activeElement.id") == "change-key"
    await expect(page.locator("#state")).to_have_text("open")  # nothing has stopped

    revoke()
    await expect(page.locator("#key-dialog")).to_be_visible()
    await expect(page.locator("#key-problem")).to_have_text(INVALID)
    at_revocation = await shown(page)
    await check_dialog(page)
    await page.keyboard.press("Escape")
    await expect(page.locator(".turn .problem")).to_have_text(
        f"{INVALID} You can come back to this answer."
    )
    await drawer(page, "lab")
    await page.locator("#again").click()
    await enter_key(page, second)
    await expect(page.locator("#state")).to_have_text("done")
    assert await shown(page) == reply_to(EXPLAIN).rstrip()
    assert 0 < len(at_revocation) < len(reply_to(EXPLAIN))


async def says_when_a_limit_ends(page: Page, limited: str) -> None:
    """The refused question goes back into its field."""
    await page.locator("#change-key").click()
    await enter_key(page, limited)
    await expect(page.locator("#key-dialog")).to_be_hidden()
    await page.locator("#new").click()
    await ask(page, "one")
    await expect(page.locator("#state")).to_have_text("done")
    await ask(page, "two")
    await expect(page.locator(".turn .problem")).to_have_text(
        re.compile(r".*requests? per minute .* again in \d+ s\.")
    )
    await expect(page.locator("#prompt")).to_have_value("two")


async def check_dialog(page: Page) -> None:
    """Check the open dialog in each size and scheme, with a wrong key, and with the keyboard."""
    size: Any = page.viewport_size
    schemes: list[Any] = ["light", "dark"]
    await enter_key(page, "ssk_wrong")
    await expect(page.locator("#key-problem")).to_have_text(INVALID)
    for width, scheme in product(WIDTHS, schemes):
        await page.set_viewport_size({"width": width, "height": 800})
        await page.emulate_media(color_scheme=scheme)
        assert await violations(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.set_viewport_size(size)
    assert await page.locator("#key").get_attribute("type") == "password"
    assert await page.evaluate("document.activeElement.id") == "key"
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Cancel"
