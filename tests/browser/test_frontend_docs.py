"""Everything that `docs/frontend.md` tells people to write, in a real browser."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Literal

import anyio
import msgspec
import pytest
from playwright.async_api import Page, Route

from browser.guide import FENCES, FILES, save
from browser.pages import bundle, chromium, opened, shown, site
from browser.proxies import PROXIES, reverse_proxy
from conftest import Serve
from streamsvc.config.settings import (
    CorsSettings,
    FakeSettings,
    GenerationSettings,
    Settings,
    StreamSettings,
)
from streamsvc.events import Status
from support.parts import each, find
from support.proxy import after_events, breaking_proxy, never
from support.service import Service, serving
from support.upstreams import OPENAI, finish, text, upstream
from support.upstreams import until as until_set

pytestmark = pytest.mark.browser

TEXT = " ".join(f"word{number}" for number in range(20)) + " <b>😀</b>\r\n\u2028 done."
ANSWER = "answer.textContent"
OUT_OF_REACH = "The service cannot be reached, or this page's origin is not in cors.origins."


def configuration(
    origin: str,
    *,
    reply: Literal["text", "echo"] = "text",
    text: str = TEXT,
    words_per_second: float = 40,
    first_word_seconds: float = 0.1,
    first_token_seconds: float = 60,
    ping_seconds: float = 15,
    grace_seconds: float = 0,
    is_held: bool = False,
) -> Settings:
    """Return settings; an answer that is held says a few words, and then nothing."""
    return Settings(
        cors=CorsSettings(origins=(origin,) if origin else ()),
        stream=StreamSettings(retry_ms=500, ping_seconds=ping_seconds),
        generations=GenerationSettings(grace_seconds=grace_seconds),
        providers={
            "fake": FakeSettings(
                reply=reply,
                text=text,
                words_per_second=words_per_second,
                first_word_seconds=first_word_seconds,
                first_token_seconds=first_token_seconds,
                fault="stall" if is_held else "none",
                fault_after_words=8,
            )
        },
    )


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    """Serve the test's directory."""
    with site(tmp_path) as url:
        yield url


