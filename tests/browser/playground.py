"""The playground in Chromium, as a person has it, and what went wrong in it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from playwright.async_api import Page, expect

from browser.pages import chromium
from streamsvc.config.settings import GenerationSettings, Settings, StreamSettings
from support.service import Service, serving
from support.upstreams import OPENAI, Step, Upstream, upstream

expect.set_options(timeout=15_000)

ANSWER = ".turn:last-of-type .answer"
"""Where the latest answer is."""

EXPLAIN = "Explain why streaming matters."

_WATCH_VIOLATIONS = """
  window.violations = [];
  addEventListener("securitypolicyviolation", e => violations.push(e.violatedDirective + " " + e.blockedURI));
"""


@asynccontextmanager
async def playground(
    url: str, *, expected: Sequence[str] = (), keeps_pages: bool = False
) -> AsyncIterator[Page]:
    """Open the page; in the end it must have had no error and no violation of its policy.

    What a script throws, what the console calls an error or a warning, and what the policy refuses
    count. A browser reports in the console what a service refuses: *expected* has parts of such lines.
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
        await expect(page.locator("#provider option")).not_to_have_count(0)
        yield page
        if not keeps_pages:  # one that has come back is out of the driver's reach
            complaints += await page.evaluate("window.violations ?? []")
        assert [one for one in complaints if not any(part in one for part in expected)] == []


async def ask(page: Page, prompt: str) -> None:
    """Type a question, and send it with the keyboard."""
    await page.locator("#prompt").fill(prompt)
    await page.locator("#prompt").press("Enter")


@asynccontextmanager
async def on_upstream(*steps: Step) -> AsyncIterator[tuple[Service, Upstream]]:
    """A service in front of an upstream that keeps to a script."""
    async with upstream(*steps) as api:
        settings = Settings(
            provider="openai",
            providers={"openai": OPENAI.entry(api.url)},
            stream=StreamSettings(retry_ms=500),
            generations=GenerationSettings(max_grace_seconds=30),
        )
        async with serving(settings, {"OPENAI_API_KEY": "sk-test"}) as service:
            yield service, api
