"""The playground, used as a person uses it."""

import json
import re
from itertools import repeat

import anyio
import pytest
from playwright.async_api import Route, expect

from browser.pages import chromium
from browser.playground import ANSWER, EXPLAIN, ask, drawer, on_upstream, playground, violations
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, Settings, StreamSettings
from streamsvc.providers.fake.text import reply_to
from support.proxy import breaking_proxy
from support.upstreams import HOLD, RESET, Upstream, finish, status, text, until

pytestmark = pytest.mark.browser

REPLY = reply_to(EXPLAIN).rstrip()
"""The answer as the page shows it."""


def fake(**fields: object) -> Settings:
    """Return settings with a fake provider at a pace that suits tests."""
    entry = FakeSettings(words_per_second=20, first_word_seconds=0.1, **fields)  # type: ignore[arg-type]
    return Settings(providers={"fake": entry}, stream=StreamSettings(retry_ms=500))


async def until_closed(api: Upstream) -> None:
    with anyio.fail_after(10):
        await (await api.call()).closed.wait()


@pytest.mark.promise("stream:word-by-word")
async def test_words_appear_one_after_another(serve: Serve) -> None:
    service = await serve(fake())
    async with playground(service.url) as page:
        await page.evaluate("""() => {
          window.seen = [];
          new MutationObserver(() => {
            const text = document.querySelector(".turn .answer")?.textContent;
            if (text && text !== seen.at(-1)) seen.push(text);
          }).observe(document.body, { childList: true, subtree: true, characterData: true });
        }""")
        await ask(page, "hello")
        await expect(page.locator("#state")).to_have_text("done")
        await expect(page.locator(".turn .hint")).to_have_text("Complete: fake/words, 7 tokens.")
        assert re.fullmatch(r"\d+ ms", await page.locator("#first").inner_text())
        assert re.fullmatch(r"[\d.]+ tokens / s", await page.locator("#rate").inner_text())
        assert re.fullmatch(r"gen_\w+\.8", await page.locator("#cursor").inner_text())
        assert "median" in await page.locator("#gaps").inner_text()
        seen: list[str] = await page.evaluate("seen")
    assert seen[-1] == FakeSettings().text
    assert len(seen) > 1  # a slow browser shows several words at once
    assert all(FakeSettings().text.startswith(text) for text in seen)


@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize("how", ["button", "escape"])
async def test_stop_closes_the_call_to_the_provider(how: str) -> None:
    async with (
        on_upstream(text("one ", "two "), HOLD) as (service, api),
        playground(service.url) as page,
    ):
        await ask(page, "hello")
        await expect(page.locator(ANSWER)).to_have_text("one two")
        await expect(page.locator("#call")).to_have_text("open")
        if how == "button":
            await page.locator("#stop").click()
        else:
            await page.keyboard.press("Escape")
        await until_closed(api)
        await expect(page.locator(".turn .hint")).to_contain_text("Stopped")
        await expect(page.locator("#call")).to_have_text("closed")
        await expect(page.locator("#send")).to_be_enabled()
        await expect(page.locator("#stop")).to_be_disabled()


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
async def test_after_a_cut_the_answer_continues_at_the_word(serve: Serve) -> None:
    service = await serve(fake())
    async with playground(service.url) as page:
        await ask(page, EXPLAIN)
        await page.wait_for_function(
            "() => document.querySelector('.turn .answer').textContent.length > 40"
        )
        await drawer(page, "lab")
        await page.locator("#cut").click()
        await expect(page.locator("#state")).to_have_text("cut")
        cut_at = await page.locator(ANSWER).inner_text()
        await expect(page.locator(".seam")).to_have_count(1)
        await expect(page.locator("#lab")).to_contain_text("Back, with the id of event")
        await expect(page.locator("#state")).to_have_text("done")
        whole = await page.locator(ANSWER).evaluate("element => element.textContent")
        assert whole == REPLY
        assert 0 < len(cut_at) < len(whole)
        gaps = await page.locator("#gaps").inner_text()
        assert re.fullmatch(r"median \d+ ms, longest .+; not counted: \d+\.\d s away", gaps), gaps
        pace = await page.locator("#rate").inner_text()
        assert 5 < float(pace.removesuffix(" tokens / s")) < 30  # 20, unless the machine is slow
        assert re.match(
            r"back after event \d+", await page.locator(".seam").get_attribute("data-label") or ""
        )
    assert len(service.log) == 1


