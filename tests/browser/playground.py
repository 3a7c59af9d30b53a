"""The playground in Chromium, with a check for errors in the page."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect

from browser.pages import chromium
from streamsvc.config.settings import GenerationSettings, Settings, StreamSettings
from support.service import Service, serving
from support.upstreams import OPENAI, Step, Upstream, upstream

expect.set_options(timeout=15_000)

AXE = Path(__file__).parents[1] / "clients" / "node_modules" / "axe-core" / "axe.min.js"

ANSWER = ".turn:last-of-type .answer"
"""Selects the latest answer."""

EXPLAIN = "Explain why streaming matters."

_WATCH_VIOLATIONS = """
  window.violations = [];
  addEventListener("securitypolicyviolation", e => violations.push(e.violatedDirective + " " + e.blockedURI));
"""


@asynccontextmanager
async def playground(
    url: str, *, expected: Sequence[str] = (), keeps_pages: bool = False, key: str = ""
) -> AsyncIterator[Page]:
    """Open the page; at the end, check that it had no error and no violation of its policy.

    Exceptions, errors and warnings in the console, and violations of the policy count. A browser also reports refused
    requests in the console: *expected* has parts of such lines. A *key* is entered when the page asks for one.
    """
    async with chromium(keeps_pages=keeps_pages) as page:
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(f"thrown: {error}"))
        page.on(
            "console",
            lambda line: (
                complaints.append(f"{line.type}: {line.text}")
                if line.type in {"error", "warning"}
                else None
            ),
        )
        await page.add_init_script(_WATCH_VIOLATIONS)
        await page.goto(f"{url}/")
        if key:
            await enter_key(page, key)
        try:
            await expect(page.locator("#provider option")).not_to_have_count(0)
        except AssertionError as exc:
            raise AssertionError(f"the page has not started: {complaints}") from exc
        yield page
        if not keeps_pages:  # the driver cannot reach a restored page
            complaints += await page.evaluate("window.violations ?? []")
        assert [one for one in complaints if not any(part in one for part in expected)] == []


async def enter_key(page: Page, key: str) -> None:
    """Wait until the page asks for a key, and enter one."""
    await page.locator("#key-dialog").wait_for()
    await page.locator("#key").fill(key)
    await page.locator("#key").press("Enter")


async def violations(page: Page) -> list[str]:
    """Check the page with axe; return each finding in one line."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = await page.evaluate("axe.run().then(result => result.violations)")
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


async def ask(page: Page, prompt: str) -> None:
    """Type a question, and send it with the keyboard."""
    await page.locator("#prompt").fill(prompt)
    await page.locator("#prompt").press("Enter")


async def drawer(page: Page, name: str) -> None:
    """Open a drawer (`lab`, `settings` or `history`), if it is not open."""
    toggle = page.locator(f"#{name}-toggle")
    if await toggle.get_attribute("aria-expanded") == "false":
        await toggle.click()


async def example(page: Page, name: str) -> None:
    """Ask one of the examples of an empty conversation, after a new one if need be."""
    if await page.locator(".question").count():
        await page.locator("#new").click()
    await page.get_by_role("button", name=name).click()


@asynccontextmanager
async def on_upstream(*steps: Step) -> AsyncIterator[tuple[Service, Upstream]]:
    """Run a service with a scripted upstream."""
    async with upstream(*steps) as api:
        settings = Settings(
            provider="openai",
            providers={"openai": OPENAI.entry(api.url)},
            stream=StreamSettings(retry_ms=500),
            generations=GenerationSettings(max_grace_seconds=30),
        )
        async with serving(settings, {"OPENAI_API_KEY": "sk-test"}) as service:
            yield service, api
