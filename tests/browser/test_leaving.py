"""Pages that are left by a link, in a browser that keeps them in its back/forward cache.

Playwright starts Chromium without that cache; `farm` starts it with it, as for a person.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from playwright.async_api import expect

from browser.farm import AWAY, LEAVING, Farm, browser, farm
from browser.guide import FILES, files_of, with_service
from browser.pages import bundle
from browser.playground import ANSWER, ask, drawer, on_upstream, playground
from streamsvc.config.settings import CorsSettings, GenerationSettings, Settings, StreamSettings
from support.service import Service, serving
from support.upstreams import OPENAI, Upstream, finish, text, until, upstream

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

BEFORE = [f"word{number} " for number in range(4)]
AFTER = [f"word{number} " for number in range(4, 8)]
TEXT = "".join([*BEFORE, *AFTER])

BOUND_SECONDS = 10
"""The time in which a left page must close its stream; Chromium lets a page that does not continue for 60 s."""


class Kept(NamedTuple):
    """A page, and how to get an answer on it.

    Attributes:
        files: returns its files by name.
        start: a script that asks, for a page that waits for a person.
        bundled: the file to bundle, and the name of the bundle.
        selector: selects the answer.
        hash: whether the address has the id of a generation after `#`.
    """

    files: Callable[[Service], dict[str, str]]
    start: str = ""
    bundled: tuple[str, str] | None = None
    selector: str = "#answer"
    hash: bool = False


@asynccontextmanager
async def answering(
    pages: Farm, *, grace_seconds: float
) -> AsyncIterator[tuple[Service, Upstream, anyio.Event]]:
    """Run a service whose provider sends some words, and the rest once the event is set."""
    go_on = anyio.Event()
    async with upstream(text(*BEFORE), until(go_on), text(*AFTER), finish()) as api:
        settings = Settings(
            provider="openai",
            providers={"openai": OPENAI.entry(api.url)},
            cors=CorsSettings(origins=(pages.url,)),
            stream=StreamSettings(retry_ms=500),
            generations=GenerationSettings(
                grace_seconds=grace_seconds, max_grace_seconds=max(grace_seconds, 30)
            ),
        )
        async with serving(settings, {"OPENAI_API_KEY": "sk-test"}) as service:
            yield service, api, go_on


def from_guide(
    *names: str, files: Mapping[str, str] = FILES
) -> Callable[[Service], dict[str, str]]:
    """Return files of the guide; the first one is the page."""

    def made(service: Service) -> dict[str, str]:
        return {name: with_service(files[name], service.url) for name in names}

    return made


def of_the_component(service: Service) -> dict[str, str]:
    main = """
    import { createRoot } from "react-dom/client";
    import { Question } from "./answer";
    createRoot(document.getElementById("root")).render(<Question />);
    """
    page = '<!doctype html><meta charset="utf-8"><div id="root"></div><script type="module" src="main.js"></script>'
    return {"react.html": page, "main.jsx": main, **from_guide("answer.tsx", "events.ts")(service)}


def of_use_chat(service: Service) -> dict[str, str]:
    page = '<!doctype html><meta charset="utf-8"><div id="chat"></div><script type="module" src="chat.js"></script>'
    files = files_of("guides/use-chat.md")
    return {"chat.html": page, **from_guide("chat.jsx", "transport.js", files=files)(service)}


ASK = """<script type="module">
  const field = () => document.querySelector("input");
  if (!field()) await new Promise(goOn => new MutationObserver((_, watch) => {
    if (field()) { watch.disconnect(); goOn(); }
  }).observe(document, { childList: true, subtree: true }));
  if (!sessionStorage.left) {
    const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
    set.call(field(), "Why?");
    field().dispatchEvent(new Event("input", { bubbles: true }));
    field().form.requestSubmit();
  }
