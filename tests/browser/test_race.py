"""The race of two providers in the playground, used as a person uses it."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from browser.playground import EXPLAIN, playground, violations
from streamsvc.providers.fake.text import reply_to
from support.process import serve, write_config

pytestmark = [pytest.mark.browser, pytest.mark.node]

QUICK = {"kind": "fake", "words_per_second": 60.0, "first_word_seconds": 0.3, "allow_faults": True}
SLOW = {**QUICK, "words_per_second": 30.0, "first_word_seconds": 0.1}
"""It has its first word first, and ends last."""


async def figures(page: Page, lane: str) -> dict[str, str]:
    """Return the figures of a lane by their titles."""
    shown: dict[str, str] = await page.locator(f"#{lane} dl").evaluate(
        """list => Object.fromEntries([...list.children].map(
          pair => [pair.querySelector("dt").textContent, pair.querySelector("dd").textContent]))"""
    )
    return shown


async def test_two_providers_race_each_with_its_own_figures(tmp_path: Path) -> None:
    write_config(tmp_path, {"providers.quick": QUICK, "providers.slow": SLOW})
    async with (
        serve(tmp_path, {"PROVIDER": "quick"}) as service,
        playground(f"http://127.0.0.1:{service.port}") as page,
    ):
        await page.locator("#views a[href='#compare']").click()
        opened: list[str] = []
        page.on("request", lambda request: opened.append(request.url))
        await page.locator("#go").click()
        await expect(page.locator("#go")).to_have_text("Stop both")
        await expect(page.locator("#left dd").last).to_contain_text("…")
        await finished(page)
        await each_has_its_figures(page)
        assert sum(url.endswith("/events") for url in opened) == 2
        assert await violations(page) == []
        await the_same_provider_fails_with_other_settings(page)
        await stop_ends_both(page)
        await page.set_viewport_size({"width": 320, "height": 640})
        await page.emulate_media(color_scheme="dark")
        assert await violations(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") == 320


async def finished(page: Page) -> None:
    await expect(page.locator("#go")).to_have_text("Start both", timeout=30_000)


async def each_has_its_figures(page: Page) -> None:
    """The pace of each is its own; the first token and the end have their winners."""
    for lane, pace in (("left", 60), ("right", 30)):
        answer = await page.locator(f"#{lane} .answer").evaluate("e => e.textContent")
        assert "".join(answer.split()) == "".join(reply_to(EXPLAIN).split())
        shown = await figures(page, lane)
        assert float(shown["Pace"].removesuffix(" tokens / s")) == pytest.approx(pace, rel=0.3)
        assert shown["Tokens"] == f"{len(reply_to(EXPLAIN).split())} tokens"
        assert re.match(r"\d+ ms|\d\.\d s", shown["First token"])
    assert "winner" in (await figures(page, "left"))["End"]
    assert "first" in (await figures(page, "right"))["First token"]
    verdict = page.locator("#winner")
    await expect(verdict).to_contain_text("Left (quick) wins: it ended")
    await expect(verdict).to_contain_text("Right (slow) had the first token")


async def the_same_provider_fails_with_other_settings(page: Page) -> None:
    await page.locator("#right").get_by_label("Provider").select_option("quick")
    await page.locator("#right").get_by_label("Fault").select_option("cut")
    await page.locator("#go").click()
    await finished(page)
    await expect(page.locator("#winner")).to_have_text(
        "Left (quick) wins: the other has no complete answer."
    )
    await expect(page.locator("#right .problem")).not_to_be_empty()


async def stop_ends_both(page: Page) -> None:
    for lane in ("left", "right"):
        await page.locator(f"#{lane}").get_by_label("Fault").select_option("stall")
    await page.locator("#go").click()
    for lane in ("left", "right"):
        await expect(page.locator(f"#{lane} .answer")).not_to_be_empty()
    async with page.expect_response("**/stop"):
        await page.locator("#go").click()
    await finished(page)
    await expect(page.locator("#winner")).to_have_text("Stopped: there is no winner.")
    for lane in ("left", "right"):
        await expect(page.locator(f"#{lane} .note")).to_contain_text("Stopped: quick/")
    running = await page.evaluate(
        "fetch('v1/providers').then(r => r.json()).then(({providers}) => providers.map(it => it.generations))"
    )
    assert not any(running)