@pytest.mark.promise("resume:no-gap")
async def test_a_network_break_costs_no_word_and_is_shown(serve: Serve) -> None:
    """The browser reconnects by itself, and the page shows where."""
    service = await serve(
        Settings(
            providers={"fake": FakeSettings(words_per_second=20)},
            stream=StreamSettings(retry_ms=500),
            generations=GenerationSettings(grace_seconds=30),
        )
    )
    left = 2

    def in_the_stream(answers: bytes) -> int | None:
        """Break the first two streams after some events; files and JSON pass."""
        nonlocal left
        stream = answers.find(b"content-type: text/event-stream")
        blocks = answers.find(b"\r\n\r\n", stream)
        if left == 0 or stream < 0 or answers.count(b"\n\n", blocks) < 8:
            return None
        left -= 1
        return len(answers)

    async with (
        breaking_proxy(service.port, repeat(in_the_stream)) as proxy,
        playground(f"http://127.0.0.1:{proxy.port}", expected=["ERR_INCOMPLETE_CHUNKED"]) as page,
    ):
        await ask(page, EXPLAIN)
        await expect(page.locator("#state")).to_have_text("done")
        await expect(page.locator(".seam")).to_have_count(2)
        assert await page.locator(ANSWER).evaluate("e => e.textContent") == REPLY
    assert proxy.broken == 2
    assert len(service.log) == 1


async def test_a_code_block_is_shown_as_one_while_it_grows() -> None:
    go_on = anyio.Event()
    async with (
        on_upstream(
            text("Here:\n", "``", "`python\n", "def f(", "):\n"), until(go_on),
            text("    pass\n", "```", "\nDone."), finish(),
        ) as (service, _),
        playground(service.url) as page,
    ):  # fmt: skip
        await ask(page, "hello")
        code = page.locator(f"{ANSWER} figure code")
        await expect(code).to_have_text("def f():")
        await expect(page.locator(f"{ANSWER} figcaption span")).to_have_text("python")
        await expect(page.locator(".turn")).to_have_attribute("aria-busy", "true")
        go_on.set()
        await expect(page.locator("#state")).to_have_text("done")
        assert await code.evaluate("e => e.textContent") == "def f():\n    pass\n"
        assert await page.locator(f"{ANSWER} > p").all_text_contents() == ["Here:", "Done."]
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await page.locator(f"{ANSWER} figcaption button").click()
        await expect(page.locator(f"{ANSWER} figcaption button")).to_have_text("Copied")
        assert await page.evaluate("navigator.clipboard.readText()") == "def f():\n    pass\n"


@pytest.mark.promise("stream:word-by-word")
async def test_markup_in_a_prompt_or_an_answer_stays_text(serve: Serve) -> None:
    hostile = (
        "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'> &lt;b&gt; <!-- \n"
        '```html"><img src=x onerror=alert(1)>\n<svg onload=window.pwned=1></svg></code></pre>\n```\n'
        "<a href=javascript:window.pwned=1>link</a> \u202e end"
    )
    service = await serve(fake(reply="echo"))
    async with playground(service.url) as page:
        await ask(page, hostile)
        await expect(page.locator("#state")).to_have_text("done")
        conversation = page.locator("#turns")
        assert await conversation.locator("img, script, svg, a, b").count() == 0
        assert await page.evaluate("window.pwned") is None
        assert await page.locator(".question").evaluate("e => e.textContent") == hostile
        shown = await page.locator(ANSWER).evaluate("e => e.textContent")
        assert (
            "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'> <b>" in shown
        )
        assert "<svg onload=window.pwned=1></svg></code></pre>\n" in shown


@pytest.mark.promise("fan-out:shared")
async def test_two_viewers_share_a_call_that_closing_the_tab_closes() -> None:
    go_on = anyio.Event()
    async with (
        on_upstream(text("one ", "two "), until(go_on), text("three "), HOLD) as (service, api),
        playground(service.url) as page,
    ):
        await drawer(page, "settings")
        await page.locator("#grace").select_option("0")
        await ask(page, "hello")
        await expect(page.locator(ANSWER)).to_have_text("one two")
        await drawer(page, "lab")
        await page.locator("#second").click()
        await expect(page.locator("#other-answer")).to_have_text("one two")
        assert service.supervisor.viewers == 2
        go_on.set()
        await expect(page.locator(ANSWER)).to_have_text("one two three")
        await expect(page.locator("#other-answer")).to_have_text("one two three")
        assert len(api.calls) == 1
        await page.locator("#leave").click()
        await until_closed(api)
        await expect(page.locator("#call")).to_have_text("closed: nobody was watching")
        await expect(page.locator("#lab")).to_contain_text("The call to the provider was closed")
        await page.locator("#again").click()
        await expect(page.locator(".turn .hint")).to_contain_text("Stopped")


