"""The playground with a keyboard, a screen reader, a phone, and in the dark."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from browser.playground import (
    ANSWER,
    EXPLAIN,
    ask,
    drawer,
    example,
    on_upstream,
    playground,
    violations,
)
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings
from support.upstreams import HOLD, text

pytestmark = pytest.mark.browser

DOCS = Path(__file__).parents[2] / "docs"
CODE = "Write code"

SIZES = {"desktop": (1280, 900), "phone": (360, 740)}


def quick() -> Settings:
    return Settings(
        providers={"fake": FakeSettings(words_per_second=20, reasoning="Let me think.")}
    )


@pytest.mark.node
@pytest.mark.parametrize(("size", "scheme"), [*zip(SIZES, ("dark", "light"), strict=True)])
async def test_axe_finds_nothing_before_during_and_after_an_answer(
    serve: Serve, size: str, scheme: Any
) -> None:
    """The rules cover labels, roles, contrast and focus: the parts of WCAG 2 that a machine can check."""
    service = await serve(quick())
    async with playground(service.url) as page:
        width, height = SIZES[size]
        await page.set_viewport_size({"width": width, "height": height})
        await page.emulate_media(color_scheme=scheme)
        assert await violations(page) == []
        await drawer(page, "lab")
        await page.locator("#raw summary").click()
        await ask(page, CODE)
        await expect(page.locator(f"{ANSWER} figure")).to_have_count(1)
        await page.locator("#second").click()
        await page.locator("#cut").click()
        await expect(page.locator(".turn")).to_have_attribute("aria-busy", "true")
        assert await violations(page) == []
        await page.locator("#views a[href='#compare']").click()
        await page.get_by_label("Waiting and streaming").check()
        await page.locator("#go").click()
        await expect(page.locator("#state")).to_have_text("done")
        await expect(page.locator("#verdict")).to_contain_text("times less")
        assert await violations(page) == []
        await page.locator("#views a[href='#chat']").click()
        await drawer(page, "history")
        assert await violations(page) == []


@pytest.mark.node
@pytest.mark.parametrize(("size", "scheme"), [*zip(SIZES, ("light", "dark"), strict=True)])
async def test_axe_finds_nothing_with_tools_schemas_images_and_settings(
    serve: Serve, size: str, scheme: Any
) -> None:
    service = await serve(Settings(providers={"fake": FakeSettings(words_per_second=4)}))
    async with playground(service.url) as page:
        width, height = SIZES[size]
        await page.set_viewport_size({"width": width, "height": height})
        await page.emulate_media(color_scheme=scheme)
        await drawer(page, "settings")
        await page.locator("#likely").check()
        await page.locator("#image").set_input_files([DOCS / "operate" / "operations.png"])
        await expect(page.locator("#images li")).to_have_count(1)
        await page.locator("#tools").select_option("own")
        await page.locator("#format").select_option("own")
        assert await violations(page) == []
        await page.locator("#settings-toggle").click()
        await example(page, "Call a tool")
        await page.locator(".draft code").first.wait_for()
        assert await violations(page) == []
        await expect(page.locator(".results textarea")).to_have_count(2)
        assert await violations(page) == []
        await example(page, "Fill a JSON Schema")
        await expect(page.locator(".check")).to_have_count(1)
        await page.locator(".likely summary").last.click()
        assert await violations(page) == []


async def test_no_element_is_wider_than_the_screen(serve: Serve) -> None:
    service = await serve(quick())
    async with playground(service.url) as page:

        async def wider() -> list[int]:
            """Return the widths of screens on which the page has to be scrolled sideways."""
            widths = []
            for width in (320, 390, 768, 1280):
                await page.set_viewport_size({"width": width, "height": 800})
                if await page.evaluate("document.documentElement.scrollWidth") > width:
                    widths.append(width)
            return widths

        await ask(page, CODE)
        await drawer(page, "lab")
        await page.locator("#raw summary").click()
        await page.locator("#second").click()
        await expect(page.locator("#state")).to_have_text("done")
        assert await wider() == []
        await drawer(page, "settings")
        await page.locator("#likely").check()
        await example(page, "Call a tool")
        await expect(page.locator(".results")).to_have_count(1)
        await page.locator("#tools").select_option("own")
        await page.locator("#format").select_option("own")
        assert await wider() == []


async def test_everything_works_with_the_keyboard(serve: Serve) -> None:
    """Tab reaches all controls in the order of the page, and the focus is visible."""
    service = await serve(quick())
    async with playground(service.url) as page:
        assert await page.evaluate("document.activeElement.id") == "prompt"
        await page.locator("#skip").focus()
        reached = []
        for _ in range(30):
            await page.keyboard.press("Tab")
            name, has_outline = await page.evaluate("""() => {
              const at = document.activeElement;
              const name = at.id || at.dataset?.prompt || at.getAttribute("aria-label") || at.tagName;
              return [name, getComputedStyle(at).outlineWidth === "3px"];
            }""")
            if name in {"BODY", "HTML"}:
                break
            assert has_outline, name
            reached.append(name)
        wanted = [
            *("history-toggle", "new", "conversation", EXPLAIN, "lab-toggle"),
            *("prompt", "add-image", "provider", "settings-toggle", "send"),
        ]
        assert [name for name in reached if name in wanted] == wanted
        await page.locator("#skip").focus()
        await page.keyboard.press("Enter")
        await page.keyboard.type("two")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("lines")
        await page.keyboard.press("Enter")
        await expect(page.locator("#state")).to_have_text("done")
        assert await page.locator(".question").evaluate("e => e.textContent") == "two\nlines"


async def test_a_button_that_becomes_disabled_passes_the_focus_on() -> None:
    async with on_upstream(text("one "), HOLD) as (service, _), playground(service.url) as page:

        async def focused() -> str:
            name: str = await page.evaluate("document.activeElement.id")
            return name

        await page.locator("#prompt").fill("hello")
        await page.locator("#send").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(ANSWER)).to_have_text("one")
        assert await focused() == "prompt"
        await drawer(page, "lab")
        for pressed, then in (("leave", "again"), ("again", "prompt"), ("stop", "prompt")):
            await page.locator(f"#{pressed}").focus()
            await page.keyboard.press("Enter")
            await expect(page.locator(f"#{pressed}")).to_be_disabled()
            assert await focused() == then
            if pressed == "again":
                await expect(page.locator("#state")).to_have_text("open")


async def test_a_screen_reader_announces_begin_and_end_only(
    serve: Serve,
) -> None:
    service = await serve(quick())
    async with playground(service.url) as page:
        await page.evaluate("""() => {
          window.heard = [];
          for (const region of document.querySelectorAll("[role=status], [role=alert], [aria-live]")) {
            if (region.getAttribute("aria-live") === "off") continue;
            new MutationObserver(() => heard.push(region.textContent))
              .observe(region, {childList: true, characterData: true, subtree: true});
          }
        }""")
        await ask(page, EXPLAIN)
        await expect(page.locator(".turn")).to_have_attribute("aria-busy", "true")
        await drawer(page, "lab")
        await page.locator("#cut").click()
        await expect(page.locator(".seam")).to_have_count(1)
        await page.locator("#leave").click()
        await page.locator("#again").click()
        await expect(page.locator("#state")).to_have_text("done")
        await expect(page.locator(".turn")).not_to_have_attribute("aria-busy", "true")
        heard = [text for text in await page.evaluate("heard") if text]
    assert heard[0] == "Answering."
    assert heard[-1].startswith("The answer has 1")
    assert "Complete" in heard[-1]
    assert len(heard) <= 10, heard  # although there are more than a hundred words