async def longer_than(page: Page, count: int) -> None:
    """Wait until the answer has more than so many characters."""
    await page.wait_for_function(f"{ANSWER}.length > {count}")


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a fact of the service that is no event to anybody."""
    while not is_so():  # noqa: ASYNC110
        await anyio.sleep(0.01)


@asynccontextmanager
async def ending(service: Service, outcome: str) -> AsyncIterator[None]:
    """Wait behind the block for the end of the one generation that runs, and look at its outcome."""
    [generation] = service.directory.running_here
    yield
    await generation.wait_ended()
    snapshot = (await service.client.get(f"/v1/generations/{generation.id}")).json()
    assert snapshot["outcome"] == outcome


@asynccontextmanager
async def speaking(origin: str) -> AsyncIterator[tuple[Service, anyio.Event]]:
    """Start a service whose provider says a few words, and the rest when an event is set."""
    words = re.findall(r"\S+\s*", TEXT)
    go_on = anyio.Event()
    script = text(*words[:8]), until_set(go_on), text(*words[8:]), finish()
    async with upstream(*script) as api:
        entry = {"fake": OPENAI.entry(api.url)}
        settings = msgspec.structs.replace(configuration(origin), providers=entry)
        async with serving(settings, {}) as service:
            yield service, go_on


async def create(service: Service, **fields: object) -> str:
    answer = await service.client.post("/v1/generations", json={"prompt": "x", **fields})
    generation_id: str = answer.json()["id"]
    return generation_id


def test_every_block_of_the_page_is_a_file_with_a_name_and_each_is_tested() -> None:
    tests = Path(__file__).read_text() + Path(__file__).with_name("proxies.py").read_text()
    assert len(FILES) == FENCES
    assert [name for name in FILES if f'"{name}"' not in tests] == []


def test_the_page_says_what_to_show_for_every_status() -> None:
    page = (Path(__file__).parents[2] / "docs" / "frontend.md").read_text()
    table = page.partition("| `done` | what to show |")[2]
    assert [status for status in Status if f"| `{status.value}`" not in table] == []


# ---- One step


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
async def test_the_page_of_one_step_survives_a_break_says_so_and_rests_at_the_end(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, grace_seconds=20))
    cuts = chain([after_events(4)], repeat(never))
    async with breaking_proxy(service.port, cuts) as proxy:
        save(tmp_path, "one-step.html", service=f"http://127.0.0.1:{proxy.port}")
        async with opened(f"{origin}/one-step.html") as page:
            await shown(
                page, "note.textContent", "The connection is lost; it comes back by itself."
            )
            await shown(page, ANSWER, TEXT)
            await shown(page, "note.textContent", "")
        assert len(proxy.requests) == 2
    assert len(service.log) == 1


async def test_the_page_of_one_step_says_what_went_wrong(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, first_word_seconds=30, first_token_seconds=0.1))
    save(tmp_path, "one-step.html", service=service.url)
    async with opened(f"{origin}/one-step.html") as page:
        sentence = "The provider took too long (first token deadline)."
        await shown(page, "note.textContent", sentence)


async def test_the_page_of_one_step_gives_up_where_there_is_no_stream(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(""))
    save(tmp_path, "one-step.html", service=service.url)
    async with opened(f"{origin}/one-step.html") as page:
        await shown(
            page,
            "note.textContent",
            "No answer: the service refused, or this page's origin is not in cors.origins.",
        )
    assert len(service.log) == 0


# ---- Two steps


async def ask(page: Page, question: str) -> None:
    await page.fill("[name=question]", question)
    await page.click("text=Ask")


async def test_a_conversation_sends_what_was_said_and_shows_each_answer(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, reply="echo"))
    save(tmp_path, "conversation.html", service=service.url)
    async with opened(f"{origin}/conversation.html") as page:
        asked: list[str | None] = []
        page.on("request", lambda request: asked.append(request.post_data))
        await ask(page, "   ")
        await shown(page, "note.textContent", "The content is empty.")
        for question in ("one", "two <b>2</b>", "three"):
            await ask(page, question)
            await shown(page, ANSWER, question)
    assert len(service.log) == 3
    last = json.loads([body for body in asked if body][-1])
    said = [(message["role"], message["content"]) for message in last["messages"]]
    assert said == [
        ("user", "one"), ("assistant", "one"),
        ("user", "two <b>2</b>"), ("assistant", "two <b>2</b>"),
        ("user", "three"),
    ]  # fmt: skip


@pytest.mark.promise("resume:never-regenerate")
async def test_a_conversation_survives_a_reload_in_its_middle_and_after_its_end(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, words_per_second=10))
    save(tmp_path, "conversation.html", service=service.url)
    async with opened(f"{origin}/conversation.html") as page:
        await ask(page, "one")
        await longer_than(page, 20)
        await page.reload()
        await shown(page, ANSWER, TEXT)
        await page.reload()
        await shown(page, ANSWER, TEXT)
    assert len(service.log) == 1


@pytest.mark.promise("cancel:stop")
async def test_the_stop_button_ends_the_answer_though_it_has_a_grace(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, is_held=True))
    save(tmp_path, "conversation.html", service=service.url)
    async with opened(f"{origin}/conversation.html") as page:
        await ask(page, "one")
        await longer_than(page, 0)
        async with ending(service, "client_stop"):
            await page.click("text=Stop")
            await shown(page, "note.textContent", "stopped")


@pytest.mark.promise("resume:never-regenerate")
async def test_a_question_whose_answer_got_lost_on_the_way_is_asked_again_and_made_once(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    """The service gets the POST; the page is told that the network failed, and the person tries again."""
    service = await serve(configuration(origin))
    save(tmp_path, "conversation.html", service=service.url)

    async def lose_the_answer(route: Route) -> None:
        await route.fetch()
        await route.abort()

    async with opened(f"{origin}/conversation.html") as page:
        await page.route("**/v1/generations", lose_the_answer, times=1)
        await ask(page, "one")
        await shown(page, "note.textContent", OUT_OF_REACH)
        assert len(service.log) == 1
        await page.click("text=Ask")
        await shown(page, ANSWER, TEXT)
    assert len(service.log) == 1


@pytest.mark.promise("cancel:stop")
async def test_a_page_that_is_left_stops_its_answer_by_beacon(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, is_held=True))
    save(tmp_path, "conversation.html", service=service.url)
    page_file = tmp_path / "conversation.html"
    page_file.write_text(
        page_file.read_text().replace("</script>", FILES["leaving.js"] + "</script>")
    )
    async with opened(f"{origin}/conversation.html") as page:
        await ask(page, "one")
        await longer_than(page, 0)
        async with ending(service, "client_stop"):
            await page.goto("about:blank")


# ---- fetch


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("alive:ping")
@pytest.mark.parametrize("reader", ["its own", pytest.param("a library's", marks=pytest.mark.node)])
async def test_the_fetch_client_has_every_word_once_over_keepalives_and_breaks(
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
    page_file.write_text(page_file.read_text().replace("Why stream?", " "))
    async with opened(f"{origin}/fetch.html") as page:
        await shown(page, "note.textContent", "The prompt is empty.")


# ---- React

MAIN = """
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Question } from "./answer.jsx";