@pytest.mark.promise("resume:no-gap")
async def test_a_page_that_returns_within_the_grace_continues() -> None:
    go_on = anyio.Event()
    async with (
        on_upstream(text("one ", "two "), until(go_on), text("three "), finish()) as (service, api),
        playground(service.url) as page,
    ):
        await drawer(page, "settings")
        await page.locator("#grace").select_option("30")
        await ask(page, "hello")
        await expect(page.locator(ANSWER)).to_have_text("one two")
        await drawer(page, "lab")
        await page.locator("#leave").click()
        await expect(page.locator("#call")).to_contain_text("open, left for")
        go_on.set()
        await page.locator("#again").click()
        await expect(page.locator("#state")).to_have_text("done")
        await expect(page.locator(ANSWER)).to_have_text("one two three")
        assert len(api.calls) == 1


@pytest.mark.promise("resume:never-regenerate")
async def test_a_finished_answer_stays_finished_after_a_reload(serve: Serve) -> None:
    service = await serve(fake())
    async with playground(service.url) as page:
        await ask(page, "hello")
        await expect(page.locator("#state")).to_have_text("done")
        await drawer(page, "lab")
        await page.locator("#again").click()
        await expect(page.locator("#lab")).to_contain_text("204 No Content")
        await page.reload()
        await expect(page.locator("#state")).to_have_text("done")
        await expect(page.locator(ANSWER)).to_have_text(FakeSettings().text)
        await page.locator("#new").click()
        assert page.url == f"{service.url}/"
        await expect(page.locator(".turn")).to_have_count(0)
    assert len(service.log) == 1


async def test_a_reload_keeps_the_conversation_and_its_history() -> None:
    async with (
        on_upstream(text("An answer."), finish()) as (service, api),
        playground(service.url) as page,
    ):
        for question in ("First?", "Second?"):
            await ask(page, question)
            await expect(page.locator(".turn .hint").last).to_contain_text("Complete")
        await page.reload()
        await expect(page.locator("#state")).to_have_text("done")
        assert await page.locator(".question").all_text_contents() == ["First?", "Second?"]
        assert await page.locator(".turn .answer").all_text_contents() == 2 * ["An answer."]
        await ask(page, "Third?")
        assert [turn["content"] for turn in (await api.call(2)).body["messages"]] == [
            "First?", "An answer.", "Second?", "An answer.", "Third?",
        ]  # fmt: skip
        await expect(page.locator(".turn .hint").last).to_contain_text("Complete")


async def test_an_empty_answer_does_not_enter_the_history() -> None:
    async with (
        on_upstream(text("\n\n"), finish()) as (service, api),
        playground(service.url) as page,
    ):
        for question in ("First?", "Second?"):
            await ask(page, question)
            await expect(page.locator(".turn .hint").last).to_contain_text("Complete")
        assert (await api.call(1)).body["messages"] == [{"role": "user", "content": "Second?"}]


async def test_a_conversation_cleared_during_a_request_stays_cleared(serve: Serve) -> None:
    service = await serve(fake())
    async with playground(service.url) as page:
        asked = anyio.Event()
        go_on = anyio.Event()

        async def wait(route: Route) -> None:
            asked.set()
            await go_on.wait()
            await route.continue_()

        await page.route("**/v1/generations", wait)
        await ask(page, "hello")
        await asked.wait()
        await page.locator("#new").click()
        async with page.expect_response("**/stop"):
            go_on.set()
        await expect(page.locator(".turn")).to_have_count(0)
        await expect(page.locator("#state")).to_have_text("idle")
        await expect(page.locator("#call")).to_have_text("none")
        assert page.url == f"{service.url}/"


async def test_a_question_may_be_sent_before_the_providers_are_known(serve: Serve) -> None:
    service = await serve(fake())
    go_on = anyio.Event()

    async def wait(route: Route) -> None:
        await go_on.wait()
        await route.continue_()

    async with chromium() as page:
        await page.route("**/v1/providers", wait)
        await page.goto(f"{service.url}/")
        await ask(page, "hello")
        await expect(page.locator("#state")).to_have_text("done")
        go_on.set()
        await expect(page.locator("#provider option")).not_to_have_count(0)
        await expect(page.locator(".turn")).to_have_count(1)


