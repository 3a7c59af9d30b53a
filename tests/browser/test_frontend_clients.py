"""The clients of `docs/guides/fetch.md`, `react.md` and `openai-client.md`, in a real browser."""

from itertools import chain, repeat
from pathlib import Path

import pytest

from browser.guide import files_of, save
from browser.guide_pages import (
    ANSWER,
    TEXT,
    ask,
    configuration,
    ending,
    longer_than,
)
from browser.pages import bundle, opened, shown, vite
from conftest import Serve
from support.proxy import after_events, breaking_proxy, never
from support.service import Service

pytestmark = pytest.mark.browser


# ---- fetch


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("alive:ping")
@pytest.mark.parametrize("reader", ["its own", pytest.param("a library's", marks=pytest.mark.node)])
async def test_the_fetch_client_gets_every_word_once_despite_breaks(
    serve: Serve, tmp_path: Path, origin: str, reader: str
) -> None:
    service = await serve(
        configuration(
            origin, words_per_second=10, first_word_seconds=0.5, ping_seconds=0.02, grace_seconds=20
        )
    )
    cuts = chain([after_events(6), after_events(6)], repeat(never))
    async with breaking_proxy(service.port, cuts, resets=True) as proxy:
        save(tmp_path, "ask.js", "fetch.html", service=f"http://127.0.0.1:{proxy.port}")
        if reader == "a library's":
            save(tmp_path, "blocks.js", service="")
            own = (tmp_path / "ask.js").read_text()
            start, end = own.index("async function* blocks"), own.index("// What is wrong")
            theirs = 'import { blocks } from "./blocks.js";\n' + own[:start] + own[end:]
            (tmp_path / "ask.js").write_text(theirs)
            await bundle(tmp_path, "ask.js", "ask.js")
        async with opened(f"{origin}/fetch.html") as page:
            await shown(page, ANSWER, TEXT)
            assert await page.evaluate("note.textContent") == ""
        posts = [request for request in proxy.requests if request.startswith("POST")]
        assert len(posts) == 3
    assert len(service.log) == 1


@pytest.mark.promise("cancel:disconnect")
async def test_aborting_the_fetch_client_stops_the_answer(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, is_held=True))
    save(tmp_path, "ask.js", "fetch.html", service=service.url)
    async with opened(f"{origin}/fetch.html") as page:
        await longer_than(page, 0)
        async with ending(service, "no_viewers"):
            await page.click("text=Stop")
            await shown(page, "note.textContent", "stopped")


@pytest.mark.promise("input:clear-error")
async def test_the_fetch_client_shows_the_sentence_of_a_refusal(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin))
    save(tmp_path, "ask.js", "fetch.html", service=service.url)
    page_file = tmp_path / "fetch.html"
    page_file.write_text(page_file.read_text().replace("Explain streaming.", " "))
    async with opened(f"{origin}/fetch.html") as page:
        await shown(page, "note.textContent", "The prompt is empty.")


# ---- React

MAIN = """
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Question } from "./answer";

const root = createRoot(document.getElementById("root"));
window.unmount = () => root.unmount();
root.render(<StrictMode><Question /></StrictMode>);
"""
ARTICLE = "document.querySelector('article p')?.textContent"


async def save_component(directory: Path, service: Service) -> None:
    save(directory, "answer.tsx", "events.ts", service=service.url)
    (directory / "main.jsx").write_text(MAIN)
    (directory / "react.html").write_text(
        '<!doctype html><meta charset="utf-8"><div id="root"></div>'
        '<script type="module" src="main.js"></script>'
    )
    await bundle(directory, "main.jsx", "main.js")