const root = createRoot(document.getElementById("root"));
window.unmount = () => root.unmount();
root.render(<StrictMode><Question /></StrictMode>);
"""
ARTICLE = "document.querySelector('article p')?.textContent"


async def save_component(directory: Path, service: Service) -> None:
    save(directory, "answer.jsx", service=service.url)
    (directory / "main.jsx").write_text(MAIN)
    (directory / "react.html").write_text(
        '<!doctype html><meta charset="utf-8"><div id="root"></div>'
        '<script type="module" src="main.js"></script>'
    )
    await bundle(directory, "main.jsx", "main.js")


@pytest.mark.node
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("cancel:stop")
async def test_the_react_component_in_strict_mode_makes_one_generation_and_stops_it(
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
        await until(lambda: service.supervisor.viewers == 1)
        async with ending(service, "client_stop"):
            await page.click("text=Stop")
            note = "document.querySelector('article [role=status]')?.textContent"
            await shown(page, note, "stopped")
        assert len(service.log) == 1


@pytest.mark.node
async def test_the_react_component_draws_once_a_frame_and_shows_every_word(
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
        await until(lambda: service.supervisor.viewers == 0)
        assert service.supervisor.running == 1  # for as long as the grace


# ---- OpenAI's client


@pytest.mark.node
@pytest.mark.parametrize("package", ["openai6", "openai7"])
async def test_the_client_of_openai_shows_every_word_in_a_page(
    serve: Serve, tmp_path: Path, origin: str, package: str
) -> None:
    service = await serve(configuration(origin))
    save(tmp_path, "openai-page.js", service=service.url)
    (tmp_path / "main.js").write_text(
        """import { ask } from "./openai-page.js";
        ask([{ role: "user", content: "x" }], text => answer.textContent += text);"""
    )
    (tmp_path / "openai.html").write_text(
        '<!doctype html><meta charset="utf-8"><p id="answer"></p>'
        '<script type="module" src="bundled.js"></script>'
    )
    await bundle(tmp_path, "main.js", "bundled.js", f"--alias:openai={package}")
    async with opened(f"{origin}/openai.html") as page:
        await shown(page, ANSWER, TEXT)


# ---- Six connections

STREAMS = """<!doctype html><script>
  const seen = [];
  const open = (url, count) => {
    for (let number = 0; number < count; number++) {
      const source = new EventSource(`${url}/stream-ai?prompt=x`);
      source.addEventListener("start", () => seen.push("start"));
      source.addEventListener("done", () => { source.close(); seen.push("done"); });
    }
  };
