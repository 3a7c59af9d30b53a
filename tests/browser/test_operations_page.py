"""The operators' page in Chromium, on a real process: a provider that fails, a viewer that is cut, a key."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import Page, expect

from browser.pages import chromium
from browser.playground import enter_key, violations
from support.eventstream import view
from support.process import FAKE, Running, serve, write_config
from support.upstreams import status, upstream

pytestmark = [pytest.mark.browser, pytest.mark.node]

SCREENS = [(1280, 900, "light"), (1280, 900, "dark"), (360, 740, "light")]
SETTINGS = {"PROVIDER": "main", "GENERATIONS__GRACE_SECONDS": "5"}
KEY = "planted-operators-key"
PROMPT, UPSTREAM_KEY = "planted-prompt", "planted-upstream-key"


@asynccontextmanager
async def opened(service: Running, *expected: str) -> AsyncIterator[Page]:
    """Open the page; at the end, check that nothing went wrong in it.

    Args:
        service: serves it.
        expected: parts of lines in the console that may be there.
    """
    complaints: list[str] = []
    async with chromium() as page:
        page.on("pageerror", lambda error: complaints.append(f"thrown: {error}"))
        page.on("console", lambda line: complaints.append(line.text))
        await page.goto(f"http://127.0.0.1:{service.port}/operations")
        yield page
    assert [it for it in complaints if not any(part in it for part in expected)] == []


async def happenings(service: Running) -> str:
    """Let answers fail over until a circuit opens, cut a viewer and let it resume, get a refusal; return the last id."""
    answer = httpx2.Response(500)
    for _ in range(3):
        answer = await service.client.get(f"/stream-ai?prompt={PROMPT}")
        assert '"provider":"fake"' in answer.text
    generation = answer.headers["x-generation-id"]
    body = json.dumps({"prompt": PROMPT, "provider": "slow"}).encode()
    created = (await service.client.post("/v1/generations", content=body)).json()["id"]
    events = f"/v1/generations/{created}/events"
    async with view(service.port, events) as cut:
        await cut.raw_until(b'"text"')
    first = {"Last-Event-ID": f"{created}.1"}
    assert '"completed"' in (await service.client.get(events, headers=first)).text
    assert (await service.client.post("/v1/generations", content=b"{}")).status_code == 422
    return generation


async def looks_well(page: Page, width: int, height: int, scheme: Any) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    await page.emulate_media(color_scheme=scheme)
    assert await violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_page_shows_which_provider_fails_and_who_was_cut(tmp_path: Path) -> None:
    """Live, without a reload of the page; and nothing of a prompt, an answer or a key."""
    async with upstream(status(500)) as api:
        main = {
            "kind": "openai",
            "model": "gpt-test",
            "base_url": api.url,
            "attempts": 1,
            "circuit_failures": 2,
            "fallbacks": ["fake"],
        }
        slow = {**FAKE, "text": "planted-answer and more words", "words_per_second": 20.0}
        sections = {"providers.main": main, "providers.fake": FAKE, "providers.slow": slow}
        write_config(tmp_path, sections)
        environ = {"OPENAI_API_KEY": UPSTREAM_KEY}
        async with (
            serve(tmp_path, SETTINGS, environ=environ) as service,
            opened(service, "ERR_CONNECTION") as page,
        ):
            await expect(page.locator("#problems")).to_have_text("No problems.")
            generation = await happenings(service)
            await expect(page.locator("#problems")).to_contain_text(
                "main: circuit open in worker 1 since"
            )
            await expect(page.locator("#problems")).to_contain_text("provider_unavailable")
            failures = page.locator("#failures tbody tr")
            await expect(failures).to_have_count(2)
            await expect(failures.first).to_contain_text("gpt-test")
            entry = page.locator("#providers tbody tr", has_text="gpt-test")
            await expect(entry).to_contain_text("2 provider_unavailable")
            await expect(page.locator("#providers tbody")).to_contain_text("3 completed")
            await expect(page.locator("#streams")).to_contain_text("1 left")
            await expect(page.locator("#resumes")).to_have_text("1 resumed")
            await expect(page.locator("#refusals")).to_have_text("1 invalid_field")
            for plot in ("#first-token", "#gaps"):
                for side in ("upstream", "viewers"):
                    await expect(page.locator(f"{plot} rect.{side}").first).to_be_visible()
                    legend = page.locator(f"{plot} .legend .{side}")
                    await expect(legend).to_contain_text("half within")
            assert generation not in await failures.all_inner_texts()  # its circuit was open
            for screen in SCREENS:
                await looks_well(page, *screen)
                await page.screenshot(path=tmp_path / f"{screen[2]}.png", full_page=True)
            text = await page.content()
            assert not [it for it in (PROMPT, "planted-answer", UPSTREAM_KEY) if it in text]
            await pauses_with_the_keyboard(page, service)
            assert await service.terminate() == 0
            await expect(page.locator("#updated")).to_contain_text("cannot be reached")
            await expect(page.locator("main")).to_have_attribute("data-stale", "")


async def pauses_with_the_keyboard(page: Page, service: Running) -> None:
    """What moves can be stopped (WCAG 2.2.2), and nothing is asked meanwhile."""
    await page.locator("#pause").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#updated")).to_contain_text("paused")
    await service.client.get("/none")
    await expect(page.locator("#refusals")).to_have_text("1 invalid_field")
    await page.keyboard.press("Enter")
    await expect(page.locator("#refusals")).to_contain_text("1 not_found")


async def test_page_asks_for_the_operators_key_and_keeps_it_to_itself(tmp_path: Path) -> None:
    settings = {"METRICS__ACCESS": "key"}
    async with (
        serve(tmp_path, settings, environ={"METRICS_KEY": KEY}) as service,
        opened(service, "401 (Unauthorized)") as page,
    ):
        await enter_key(page, "wrong")
        await expect(page.locator("#key-problem")).to_contain_text("not valid")
        assert await violations(page) == []
        await page.locator("#key-dialog .cancel").click()
        await expect(page.locator("#pause")).to_have_text("Continue")
        await page.locator("#pause").click()
        await enter_key(page, KEY)
        await expect(page.locator("#problems")).to_have_text("No problems.")
        await expect(page.locator("#key-dialog")).to_be_hidden()
        kept = await page.evaluate(
            "document.documentElement.outerHTML + JSON.stringify([{...localStorage}, {...sessionStorage}])"
        )
        assert KEY not in kept
    assert KEY not in service.output
