"""The pages of the README and of `docs/quickstart.md` in a real browser, without any client code of ours."""

import re
from itertools import accumulate
from pathlib import Path

import anyio
import pytest

from browser.guide import files_of
from browser.pages import chromium, site
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import CorsSettings, GenerationSettings, Settings, StreamSettings
from streamsvc.providers.fake.text import words

pytestmark = pytest.mark.browser

README = Path(__file__).parents[2] / "README.md"


SEEN = """
  window.seen = [];
  addEventListener("DOMContentLoaded", () =>
    new MutationObserver(() => window.seen.push(answer.textContent)).observe(answer, {childList: true}));
"""
"""Records each text that the page shows."""


def page_of_the_readme(service_url: str) -> str:
    """Return the page of the README, with the address of a service."""
    match = re.search(r"```html\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert match
    assert "http://127.0.0.1:8000" in match[1]
    return match[1].replace("http://127.0.0.1:8000", service_url)


@pytest.mark.promise("stream:word-by-word")
@pytest.mark.promise("resume:never-regenerate")
async def test_the_pages_of_readme_and_quickstart_show_each_word_then_stop(
    serve: Serve, tmp_path: Path
) -> None:
    """After the end, it reconnects once, gets a 204, and sends nothing more."""
    fake = FakeSettings(text="One two three four five six seven.", words_per_second=10)
    with site(tmp_path) as origin:
        service = await serve(
            Settings(
                providers={"fake": fake},
                cors=CorsSettings(origins=(origin,)),
                stream=StreamSettings(retry_ms=500),
                generations=GenerationSettings(grace_seconds=30),
            )
        )
        (tmp_path / "page.html").write_text(page_of_the_readme(service.url))
        with anyio.fail_after(30):
            async with chromium() as page:
                answers: list[tuple[str, int]] = []
                page.on("response", lambda answer: answers.append((answer.url, answer.status)))
                await page.add_init_script(SEEN)
                await page.goto(f"{origin}/page.html")
                await page.wait_for_function(f"answer.textContent === {fake.text!r}")
                seen = await page.evaluate("seen")
                if 204 not in [status for _, status in answers]:
                    await page.wait_for_event("response", lambda answer: answer.status == 204)
                (tmp_path / "page.html").write_text(
                    files_of("quickstart.md")["page.html"].replace(
                        "http://127.0.0.1:8000", service.url
                    )
                )
                await page.goto(f"{origin}/page.html?quickstart")
                for _ in range(2):  # the second question closes the first stream
                    await page.fill("[name=prompt]", "Why?")
                    await page.click("text=Ask")
                    await page.wait_for_function("answer.textContent.startsWith('One two')")
                await page.wait_for_function(f"answer.textContent === {fake.text!r}")
    statuses = [status for url, status in answers if url.startswith(f"{service.url}/stream-ai")]
    assert statuses == [200, 204, 200, 200]
    assert seen == list(accumulate(words(fake.text)))
    assert len(service.log) == 3