@pytest.mark.parametrize(
    "follow", ["../../readyz", "../../readyz%23", "gen_a/../../../healthz", "%00"]
)
async def test_only_a_valid_id_in_the_address_is_followed(serve: Serve, follow: str) -> None:
    service = await serve(fake())
    async with playground(service.url) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{service.url}/?follow={follow}")
        await expect(page.locator("#provider option")).not_to_have_count(0)
        paths = {url.removeprefix(service.url).partition("?")[0] for url in asked}
        assert not paths & {"/readyz", "/readyz/events", "/healthz", "/healthz/events"}
        assert not any(path.startswith("/v1/generations") for path in paths)
        await expect(page.locator(".turn")).to_have_count(0)


@pytest.mark.long
async def test_thousands_of_words_at_once_are_shown(serve: Serve) -> None:
    """The cost of a word does not grow with the words before it, even in three views at once."""
    said = "word " * 9_999 + "end"
    service = await serve(
        Settings(providers={"fake": FakeSettings(reply="text", text=said, words_per_second=0)})
    )
    async with playground(service.url) as page:
        await drawer(page, "lab")
        await page.locator("#raw summary").click()
        await ask(page, "hello")
        await expect(page.locator("#state")).to_have_text("done", timeout=60_000)
        assert await page.locator(ANSWER).evaluate("e => e.textContent") == said
        await page.reload()
        await expect(page.locator("#state")).to_have_text("done", timeout=60_000)
        assert await page.locator(ANSWER).evaluate("e => e.textContent") == said


async def test_without_a_grace_the_page_says_that_a_cut_ended_the_answer() -> None:
    async with (
        on_upstream(text("one "), HOLD) as (service, api),
        playground(service.url) as page,
    ):
        await drawer(page, "settings")
        await page.locator("#grace").select_option("0")
        await ask(page, "hello")
        await expect(page.locator(ANSWER)).to_have_text("one")
        await drawer(page, "lab")
        await page.locator("#cut").click()
        await expect(page.locator("#lab")).to_contain_text("Without a grace")
        await until_closed(api)
        await expect(page.locator(".turn .hint")).to_contain_text("Stopped")


async def test_each_question_sends_the_history() -> None:
    async with (
        on_upstream(text("An answer."), finish()) as (service, api),
        playground(service.url) as page,
    ):
        for turn, question in enumerate(("First?", "Second?"), 1):
            await ask(page, question)
            await expect(page.locator(".turn .hint")).to_have_count(turn)
            await expect(page.locator("#state")).to_have_text("done")
        assert (await api.call(1)).body["messages"] == [
            {"role": "user", "content": "First?"},
            {"role": "assistant", "content": "An answer."},
            {"role": "user", "content": "Second?"},
        ]


@pytest.mark.promise("upstream:rescue")
async def test_a_restarted_answer_replaces_the_first_one() -> None:
    go_on = anyio.Event()
    async with on_upstream() as (service, api):
        first = text("Once upon"), until(go_on)
        api.script((*first, RESET), (text("Twice ", "upon."), finish()))
        async with playground(service.url) as page:
            await ask(page, "hello")
            await expect(page.locator(ANSWER)).to_have_text("Once upon")
            go_on.set()
            await expect(page.locator("#state")).to_have_text("done")
            await expect(page.locator(ANSWER)).to_have_text("Twice upon.")
            await expect(page.locator(".turn .hint")).to_contain_text("Complete: openai/")


@pytest.mark.promise("input:clear-error")
async def test_errors_are_sentences_and_the_question_stays() -> None:
    async with (
        on_upstream(status(401)) as (service, _),
        playground(service.url, expected=["503"]) as page,
    ):
        await ask(page, "hello")
        await expect(page.locator(".turn .problem")).to_have_text(
            "The provider refused the service's credentials."
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.supervisor.drain, 0)
        await ask(page, "hello again")
        await expect(page.locator(".turn .problem").last).to_have_text(
            "The service is shutting down and takes no new work."
        )
        await expect(page.locator(".turn")).to_have_count(2)
        await expect(page.locator("#prompt")).to_have_value("hello again")
        await expect(page.locator("#send")).to_be_enabled()


async def test_an_unreachable_service_is_a_sentence_too(serve: Serve) -> None:
    service = await serve(fake())
    async with playground(service.url, expected=["ERR_INTERNET_DISCONNECTED"]) as page:
        await page.context.set_offline(True)
        await ask(page, "hello")
        await expect(page.locator(".turn .problem")).to_contain_text(
            "The service cannot be reached"
        )
        await page.goto("about:blank")


