"""The code of `docs/guides/use-chat.md` and `docs/guides/plain-text.md`, unchanged, in a real browser and in a shell."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from playwright.async_api import Page

from browser.guide import DOCS, files_of, save
from browser.pages import bundle, opened, shown, site, vite
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import CorsSettings, Settings, StreamSettings
from support.service import Service

pytestmark = pytest.mark.browser

TEXT = " ".join(f"word{number}" for number in range(30)) + " <b>😀</b> done."
ANSWERS = "[...document.querySelectorAll('p.assistant')].map(p => p.textContent).join('|')"
STATUS = "document.querySelector('output').textContent"
PAGE = '<!doctype html><meta charset="utf-8"><div id="chat"></div><script type="module" src="chat.js"></script>'


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    """Serve the test's directory."""
    with site(tmp_path) as url:
        yield url


@asynccontextmanager
async def chat_page(
    serve: Serve, directory: Path, origin: str, transport: str = "use-chat.md", **fake: Any
) -> AsyncIterator[tuple[Service, Page]]:
    """Open the chat of the page, and ask a question."""
    fake = {"words_per_second": 40, "text": TEXT, "reply": "text", "backoff_seconds": 0.01, **fake}
    service = await serve(
        Settings(
            cors=CorsSettings(origins=(origin,)),
            stream=StreamSettings(ping_seconds=0.02),
            providers={"fake": FakeSettings(**fake)},
        )
    )
    save(directory, "chat.jsx", service="", files=files_of("guides/use-chat.md"))
    save(directory, "transport.js", service=service.url, files=files_of(f"guides/{transport}"))
    (directory / "chat.html").write_text(PAGE)
    await bundle(directory, "chat.jsx", "chat.js")
    async with opened(f"{origin}/chat.html") as page:
        await page.fill("input", "Hello")
        await page.click("text=Send")
        yield service, page


@pytest.mark.node
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
async def test_use_chat_continues_after_a_reload_with_one_message(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    async with chat_page(serve, tmp_path, origin) as (service, page):
        await page.wait_for_function(f"{ANSWERS}.length > 60")
        await page.reload()
        await shown(page, ANSWERS, TEXT)
        await shown(page, STATUS, "ready")
        await page.reload()  # a second reload, after the end
        await shown(page, STATUS, "ready")
        await shown(page, ANSWERS, TEXT)
        await page.fill("input", "Again")
        await page.click("text=Send")
        await shown(page, ANSWERS, f"{TEXT}|{TEXT}")
    assert len(service.log) == 2


@pytest.mark.node
@pytest.mark.promise("cancel:stop")
async def test_the_stop_button_of_use_chat_works_through_the_dev_server(
    serve: Serve, tmp_path: Path
) -> None:
    """All files as they stand, with Vite; only the ports differ."""
    fake = FakeSettings(words_per_second=5, text=TEXT, reply="text")
    service = await serve(Settings(providers={"fake": fake}))
    files = files_of("guides/use-chat.md")
    names = "index.html", "vite.config.mjs", "transport.js", "chat.jsx"
    save(tmp_path, *names, service="/ai", files=files)
    async with vite(tmp_path, service.port) as url, opened(url) as page:
        await page.fill("input", "Hello")
        await page.click("text=Send")
        await page.wait_for_function(f"{ANSWERS}.length > 5")
        [generation] = service.directory.running_here
        await page.click("text=Stop")
        await generation.wait_ended()
        snapshot = (await service.client.get(f"/v1/generations/{generation.id}")).json()
        assert snapshot["outcome"] == "client_stop"
        await shown(page, STATUS, "ready")


@pytest.mark.node
async def test_after_a_restart_use_chat_shows_only_the_new_answer(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    async with chat_page(serve, tmp_path, origin, fault="restart") as (service, page):
        await page.wait_for_function(f"{ANSWERS}.endsWith('done.')")
        await shown(page, STATUS, "ready")
        await shown(page, ANSWERS, f"In other words: {TEXT}")
    assert len(service.log) == 1


@pytest.mark.node
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("fault", ["none", "cut"])
async def test_the_page_works_with_the_plain_text_transport(
    serve: Serve, tmp_path: Path, origin: str, fault: str
) -> None:
    async with chat_page(serve, tmp_path, origin, "plain-text.md", fault=fault, attempts=1) as (_, page):  # fmt: skip
        if fault == "none":
            await shown(page, ANSWERS, TEXT)
        await shown(page, STATUS, "ready" if fault == "none" else "error")


async def test_the_commands_of_the_page_on_plain_text_print_the_answer(serve: Serve) -> None:
    service = await serve(Settings(providers={"fake": FakeSettings(words_per_second=0)}))
    page = (DOCS / "guides" / "plain-text.md").read_text()
    commands = re.findall(r"^curl .*http://127.*$", page, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        with anyio.fail_after(10):
            process = await asyncio.create_subprocess_shell(
                command.replace("http://127.0.0.1:8000", service.url),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
        assert (process.returncode, output.decode()) == (0, FakeSettings().text)


async def test_the_exit_code_of_curl_reports_a_cut_answer(serve: Serve) -> None:
    fake = FakeSettings(words_per_second=0, fault="cut", attempts=1)
    service = await serve(Settings(providers={"fake": fake}))
    with anyio.fail_after(10):
        process = await asyncio.create_subprocess_exec(
            "curl", "-NsS", f"{service.url}/stream-ai?prompt=hello&format=plain",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
    assert process.returncode == 18
    assert FakeSettings().text.startswith(output.decode())