</script>"""


async def test_over_http_1_the_seventh_stream_of_a_page_waits_for_the_end_of_another(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, words_per_second=8))
    (tmp_path / "streams.html").write_text(STREAMS)
    async with opened(f"{origin}/streams.html") as page:
        await page.evaluate(f"open('{service.url}', 7)")
        await page.wait_for_function("seen.length === 14")
        seen = await page.evaluate("seen")
    assert seen[:7] == ["start"] * 6 + ["done"]


@pytest.mark.promise("stream:word-by-word")
@pytest.mark.promise("cancel:disconnect")
@pytest.mark.needs("openssl")
@pytest.mark.parametrize("name", each(PROXIES))
async def test_behind_a_proxy_with_http_2_more_than_six_streams_flow_at_once(
    serve: Serve, tmp_path: Path, name: str
) -> None:
    """Word by word, under a prefix, on the page's own origin; and leaving the page ends them."""
    count = 8 if name == "lighttpd" else 12  # as many as it takes on a connection
    service = await serve(configuration("", is_held=True))
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "streams.html").write_text(STREAMS)
    save(pages, "one-step.html", service="/ai")
    async with reverse_proxy(name, tmp_path, site=pages, service_port=service.port) as proxy:
        url = proxy.url
        with anyio.fail_after(40):
            async with chromium("--ignore-certificate-errors") as page:
                await page.goto(f"{url}/one-step.html")
                early = await page.wait_for_function(f"{ANSWER}.length > 10 && {ANSWER}")
                text = await early.json_value()
                assert TEXT.startswith(text)
                assert text != TEXT
                await page.goto(f"{url}/streams.html")
                await until(lambda: service.supervisor.running == 0)
                await page.evaluate(f"open('/ai', {count})")
                await page.wait_for_function(f"seen.length === {count}")
                assert set(await page.evaluate("seen")) == {"start"}
                assert service.supervisor.viewers == count
                kinds = "[performance.getEntriesByType('navigation')[0].nextHopProtocol]"
                assert await page.evaluate(kinds) == ["h2"]
                await page.goto("about:blank")
                await until(lambda: service.supervisor.running == 0)


@pytest.mark.promise("fan-out:shared")
async def test_tabs_share_one_connection_through_the_worker_until_the_last_has_left(
    tmp_path: Path, origin: str
) -> None:
    async with speaking(origin) as (service, go_on):
        await share(service, go_on, tmp_path, origin)


async def share(service: Service, go_on: anyio.Event, tmp_path: Path, origin: str) -> None:
    save(tmp_path, "answers.js", "answers-worker.js", "together.html", service=service.url)
    generation_id = await create(service)
    url = f"{origin}/together.html#{generation_id}"
    async with opened(url) as first:
        await longer_than(first, 10)
        second = await first.context.new_page()
        await second.goto(url)
        await longer_than(second, 20)
        assert service.supervisor.viewers == 1
        await first.close()
        third = await second.context.new_page()
        await third.goto(url)
        await longer_than(third, 20)
        go_on.set()
        await shown(third, ANSWER, TEXT)
        await shown(second, ANSWER, TEXT)
        await shown(second, "note.textContent", "completed")


@pytest.mark.promise("cancel:disconnect")
async def test_when_the_last_tab_of_the_worker_has_left_the_answer_ends(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, is_held=True))
    save(tmp_path, "answers.js", "answers-worker.js", "together.html", service=service.url)
    # A tab that shows nothing keeps the worker itself alive.
    (tmp_path / "idle.html").write_text(
        "<script type=module>new SharedWorker('answers-worker.js', {type: 'module'});</script>"
    )
    generation_id = await create(service)
    async with opened(f"{origin}/idle.html") as idle:
        tabs = []
        for _ in range(2):
            tab = await idle.context.new_page()
            await tab.goto(f"{origin}/together.html#{generation_id}")
            await longer_than(tab, 0)
            tabs.append(tab)
        async with ending(service, "no_viewers"):
            for tab in tabs:
                assert service.supervisor.viewers == 1
                await tab.close()


@pytest.mark.promise("fan-out:shared")
async def test_where_there_is_no_shared_worker_each_tab_has_its_own_connection(
    tmp_path: Path, origin: str
) -> None:
    async with speaking(origin) as (service, go_on):
        await watch_apart(service, go_on, tmp_path, origin)