@pytest.mark.node
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("cancel:stop")
async def test_react_in_strict_mode_makes_one_generation_and_stops_it(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, is_held=True))
    await save_component(tmp_path, service)
    async with opened(f"{origin}/react.html") as page:
        await page.evaluate(
            """() => {
              window.followed = 0;
              window.EventSource = class extends EventSource {
                constructor(url) { super(url); followed++; }
              };
            }"""
        )
        await ask(page, "   ")
        await shown(
            page, "document.querySelector('[role=alert]')?.textContent", "The content is empty."
        )
        await ask(page, "one")
        await page.wait_for_function(f"{ARTICLE}?.length > 10")
        assert await page.evaluate("followed") == 2
        await service.until(lambda: service.supervisor.viewers == 1)
        async with ending(service, "client_stop"):
            await page.click("text=Stop")
            note = "document.querySelector('article [role=status]')?.textContent"
            await shown(page, note, "stopped")
        assert len(service.log) == 1


@pytest.mark.node
async def test_react_draws_once_per_frame_and_shows_every_word(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    text = " ".join(f"word{number}" for number in range(3000))
    service = await serve(configuration(origin, text=text, words_per_second=0))
    await save_component(tmp_path, service)
    async with opened(f"{origin}/react.html") as page:
        await page.evaluate(
            """() => {
              window.draws = 0;
              new MutationObserver(() => draws++).observe(root, {
                subtree: true, childList: true, characterData: true,
              });
            }"""
        )
        await ask(page, "one")
        await shown(page, ARTICLE, text)
        assert await page.evaluate("draws") < 300


@pytest.mark.node
@pytest.mark.promise("cancel:clean")
async def test_unmounting_the_react_component_closes_its_connection(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, is_held=True))
    await save_component(tmp_path, service)
    async with opened(f"{origin}/react.html") as page:
        await ask(page, "one")
        await page.wait_for_function(f"{ARTICLE}?.length > 0")
        await page.evaluate("unmount()")
        await service.until(lambda: service.supervisor.viewers == 0)
        assert service.supervisor.running == 1  # until the grace is over


@pytest.mark.node
@pytest.mark.promise("stream:word-by-word")
async def test_the_react_page_streams_through_the_dev_server_and_stops(
    serve: Serve, tmp_path: Path
) -> None:
    """All files as they stand, with Vite; only the ports differ. An edit replaces the component alone."""
    service = await serve(configuration("", is_held=True))
    names = "index.html", "main.tsx", "answer.tsx", "events.ts", "vite.config.mjs"
    save(tmp_path, *names, service="/ai", files=files_of("guides/react.md"))
    async with vite(tmp_path, service.port) as url, opened(url) as page:
        await ask(page, "one")
        await page.wait_for_function(f"{ARTICLE}?.length > 10")
        await service.until(lambda: service.supervisor.viewers == 1)
        await page.evaluate("window.isThisPage = true")
        component = tmp_path / "answer.tsx"  # edited while an answer runs
        component.write_text(component.read_text().replace(">Stop</button>", ">Stop it</button>"))
        await page.wait_for_selector("text=Stop it")
        await page.wait_for_function(f"isThisPage && {ARTICLE}?.length > 10")
        async with ending(service, "client_stop"):
            await page.click("text=Stop it")
        await ask(page, "two")
        await page.wait_for_function(f"{ARTICLE}?.length > 10")
        await page.goto("about:blank")
        await service.until(lambda: service.supervisor.viewers == 0)


# ---- OpenAI's client


@pytest.mark.node
@pytest.mark.parametrize("package", ["openai7"])  # the same in Node.js is for both
async def test_openais_client_shows_every_word_in_a_page(
    serve: Serve, tmp_path: Path, package: str
) -> None:
    """All files of `docs/guides/openai-client.md` as they stand, with Vite; only the ports differ."""
    service = await serve(configuration(""))
    files = files_of("guides/openai-client.md")
    save(tmp_path, "index.html", "vite.config.mjs", "openai-page.js", service="/ai", files=files)
    async with vite(tmp_path, service.port, openai=package) as url, opened(url) as page:
        await ask(page, "one")
        await shown(page, ANSWER, TEXT)
        await page.route(
            "**/v1/chat/completions", lambda route: route.fulfill(status=400, body="{}")
        )
        await ask(page, "two")
        await page.wait_for_function("note.textContent.startsWith('400')")
