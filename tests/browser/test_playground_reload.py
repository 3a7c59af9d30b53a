"""What a reload of the playground brings back, and what it says if it cannot."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from browser.pages import recorded
from browser.playground import ANSWER, ask, drawer, on_upstream, playground, violations
from support.process import serve
from support.upstreams import HOLD, finish, text

pytestmark = pytest.mark.browser

TWO_ENTRIES = {
    "PROVIDERS__FAKE__WORDS_PER_SECOND": "0",
    "PROVIDERS__OTHER__KIND": "fake",
    "PROVIDERS__OTHER__REPLY": "echo",
    "PROVIDERS__OTHER__ALLOW_FAULTS": "true",
    "PROVIDERS__OTHER__WORDS_PER_SECOND": "0",
}

SETTINGS = "streamsvc/ settings"

FIELDS = """() => Object.fromEntries(
  ["provider", "system", "temperature", "seed", "grace", "tools", "own-tools", "likely", "fault", "compare-waiting"]
    .map(id => document.getElementById(id))
    .map(field => [field.id, ["checkbox", "radio"].includes(field.type) ? field.checked : field.value])
    .concat([...document.querySelectorAll("#right select, #right input")].map((field, at) => [`right ${at}`, field.value])))
"""

FOREIGN = (
    {"temperature": "99", "seed": "x", "system": ["a"], "grace": "5", "likely": "yes", "tools": 1},
    {
        "provider": "gone",
        "fault": "auth",
        "right-provider": {},
        "__proto__": {"grace": "30"},
        "x": 1,
    },
    {"system": "x" * 100_001, "waiting": None},
    [1],
    None,
)
"""Settings that the page does not store: fields do not take these values, or there are no such fields."""

NO_STORAGE = """
  for (const name of ["getItem", "setItem", "removeItem"]) {
    Storage.prototype[name] = () => { throw new DOMException("denied", "SecurityError"); };
  }