</script>"""

PAGES = {
    "plain page": Kept(from_guide("page.html")),
    "conversation": Kept(from_guide("conversation.html"), start=ASK),
    "fetch": Kept(from_guide("fetch.html", "ask.js")),
    "shared worker": Kept(
        from_guide("together.html", "answers.js", "answers-worker.js"), hash=True
    ),
    "react": Kept(
        of_the_component, start=ASK, bundled=("main.jsx", "main.js"), selector="article p"
    ),
    "useChat": Kept(
        of_use_chat, start=ASK, bundled=("chat.jsx", "chat.js"), selector="p.assistant"
    ),
}
EACH = [
    pytest.param(name, marks=[pytest.mark.node] if page.bundled else [], id=name)
    for name, page in PAGES.items()
]


async def publish(pages: Farm, page: Kept, service: Service, directory: Path) -> str:
    """Serve a page from the farm; return its address."""
    files = page.files(service)
    if page.bundled is not None:
        source, output = page.bundled
        for name, text in files.items():
            (directory / name).write_text(text)
        await bundle(directory, source, output, "--alias:openai=openai6")
        files[output] = (directory / output).read_text()
    [first, *_] = files
    files[first] += page.start + LEAVING.replace("SELECTOR", page.selector)
    pages.pages.update({f"/{name}": text for name, text in files.items()})
    pages.pages["/away"] = AWAY
    fragment = ""
    if page.hash:
        made = await service.client.post("/v1/generations", json={"prompt": "x"})
        fragment = f"#{made.json()['id']}"
    return f"{pages.url}/{first}{fragment}"


DONE = """new Promise(resolve => {
  const state = document.querySelector("#state");
  const look = () => state.textContent === "done" && resolve();
  new MutationObserver(look).observe(state, { childList: true, characterData: true, subtree: true });
  look();
})"""
"""Resolves when the playground shows that the answer is complete."""


async def until_viewers(service: Service, count: int) -> None:
    """Wait until *count* viewers are connected, well before Chromium discards a kept page."""
    with anyio.fail_after(BOUND_SECONDS):
        await service.until(lambda: service.supervisor.viewers == count)


async def until_left(pages: Farm, service: Service) -> None:
    """Wait until the page has been left, and then until no viewer is connected."""
    with anyio.fail_after(40):
        await pages.until_shown("away", "here")
    await until_viewers(service, 0)


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.parametrize("name", EACH)
async def test_a_page_left_by_a_link_closes_its_stream_and_resumes(
    tmp_path: Path, name: str
) -> None:
    """The grace is longer than the test, so the page itself has closed the stream."""
    async with farm() as pages, answering(pages, grace_seconds=30) as (service, api, go_on):
        async with browser("chromium", await publish(pages, PAGES[name], service, tmp_path)):
            await until_left(pages, service)
            assert service.supervisor.running == 1
            pages.returns.set()
            with anyio.fail_after(30):
                await pages.until_shown("kept", "true")
                go_on.set()
                await pages.until_shown("page", TEXT)
        assert len(api.calls) == 1
    assert len(service.log) == 1


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.promise("resume:never-regenerate")
async def test_without_a_grace_leaving_by_a_link_ends_the_answer(tmp_path: Path) -> None:
    """The restored page says how it ended, and sends no new request."""
    async with farm() as pages, answering(pages, grace_seconds=0) as (service, api, _):
        url = await publish(pages, PAGES["plain page"], service, tmp_path)
        pages.pages["/page.html"] += """<script>
          new MutationObserver(() => tell("note", note.textContent)).observe(note, {childList: true});
        </script>"""
        async with browser("chromium", url):
            await until_left(pages, service)
            with anyio.fail_after(BOUND_SECONDS):
                await (await api.call()).closed.wait()
            pages.returns.set()
            with anyio.fail_after(30):
                await pages.until_shown("kept", "true")
                await pages.until_shown("note", "stopped")
            assert pages.shown["page"] == "".join(BEFORE)
        assert len(api.calls) == 1
    assert len(service.log) == 1


def of_openai(service: Service) -> dict[str, str]:
    page = '<!doctype html><p id="answer"></p><script type="module" src="bundled.js"></script>'
    main = """import { ask } from "./openai-page.js";
    ask([{ role: "user", content: "x" }], text => answer.textContent += text)
      .catch(error => answer.textContent = error.name);"""
    files = from_guide("openai-page.js")(service)
    files["openai-page.js"] = files["openai-page.js"].replace('"fake"', '"openai"')
    return {"openai.html": page, "main.js": main, **files}


@pytest.mark.node
@pytest.mark.promise("cancel:disconnect")
async def test_a_page_with_openais_client_closes_its_stream_and_says_so(tmp_path: Path) -> None:
    page = Kept(of_openai, bundled=("main.js", "bundled.js"))
    async with farm() as pages, answering(pages, grace_seconds=0) as (service, api, _):
        async with browser("chromium", await publish(pages, page, service, tmp_path)):
            await until_left(pages, service)
            with anyio.fail_after(BOUND_SECONDS):
                await (await api.call()).closed.wait()
            pages.returns.set()
            with anyio.fail_after(30):
                await pages.until_shown("kept", "true")
                await pages.until_shown("page", "AbortError")
        assert len(api.calls) == 1


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.needs("firefox")
async def test_firefox_closes_the_stream_and_loads_the_page_again(tmp_path: Path) -> None:
    """Firefox keeps no page with a stream; the page that it loads again follows the same answer."""
    async with farm() as pages, answering(pages, grace_seconds=30) as (service, api, go_on):
        async with browser(
            "firefox", await publish(pages, PAGES["conversation"], service, tmp_path)
        ):
            await until_left(pages, service)
            pages.returns.set()
            with anyio.fail_after(30):
                await pages.until_shown("kept", "false")
                go_on.set()
                await pages.until_shown("page", TEXT)
        assert len(api.calls) == 1
    assert len(service.log) == 1


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.promise("resume:no-gap")
async def test_the_playground_closes_its_streams_and_resumes() -> None:
    go_on = anyio.Event()
    with anyio.fail_after(60):
        async with (
            on_upstream(text(*BEFORE), until(go_on), text(*AFTER), finish()) as (service, api),
            playground(service.url, expected=["404"], keeps_pages=True) as page,
        ):
            devtools = await page.context.new_cdp_session(page)

            async def read(expression: str) -> object:
                answer = await devtools.send("Runtime.evaluate", {"expression": expression})
                value: object = answer["result"].get("value")
                return value

            has_left = anyio.Event()
            devtools.on("Page.frameNavigated", lambda _: has_left.set())
            await devtools.send("Page.enable")
            await drawer(page, "settings")
            await page.locator("#grace").select_option("30")
            await drawer(page, "lab")
            await page.locator("#raw summary").click()
            await ask(page, "hello")
            await expect(page.locator(ANSWER)).to_have_text("".join(BEFORE).strip())
            await until_viewers(service, 2)
            await page.evaluate(
                """() => {
                  const link = document.createElement("a");
                  link.href = "healthz";
                  document.body.append(link);
                  link.click();
                }"""
            )
            await until_viewers(service, 0)
            await has_left.wait()
            assert await read("location.pathname") == "/healthz"
            history = await devtools.send("Page.getNavigationHistory")
            before = history["entries"][history["currentIndex"] - 1]
            await devtools.send("Page.navigateToHistoryEntry", {"entryId": before["id"]})
            await until_viewers(service, 2)  # the driver gets no event of the page that comes back
            loaded_by = "performance.getEntriesByType('navigation')[0].type"
            assert await read("location.pathname") == "/"
            assert await read(loaded_by) == "navigate"  # loaded once more, it says "back_forward"
            go_on.set()
            await devtools.send("Runtime.evaluate", {"expression": DONE, "awaitPromise": True})
            assert await read(f"document.querySelector('{ANSWER}').textContent") == TEXT.rstrip()
            assert "event: done" in str(await read("document.querySelector('#frames').textContent"))
            assert len(api.calls) == 1
    assert len(service.log) == 1