async def test_a_lower_maximum_of_the_grace_is_not_an_error(serve: Serve) -> None:
    service = await serve(Settings(generations=GenerationSettings(max_grace_seconds=1)))
    async with playground(service.url, expected=["422"]) as page:
        await ask(page, "hello")
        await expect(page.locator("#state")).to_have_text("done")


async def test_the_lesson_compares_waiting_with_reading_along(serve: Serve) -> None:
    service = await serve(fake())
    async with playground(service.url) as page:
        await page.locator("#views a[href='#compare']").click()
        await page.get_by_label("Waiting and streaming").check()
        await page.locator("#go").click()
        await expect(page.locator("#streams .answer")).not_to_be_empty()
        await expect(page.locator("#waits .answer")).to_be_empty()
        await expect(page.locator("#verdict")).to_contain_text("times less", timeout=20_000)
        times = {
            entry: [
                float((await page.locator(f"#{entry} {when}").inner_text()).removesuffix(" s"))
                for when in (".first", ".end")
            ]
            for entry in ("waits", "streams")
        }
        for entry in times:
            shown = await page.locator(f"#{entry} .answer").evaluate("e => e.textContent")
            assert shown == REPLY
    assert times["streams"][0] < times["waits"][0] / 3
    assert times["waits"][1] == pytest.approx(times["streams"][1], abs=1)
    assert len(service.log) == 1


async def test_the_raw_frames_match_the_wire(serve: Serve) -> None:
    service = await serve(fake())
    async with playground(service.url) as page:
        await ask(page, "hello")
        await expect(page.locator("#state")).to_have_text("done")
        await drawer(page, "lab")
        await page.locator("#raw summary").click()
        await expect(page.locator("#frames")).to_contain_text("event: done")
        frames = await page.locator("#frames").evaluate("e => e.textContent")
        address = await page.locator("#cursor").inner_text()
        events = await service.client.get(f"/v1/generations/{address.split('.')[0]}/events")
        assert frames == events.text


async def test_reasoning_is_shown_apart_from_the_answer(serve: Serve) -> None:
    service = await serve(fake(reasoning="Let me think."))
    async with playground(service.url) as page:
        await ask(page, "hello")
        await expect(page.locator("#state")).to_have_text("done")
        assert await page.locator(".thoughts p").evaluate("e => e.textContent") == "Let me think."
        await expect(page.locator(ANSWER)).to_have_text(FakeSettings().text)


async def test_it_works_under_a_path_prefix_of_a_proxy(serve: Serve) -> None:
    service = await serve(fake())
    async with (
        breaking_proxy(service.port, repeat(lambda _: None), takes_off="/llm") as proxy,
        playground(f"http://127.0.0.1:{proxy.port}/llm") as page,
    ):
        await ask(page, "hello")
        await expect(page.locator(ANSWER)).to_have_text(FakeSettings().text)
        await expect(page.locator("#state")).to_have_text("done")
    assert all(re.match(r"\w+ /llm/", line) for line in proxy.requests if "favicon" not in line)


@pytest.mark.promise("content:exact")
async def test_the_request_of_an_answer_is_offered_as_a_program(serve: Serve) -> None:
    """By the keyboard; also of an answer before a reload. A stopped answer of the fake provider has a token a word."""
    service = await serve(fake(reply="echo"))
    question = "It's `$(me)` </script> " + "and more " * 40
    async with playground(service.url) as page:
        await ask(page, question)
        await page.wait_for_function(
            "() => document.querySelector('.turn .answer').textContent.length > 40"
        )
        await page.keyboard.press("Escape")
        says = page.locator(".turn > .hint")
        await expect(says).to_contain_text("Stopped: fake/words, about")
        words = await page.locator(ANSWER).evaluate(
            "e => e.textContent.trim().split(/\\s+/).length"
        )
        await expect(says).to_have_text(f"Stopped: fake/words, about {words} tokens.")
        for _ in range(2):
            await page.get_by_role("button", name="Copy as code").press("Enter")
            code = page.locator(".as-code code")
            await page.get_by_role("button", name="curl").press("Enter")
            sent = json.loads(
                (await code.inner_text()).partition("<<'JSON'\n")[2].partition("\nJSON")[0]
            )
            assert sent["messages"] == [{"role": "user", "content": question}]
            assert (sent["provider"], sent["grace_seconds"]) == ("fake", 3)
            await page.get_by_role("button", name="React").press("Enter")
            await expect(code).to_contain_text("createRoot(element).render(<Ask />)")
            assert service.url in await code.inner_text()
            assert await violations(page) == []
            await page.reload()
            await expect(page.locator("#state")).to_have_text("done")