async def watch_apart(service: Service, go_on: anyio.Event, tmp_path: Path, origin: str) -> None:
    save(tmp_path, "answers.js", "answers-worker.js", "together.html", service=service.url)
    generation_id = await create(service)
    async with opened("about:blank") as first:
        await first.context.add_init_script("delete globalThis.SharedWorker")
        second = await first.context.new_page()
        for tab in (first, second):
            await tab.goto(f"{origin}/together.html#{generation_id}")
            await longer_than(tab, 0)
        assert service.supervisor.viewers == 2
        go_on.set()
        for tab in (first, second):
            await shown(tab, ANSWER, TEXT)
            await shown(tab, "note.textContent", "completed")
    assert len(service.log) == 1


async def test_an_answer_that_is_gone_is_said_to_be_so_through_the_worker(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin))
    save(tmp_path, "answers.js", "answers-worker.js", "together.html", service=service.url)
    async with opened(f"{origin}/together.html#gen_unknown") as page:
        await shown(page, "note.textContent", "This answer is no longer available.")


# ---- What stands between


@pytest.mark.needs("node")
async def test_the_dev_server_takes_the_prefix_off(tmp_path: Path) -> None:
    """Its configuration is read as Vite reads it; Vite itself is no part of the tests."""
    (tmp_path / "vite.config.mjs").write_text(FILES["vite.config.js"])
    read = """import config from "./vite.config.mjs";
    const [[prefix, { target, rewrite }]] = Object.entries(config.server.proxy);
    console.log(prefix, target + rewrite("/ai/v1/generations?x=/ai/"));"""
    process = await asyncio.create_subprocess_exec(
        find("node"), "--input-type=module", "--eval", read,
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert output == b"/ai http://127.0.0.1:8000/v1/generations?x=/ai/\n"


async def test_the_content_security_policy_lets_the_service_through_and_nothing_else(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin))
    named = FILES["Content-Security-Policy"].partition("\n")[2].strip()
    assert "https://words.example.com" in named
    named = named.replace("https://words.example.com", service.url)
    policies = {"named.html": named, "unnamed.html": named.replace(service.url, "")}
    for name, policy in policies.items():
        (tmp_path / name).write_text(
            f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<p id="answer"></p><script src="page.js"></script>'
        )
    (tmp_path / "page.js").write_text(
        f"""const source = new EventSource("{service.url}/stream-ai?prompt=x");
        source.onmessage = e => answer.textContent += JSON.parse(e.data).text;
        source.addEventListener("done", () => source.close());
        source.onerror = () => answer.textContent = source.readyState;"""
    )
    async with opened(f"{origin}/unnamed.html") as page:
        await page.wait_for_selector("text=2")  # closed
        assert len(service.log) == 0
        await page.goto(f"{origin}/named.html")
        await page.wait_for_selector("text=done.")
        assert await page.text_content("#answer") == TEXT


async def test_a_page_of_another_origin_cannot_ask_with_credentials(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin))
    (tmp_path / "page.html").write_text("<!doctype html>")
    async with opened(f"{origin}/page.html") as page:
        state = await page.evaluate(
            """url => new Promise(resolve => {
              const source = new EventSource(url, {withCredentials: true});
              source.onerror = () => resolve(source.readyState);
            })""",
            f"{service.url}/stream-ai?prompt=x",
        )
        assert state == 2  # closed
        failed = "url => fetch(url, {credentials: 'include'}).then(() => '', error => error.name)"
        assert await page.evaluate(failed, f"{service.url}/v1/providers") == "TypeError"


async def test_the_service_worker_lets_streams_pass(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin))
    save(tmp_path, "one-step.html", "service-worker.js", service=service.url)
    async with opened(f"{origin}/one-step.html") as page:
        await page.evaluate(
            "navigator.serviceWorker.register('service-worker.js')"
            ".then(() => navigator.serviceWorker.ready)"
        )
        by_worker: dict[str, bool] = {}
        page.on(
            "response",
            lambda got: by_worker.update({got.url.split("?")[0]: got.from_service_worker}),
        )
        await page.reload()
        await shown(page, ANSWER, TEXT)
    assert by_worker[f"{origin}/one-step.html"]
    assert not by_worker[f"{service.url}/stream-ai"]
