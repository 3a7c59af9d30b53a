"""Many streams, shared streams and intermediaries, as in `docs/guides/many-tabs.md`, `proxies.md` and `other-origins.md`."""

import json
from pathlib import Path

import anyio
import pytest

from browser.guide import FILES, save
from browser.guide_pages import (
    ANSWER,
    TEXT,
    configuration,
    create,
    ending,
    longer_than,
    speaking,
)
from browser.pages import chromium, opened, shown
from browser.proxies import PROXIES, reverse_proxy
from conftest import Serve
from support.parts import each, find
from support.service import Service

pytestmark = pytest.mark.browser


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


async def test_over_http_1_the_seventh_stream_waits_for_another_to_end(
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
async def test_through_an_http_2_proxy_more_than_six_streams_flow(
    serve: Serve, tmp_path: Path, name: str
) -> None:
    """The streams arrive word by word, under a prefix, from the origin of the page; leaving the page ends them."""
    count = 8 if name == "lighttpd" else 12  # lighttpd allows eight streams on a connection
    service = await serve(configuration("", is_held=True))
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "streams.html").write_text(STREAMS)
    save(pages, "page.html", service="/ai")
    async with reverse_proxy(name, tmp_path, site=pages, service_port=service.port) as proxy:
        url = proxy.url
        with anyio.fail_after(40):
            async with chromium("--ignore-certificate-errors") as page:
                await page.goto(f"{url}/page.html")
                early = await page.wait_for_function(f"{ANSWER}.length > 10 && {ANSWER}")
                text = await early.json_value()
                assert TEXT.startswith(text)
                assert text != TEXT
                await page.goto(f"{url}/streams.html")
                await service.until(lambda: service.supervisor.running == 0)
                await page.evaluate(f"open('/ai', {count})")
                await page.wait_for_function(f"seen.length === {count}")
                assert set(await page.evaluate("seen")) == {"start"}
                assert service.supervisor.viewers == count
                kinds = "[performance.getEntriesByType('navigation')[0].nextHopProtocol]"
                assert await page.evaluate(kinds) == ["h2"]
                await page.goto("about:blank")
                await service.until(lambda: service.supervisor.running == 0)


@pytest.mark.promise("fan-out:shared")
async def test_tabs_share_one_connection_through_the_worker(tmp_path: Path, origin: str) -> None:
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
async def test_the_answer_ends_when_the_last_tab_of_the_worker_closes(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, is_held=True))
    save(tmp_path, "answers.js", "answers-worker.js", "together.html", service=service.url)
    # An empty tab keeps the worker itself alive.
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
async def test_without_shared_workers_each_tab_has_its_own_connection(
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


async def test_tabs_learn_through_the_worker_that_an_answer_is_gone(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin))
    save(tmp_path, "answers.js", "answers-worker.js", "together.html", service=service.url)
    async with opened(f"{origin}/together.html#gen_unknown") as page:
        await shown(page, "note.textContent", "This answer is no longer available.")


# ---- Intermediaries


@pytest.mark.needs("node")
async def test_the_rewrites_of_next_strip_the_prefix(tmp_path: Path) -> None:
    """The test reads the configuration of `docs/guides/react.md` as Next does, without Next."""
    (tmp_path / "next.config.mjs").write_text(FILES["next.config.ts"])
    read = """import config from "./next.config.mjs";
    console.log(JSON.stringify(await config.rewrites()));"""
    command = [find("node"), "--input-type=module", "--eval", read]
    run = await anyio.run_process(command, cwd=tmp_path)
    [rewrite] = json.loads(run.stdout)
    assert rewrite == {
        "source": "/ai/:path*",
        "destination": "http://127.0.0.1:8000/:path*",
    }


async def test_the_content_security_policy_allows_only_the_service(
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
    save(tmp_path, "page.html", "service-worker.js", service=service.url)
    async with opened(f"{origin}/page.html") as page:
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
    assert by_worker[f"{origin}/page.html"]
    assert not by_worker[f"{service.url}/stream-ai"]