"""


async def reloaded(page: Page) -> dict[str, Any]:
    """Reload the page; return what its fields say when the providers are there."""
    await page.reload()
    await expect(page.locator("#right select").first).not_to_be_empty()
    fields: dict[str, Any] = await page.evaluate(FIELDS)
    return fields


async def choose(page: Page) -> dict[str, Any]:
    """Change settings of each kind; return what the fields say."""
    await drawer(page, "settings")
    await page.locator("#provider").select_option("other")
    await page.locator("#fault").select_option("auth")
    await page.locator("#system").fill("Be brief.")
    await page.locator("#temperature").fill("0.5")
    await page.locator("#likely").check()
    await page.locator("#grace").select_option("30")
    await page.locator("#tools").select_option("own")
    await page.locator("#own-tools").fill("[]")
    await page.get_by_role("link", name="Compare").click()
    lane = page.locator("#right")
    await lane.get_by_label("Provider").select_option("other")
    await lane.get_by_label("Temperature").fill("1")
    await lane.get_by_label("Fault").select_option("stall")
    await page.get_by_label("Waiting and streaming").check()
    fields: dict[str, Any] = await page.evaluate(FIELDS)
    return fields


async def test_settings_outlast_a_reload_until_they_are_reset(tmp_path: Path) -> None:
    async with (
        serve(tmp_path, TWO_ENTRIES) as service,
        playground(f"http://127.0.0.1:{service.port}") as page,
    ):
        untouched = await page.evaluate(FIELDS)
        chosen = await choose(page)
        assert all(chosen[name] != untouched[name] for name in chosen.keys() - {"seed", "right 0"})
        assert await reloaded(page) == chosen
        await expect(page.locator("#waiting")).to_be_visible()

        await page.get_by_role("link", name="Chat").click()
        await expect(page.locator("#settings-toggle")).to_have_accessible_name("Settings (changed)")
        await drawer(page, "settings")
        await expect(page.locator("#own-tools")).to_be_visible()
        assert await violations(page) == []
        async with page.expect_request("**/v1/generations") as sent:
            await ask(page, "hello")
        order = json.loads((await sent.value).post_data or "")
        assert order["provider"] == "other"
        assert order["fault"] == "auth"
        assert order["temperature"] == 0.5

        await page.get_by_role("button", name="Reset").click()
        await expect(page.locator("#own-tools")).to_be_hidden()
        await expect(page.locator("#settings-toggle")).to_have_accessible_name("Settings")
        drawers = {"system", "temperature", "grace", "tools", "own-tools", "likely", "fault"}
        after_reset = chosen | {name: untouched[name] for name in drawers}
        assert await reloaded(page) == after_reset
        kept = json.loads(await page.evaluate("name => localStorage.getItem(name)", SETTINGS))
        assert kept.keys() == {"provider", "waiting", "right-temperature", "right-fault"}


async def test_settings_that_cannot_be_read_or_kept_are_the_pages_own(tmp_path: Path) -> None:
    """Another page of the origin may have written them, and a browser may refuse to store any."""
    async with (
        serve(tmp_path, TWO_ENTRIES) as service,
        playground(f"http://127.0.0.1:{service.port}") as page,
    ):
        untouched = await page.evaluate(FIELDS)
        store = "([name, text]) => localStorage.setItem(name, text)"
        for stored in (*map(json.dumps, FOREIGN), "no JSON", ""):
            await page.evaluate(store, [SETTINGS, stored])
            assert await reloaded(page) == untouched, stored[:100]
        await page.add_init_script(NO_STORAGE)
        assert await reloaded(page) == untouched
        await drawer(page, "settings")
        await page.locator("#seed").fill("7")
        await expect(page.locator("#settings .hint")).to_contain_text("a reload forgets them.")
        await ask(page, "hello")
        await expect(page.locator(ANSWER)).not_to_be_empty()
        await drawer(page, "history")
        await expect(page.locator("#unkept")).to_contain_text("This browser keeps nothing")


FILL = 'room => localStorage.setItem("other", "x".repeat(5 * 1024 * 1024 - room - 5))'
"""Chromium stores five million characters for an origin, names included."""


async def test_a_conversation_too_large_to_keep_is_reported() -> None:
    answers = [(text(f"Answer {number}."), finish()) for number in range(1, 4)]
    async with on_upstream() as (service, api), playground(service.url) as page:
        api.script(*answers)
        await page.evaluate(FILL, 2000)
        await drawer(page, "history")
        await ask(page, "long " * 1000)
        await expect(page.locator(ANSWER)).to_have_text("Answer 1.")
        await expect(page.locator("#unkept")).to_have_text(
            "This conversation is too large for this browser to keep: a reload may lose it."
        )
        await expect(page.locator("#conversations .open")).to_have_count(0)
        assert await violations(page) == []

        await page.locator("#new").click()
        await expect(page.locator("#unkept")).to_be_hidden()
        await ask(page, "Short?")
        await expect(page.locator(ANSWER)).to_have_text("Answer 2.")
        await expect(page.locator("#conversations .open")).to_have_text(["Short?"])
        await expect(page.locator("#unkept")).to_be_hidden()

        await ask(page, "long " * 1000)
        await expect(page.locator(ANSWER)).to_have_text("Answer 3.")
        await expect(page.locator("#unkept")).to_be_visible()
        await page.evaluate("localStorage.removeItem('other')")
        await page.reload()
        await drawer(page, "history")
        await page.locator("#conversations .open").first.click()
        await expect(page.locator(".question").first).to_have_text("Short?")
        await expect(page.locator("#unkept")).to_be_hidden()


PATIENT = """
  const real = setTimeout;
  window.setTimeout = (call, ms, ...rest) => (ms === 1000 ? 0 : real(call, ms, ...rest));
"""
"""Let the page wait for its Markdown as long as it takes."""


async def test_a_reload_in_mid_answer_shows_no_markdown_source() -> None:
    """Also when the page can read Markdown later than it has the kept answer."""
    growing = (text("## Head\n\n", "Some **strong** words"), HOLD)
    async with on_upstream(*growing) as (service, _), playground(service.url) as page:
        await ask(page, "hello")
        await expect(page.locator(f"{ANSWER} strong")).to_have_text("strong")

        async def late(route: Route) -> None:
            await expect(page.locator("#provider option")).not_to_have_count(0)
            await route.continue_()

        await page.route("**/playground/sheet.js", late)
        await page.add_init_script(PATIENT)
        await recorded(page, "document.querySelector('.answer')?.textContent")
        await page.reload()
        await expect(page.locator(f"{ANSWER} strong")).to_have_text("strong")
        await expect(page.locator("#state")).to_have_text("open")
        seen = {it for it in await page.evaluate("seen") if it}
        assert seen
        assert not any("#" in it or "*" in it for it in seen)
