"""The page of `docs/guides/plain-page.md`, unchanged, with a provider that breaks on purpose."""

from pathlib import Path

import anyio
import pytest

from browser.guide import save
from browser.pages import chromium, site
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings, FaultName
from streamsvc.config.settings import CorsSettings, Settings
from streamsvc.provider_errors import ProviderContentFiltered, ProviderUnavailable, UpstreamCut

pytestmark = pytest.mark.browser

TEXT = "One two three four."
SHOWN: dict[FaultName, tuple[str, str]] = {
    "error_once": (TEXT, ""),
    "cut_once": (TEXT, ""),
    "restart": (f"In other words: {TEXT}", ""),
    "cut": ("One two three ", UpstreamCut.message),
    "unavailable": ("", ProviderUnavailable.message),
    "content_filter": ("One two three ", "incomplete"),
    "prompt_blocked": ("", ProviderContentFiltered.message),
}
"""The final answer, and the note below it."""


@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("end:exactly-one")
async def test_a_copied_page_shows_the_documented_result_of_each_fault(
    serve: Serve, tmp_path: Path
) -> None:
    with site(tmp_path) as origin:
        cors = CorsSettings(origins=(origin,))
        for name in SHOWN:
            fake = FakeSettings(
                reply="text", text=TEXT, fault=name, words_per_second=100, backoff_seconds=0.01
            )
            service = await serve(Settings(providers={"fake": fake}, cors=cors))
            (tmp_path / name).mkdir()
            save(tmp_path / name, "page.html", service=service.url)
        with anyio.fail_after(40):
            async with chromium() as page:
                # The title changes once the page has handled its `done`.
                await page.add_init_script(
                    "const close = EventSource.prototype.close;"
                    "EventSource.prototype.close = function () {"
                    "  close.call(this); setTimeout(() => document.title = 'over');"
                    "};"
                )
                for name, shown in SHOWN.items():
                    await page.goto(f"{origin}/{name}/page.html")
                    await page.wait_for_function("document.title === 'over'")
                    texts = await page.evaluate("[answer.textContent, note.textContent]")
                    assert (name, *texts) == (name, *shown)
