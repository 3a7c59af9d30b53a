"""The pages of `docs/guides/plain-page.md` and `docs/guides/stop-and-resume.md`, in a real browser."""

import json
from itertools import chain, repeat
from pathlib import Path

import pytest
from playwright.async_api import Route

from browser.guide import DOCS, FILES, save
from browser.guide_pages import (
    ANSWER,
    OUT_OF_REACH,
    TEXT,
    ask,
    configuration,
    ending,
    longer_than,
)
from browser.pages import opened, shown
from conftest import Serve
from streamsvc.events import Status
from support.proxy import after_events, breaking_proxy, never

pytestmark = pytest.mark.browser


def test_the_guide_says_what_to_show_for_every_status() -> None:
    page = (DOCS / "guides" / "faults.md").read_text()
    table = page.partition("| `done` | what to show |")[2]
    assert [status for status in Status if f"| `{status.value}`" not in table] == []


# ---- The plain page


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
async def test_the_plain_page_survives_a_break_and_stops_at_the_end(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, grace_seconds=20))
    cuts = chain([after_events(4)], repeat(never))
    async with breaking_proxy(service.port, cuts) as proxy:
        save(tmp_path, "page.html", service=f"http://127.0.0.1:{proxy.port}")
        async with opened(f"{origin}/page.html") as page:
            await shown(
                page, "note.textContent", "The connection is lost; it comes back by itself."
            )
            await shown(page, ANSWER, TEXT)
            await shown(page, "note.textContent", "")
        assert len(proxy.requests) == 2
    assert len(service.log) == 1


async def test_the_plain_page_says_what_went_wrong(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await serve(configuration(origin, first_word_seconds=30, first_token_seconds=0.1))
    save(tmp_path, "page.html", service=service.url)
    async with opened(f"{origin}/page.html") as page:
        sentence = "The provider took too long (first token deadline)."
        await shown(page, "note.textContent", sentence)


async def test_the_plain_page_gives_up_without_a_stream_and_stops_on_a_click(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    refusing, held = (
        await serve(configuration("")),
        await serve(configuration(origin, is_held=True)),
    )
    for service in (refusing, held):
        (tmp_path / str(service.port)).mkdir()
        save(tmp_path / str(service.port), "page.html", service=service.url)
    async with opened(f"{origin}/{refusing.port}/page.html") as page:
        await shown(
            page,
            "note.textContent",
            "No answer: the service refused, or this page's origin is not in cors.origins.",
        )
        assert len(refusing.log) == 0
        await page.goto(f"{origin}/{held.port}/page.html")
        await longer_than(page, 10)
        async with ending(held, "no_viewers"):
            await page.click("text=Stop")
            await shown(page, "note.textContent", "stopped")


# ---- A conversation


async def test_a_conversation_sends_its_history_and_shows_each_answer(
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
async def test_a_conversation_survives_reloads_during_and_after_an_answer(
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
async def test_the_stop_button_ends_the_answer_despite_a_grace(
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
async def test_a_retry_after_a_lost_response_makes_no_second_answer(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    """The service gets the POST, but the page sees a network error, and the person tries again."""
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
async def test_leaving_a_page_stops_its_answer_by_beacon(
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
