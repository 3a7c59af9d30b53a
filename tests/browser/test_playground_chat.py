"""The playground as a chat page: what stays in sight, what it says while it waits, and what it keeps."""

import re
from pathlib import Path
from typing import Any, get_args

import anyio
import pytest
from playwright.async_api import Page, expect

from browser.pages import recorded
from browser.playground import ANSWER, ask, drawer, example, on_upstream, playground
from streamsvc.engine.failover import WORKER_LOST
from streamsvc.events import FinishReason, Outcome
from streamsvc.messages import ToolCall
from streamsvc.provider_errors import ProviderError
from support.process import serve
from support.upstreams import HOLD, RESET, calling, finish, status, text, until

pytestmark = pytest.mark.browser

LAST = ".turn:last-of-type"
WAITING = f"{LAST} .waiting"
FOOTER = f"{LAST} > :is(.hint, .problem)"

SIZES = ((1280, 800), (1920, 1080), (390, 844), (320, 568))

FAKE = {
    "PROVIDERS__FAKE__ALLOW_FAULTS": "true",
    "PROVIDERS__FAKE__WORDS_PER_SECOND": "10",
    "STREAM__RETRY_MS": "500",
}
CUT = ["ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RE", "ERR_EMPTY_RESPONSE"]


async def hidden_parts(page: Page, *ids: str) -> list[str]:
    """Return those of the elements that a person cannot see whole, or that something else covers."""
    found: list[str] = await page.evaluate(
        """ids => ids.filter(id => {
          const element = document.getElementById(id);
          const {left, top, right, bottom, width, height} = element.getBoundingClientRect();
          const isInside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
          const shown = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
          return !(width && height && isInside && (shown === element || element.contains(shown)));
        })""",
        ids,
    )
    return found


async def again(page: Page) -> None:
    await page.get_by_role("button", name="Ask again").click()


async def test_composer_and_stop_stay_in_sight_while_it_streams() -> None:
    """At each size, with a long answer, and with each drawer open."""
    long = text(*(f"Line {number}\n\n" for number in range(80)))
    async with on_upstream(long, HOLD) as (service, _), playground(service.url) as page:
        await ask(page, "hello")
        await expect(page.locator(ANSWER)).to_contain_text("Line 79")
        for width, height in SIZES:
            await page.set_viewport_size({"width": width, "height": height})
            for name in ("", "lab", "settings", "history"):
                if name:
                    await page.locator(f"#{name}-toggle").click()
                seen = (width, height, name)
                assert await hidden_parts(page, "prompt", "stop", "provider") == [], seen
                rest = await page.locator("#conversation").evaluate("e => e.clientHeight")
                assert rest > 100, seen
                scrolled = (
                    "[document.documentElement.scrollHeight, document.documentElement.scrollWidth]"
                )
                assert await page.evaluate(scrolled) == [height, width], seen
                if name:
                    await page.keyboard.press("Escape")
                    focused = await page.evaluate("document.activeElement.id")
                    assert focused == f"{name}-toggle"
        await page.locator("#prompt").focus()
        await page.keyboard.press("Escape")
        await expect(page.locator(FOOTER)).to_contain_text("Stopped")
        assert await hidden_parts(page, "prompt", "send") == []


@pytest.mark.promise("upstream:rescue")
async def test_the_waiting_line_says_who_is_asked_and_why_again() -> None:
    go_on = anyio.Event()
    async with on_upstream() as (service, api), playground(service.url) as page:
        limited = status(429, b"", {"Retry-After": "1"})
        cut = (until(go_on), text("Once "), RESET)
        api.script((limited,), cut, (until(go_on), text("Twice."), HOLD))
        await recorded(page, "document.querySelector('.waiting')?.textContent")
        await ask(page, "hello")
        await expect(page.locator(WAITING)).to_have_text(
            re.compile(r"openai is rate-limited; asking again, \d+ s")
        )
        go_on.set()
        await expect(page.locator(ANSWER)).to_have_text("Twice.")
        await expect(page.locator(WAITING)).to_have_text(
            re.compile(r"No word from openai for \d+ s")
        )
        await page.locator("#stop").click()
        await expect(page.locator(WAITING)).to_be_hidden()
        seen = {text for text in await page.evaluate("seen") if text}
    assert any(
        it.startswith("openai broke off in the middle of the answer; openai starts over")
        for it in seen
    )
    assert not any("_" in it for it in seen)


CODES = """async () => {
  const reasons = await import(new URL("playground/reasons.js", location.href));
  const said = (code) => reasons.failureOf("openai", code);
  return { failures: Object.keys(reasons.FAILURES), outcomes: Object.keys(reasons.OUTCOMES),
    ends: Object.keys(reasons.ENDS), lost: said("WORKER"), unknown: said("none_such") };
}""".replace("WORKER", WORKER_LOST)


async def test_every_code_that_reaches_the_page_has_words(tmp_path: Path) -> None:
    kinds: list[type[ProviderError]] = [ProviderError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    async with (
        serve(tmp_path, FAKE) as service,
        playground(f"http://127.0.0.1:{service.port}", expected=CUT) as page,
    ):
        known = await page.evaluate(CODES)
        assert {*known["failures"]} == {*(kind.code for kind in kinds), "busy", "circuit_open"}
        assert {*known["outcomes"]} == {*Outcome}
        ends: set[str] = {
            end for part in get_args(FinishReason) for end in get_args(part) or (part,)
        }
        assert {*known["ends"]} == ends
        assert known["lost"] == "The worker that produced the answer is gone"
        assert known["unknown"] == "openai failed"
        await faults_are_chosen_and_asked_again(page)
        await a_service_that_dies_is_waited_for(page, service.process)


async def faults_are_chosen_and_asked_again(page: Page) -> None:
    """The text stays, and the next attempt takes the settings of now."""
    await drawer(page, "settings")
    await page.locator("#fault").select_option("auth")
    await ask(page, "hello")
    await expect(page.locator(FOOTER)).to_have_text(
        "The provider refused the service's credentials."
    )
    await page.locator("#fault").select_option("silent")
    await again(page)
    await expect(page.locator(WAITING)).to_have_text(re.compile(r"Asked fake [1-9]\d* s ago"))
    await page.locator("#stop").click()
    await page.locator("#fault").select_option("none")
    await again(page)
    await expect(page.locator(FOOTER)).to_contain_text("Complete")
    await expect(page.locator(".turn")).to_have_count(1)
    await expect(page.locator(".question")).to_have_text(["hello"])


async def a_service_that_dies_is_waited_for(page: Page, process: Any) -> None:
    await page.locator("#fault").select_option("stall")
    await ask(page, "more")
    await expect(page.locator(ANSWER)).not_to_be_empty()
    process.kill()
    await expect(page.locator(WAITING)).to_have_text(
        re.compile(r"Connection lost; trying again, [1-9]\d* s")
    )
    await expect(page.locator("#announcer")).to_have_text("Connection lost; trying again.")
    await page.locator("#stop").click()
    await expect(page.locator(FOOTER)).to_have_text("You left before the end.")
    await expect(page.locator(ANSWER)).not_to_be_empty()
    await expect(page.get_by_role("button", name="Ask again")).to_be_visible()


async def test_the_last_question_is_recalled_edited_and_asked_again() -> None:
    async with on_upstream() as (service, api), playground(service.url) as page:
        api.script(*((text(f"Answer {number}."), finish()) for number in range(1, 5)))
        await ask(page, "First?")
        await expect(page.locator(ANSWER)).to_have_text("Answer 1.")
        await page.keyboard.press("ArrowUp")
        await expect(page.locator("#prompt")).to_have_value("First?")
        await page.locator("#prompt").fill("Secnd?")
        await page.keyboard.press("Enter")
        await expect(page.locator(ANSWER)).to_have_text("Answer 2.")
        await page.get_by_role("button", name="Edit question").click()
        await page.keyboard.press("Escape")
        await expect(page.locator("#editing")).to_be_hidden()
        await page.get_by_role("button", name="Edit question").click()
        await expect(page.locator("#prompt")).to_have_value("Secnd?")
        await ask(page, "Second?")
        await expect(page.locator(ANSWER)).to_have_text("Answer 3.")
        await expect(page.locator(".question")).to_have_text(["First?", "Second?"])
        await again(page)
        await expect(page.locator(ANSWER)).to_have_text("Answer 4.")
        await expect(page.locator(".turn .answer")).to_have_text(["Answer 1.", "Answer 4."])
        sent = [(await api.call(number)).body["messages"] for number in (2, 3)]
    history = ["First?", "Answer 1.", "Second?"]
    assert [[it["content"] for it in messages] for messages in sent] == [history, history]


async def test_conversations_are_kept_switched_and_deleted() -> None:
    """Also one whose answer was stopped, and one that is still growing."""
    go_on = anyio.Event()
    async with on_upstream() as (service, api), playground(service.url) as page:
        api.script(
            (text("Half"), HOLD),
            (text("Whole."), finish()),
            (text("Slow "), until(go_on), text("end."), finish()),
        )
        await ask(page, "First <b>?")
        await expect(page.locator(ANSWER)).to_have_text("Half")
        await page.locator("#stop").click()
        await ask(page, "And?")
        await expect(page.locator(ANSWER)).to_have_text("Whole.")
        await page.locator("#new").click()
        await drawer(page, "settings")
        await page.locator("#grace").select_option("30")
        await ask(page, "Second?")
        await expect(page.locator(ANSWER)).to_have_text("Slow")
        await drawer(page, "history")
        titles = page.locator("#conversations .open")
        await expect(titles).to_have_text(["Second?", "First <b>?"])
        await titles.last.click()
        await expect(page.locator(".question")).to_have_text(["First <b>?", "And?"])
        await page.reload()
        await expect(page.locator(".turn .hint")).to_contain_text(["Stopped", "Complete"])
        await expect(page.locator(".turn .answer")).to_have_text(["Half", "Whole."])
        await titles.get_by_text("Second?").click()
        await expect(page.locator(ANSWER)).to_have_text("Slow")
        await expect(page.locator("#state")).to_have_text("open")
        go_on.set()
        await expect(page.locator(ANSWER)).to_have_text("Slow end.")
        assert len(api.calls) == 3
        for _ in range(2):
            await page.locator("#conversations .delete").first.click()
        await expect(titles).to_have_count(0)
        await expect(page.locator(".turn")).to_have_count(0)
        stored = await page.evaluate("Object.keys(localStorage).sort()")
        assert stored == ["streamsvc/ list", "streamsvc/ settings"]  # the empty list, the grace


SHELF = """async () => {
  const { Shelf } = await import(new URL("playground/shelf.js", location.href));
  const shelf = new Shelf("test");
  const items = [{ message: { role: "user", content: "x" } }];
  for (let at = 1; at <= 60; at++) shelf.save({ id: `c${at}`, title: `t${at}`, at, generation: "" }, items);
  const many = shelf.list().map(({ id }) => id);
  const large = [{ message: { role: "user", content: "x".repeat(3_000_000) } }];
  for (const id of ["l1", "l2"]) shelf.save({ id, title: id, at: 0, generation: "" }, large);
  const few = shelf.list().map(({ id }) => id);
  const huge = [{ message: { role: "user", content: "x".repeat(6_000_000) } }];
  shelf.save({ id: "h", title: "h", at: 0, generation: "" }, huge);
  const spared = shelf.list().map(({ id }) => id);
  const kept = shelf.load("l2").length;
  localStorage.setItem("test list", "no JSON");
  const broken = shelf.list();
  Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
  shelf.save({ id: "z", title: "z", at: 0, generation: "" }, items);
  return { many, few, spared, kept, broken };
}"""


async def test_storage_is_bounded_and_may_fail() -> None:
    async with (
        on_upstream(text("Fine."), finish()) as (service, _),
        playground(service.url) as page,
    ):
        kept = await page.evaluate(SHELF)
        assert kept["many"] == [f"c{number}" for number in range(60, 10, -1)]
        assert kept["few"] == ["l2"]  # a browser stores about five million characters
        assert kept["spared"] == ["l2"]  # nothing makes room for one that is too large in any case
        assert kept["kept"] == 1
        assert kept["broken"] == []
        await ask(page, "hello")  # now that nothing can be stored
        await expect(page.locator(ANSWER)).to_have_text("Fine.")
        await page.reload()
        await expect(page.locator(ANSWER)).to_have_text("Fine.")
        await expect(page.locator(".question")).to_contain_text("asked in another tab")


STRANGE = """lists => {
  const key = name => `streamsvc${location.pathname} ${name}`;
  const asked = { message: { role: "user", content: "Kept?" } };
  const answer = { generation: "", cursor: "", says: "", choices: {} };
  const conversations = [
    [asked, null],
    [{ message: { role: "user" } }],
    [asked, { message: { role: "assistant", content: "x", tool_calls: [{}] }, answer }],
    [asked, { message: null, answer: { ...answer, choices: { response_format: {} } } }],
    [asked, { message: null, answer }],
  ];
  const entries = conversations.map((_, at) => ({ id: `c${at}`, title: `t${at}`, at, generation: "" }));
  localStorage.setItem(key("list"), JSON.stringify([null, 1, {}, { id: "x", title: 5, at: 0 }, ...entries]));
  conversations.forEach((items, at) => localStorage.setItem(key(`c${at}`), JSON.stringify(items)));
}"""


async def test_what_the_page_did_not_store_is_left_out() -> None:
    """Another page of the origin, or another version of this one, may have written there."""
    async with (
        on_upstream(text("Fine."), finish()) as (service, _),
        playground(service.url) as page,
    ):
        await page.evaluate(STRANGE)
        await page.reload()
        titles = page.locator("#conversations .open")
        await expect(titles).to_have_text([f"t{at}" for at in range(5)])
        for at in range(4):
            await titles.nth(at).click()
            await expect(page.locator("#turns > *")).to_have_count(0)
        await titles.nth(4).click()
        await expect(page.locator(".question")).to_have_text("Kept?")
        await page.locator("#new").click()
        await ask(page, "hello")
        await expect(page.locator(ANSWER)).to_have_text("Fine.")


async def test_a_draft_and_an_edit_outlast_what_they_are_not_about() -> None:
    async with on_upstream() as (service, api), playground(service.url) as page:
        api.script(*((text(f"Answer {number}."), finish()) for number in range(1, 6)))
        await ask(page, "First?")
        await expect(page.locator(ANSWER)).to_have_text("Answer 1.")
        await page.locator("#prompt").fill("A draft")
        await again(page)
        await expect(page.locator(ANSWER)).to_have_text("Answer 2.")
        await expect(page.locator("#prompt")).to_have_value("A draft")
        await page.get_by_role("button", name="Edit question").click()
        await again(page)
        await expect(page.locator(ANSWER)).to_have_text("Answer 3.")
        await expect(page.locator("#editing")).to_be_hidden()
        await ask(page, "Next?")
        await expect(page.locator(".question")).to_have_text(["First?", "Next?"])
        await expect(page.locator(ANSWER)).to_have_text("Answer 4.")
        await page.get_by_role("button", name="Edit question").click()
        await drawer(page, "settings")
        await page.locator("#temperature").fill("9")
        await ask(page, "Last?")
        await expect(page.locator("#announcer")).to_contain_text("Temperature")
        await expect(page.locator("#editing")).to_be_visible()
        await page.locator("#temperature").fill("1")
        await page.locator("#prompt").press("Enter")
        await expect(page.locator(ANSWER)).to_have_text("Answer 5.")
        await expect(page.locator(".question")).to_have_text(["First?", "Last?"])


async def test_results_of_tools_end_an_edit_of_the_question() -> None:
    """Then the next question does not take the place of the answer to them."""
    asking = calling(ToolCall(id="call_1", name="get_weather", arguments="{}"))
    async with on_upstream() as (service, api), playground(service.url) as page:
        api.script(
            (asking, finish("tool_calls")),
            (text("Sunny."), finish()),
            (text("Next."), finish()),
        )
        await example(page, "Call a tool")
        await expect(page.locator(".results")).to_be_visible()
        await page.get_by_role("button", name="Edit question").click()
        await page.get_by_role("button", name="Send the result").click()
        await expect(page.locator(ANSWER)).to_have_text("Sunny.")
        await expect(page.locator("#editing")).to_be_hidden()
        await ask(page, "And now?")
        await expect(page.locator(ANSWER)).to_have_text("Next.")
        await expect(page.locator(".question")).to_have_count(2)


async def test_a_stop_that_does_not_arrive_is_said() -> None:
    async with (
        on_upstream(text("Half"), HOLD) as (service, _),
        playground(service.url, expected=["ERR_INTERNET_DISCONNECTED"]) as page,
    ):
        await ask(page, "hello")
        await expect(page.locator(ANSWER)).to_have_text("Half")
        await page.context.set_offline(True)
        await page.locator("#stop").click()
        await expect(page.locator(FOOTER)).to_have_text("You left before the end.")
        await expect(page.locator("#announcer")).to_contain_text("cannot be reached")


SCROLL = """async () => {
  const { keepAtEnd } = await import(new URL("playground/tail.js", location.href));
  const frame = () => new Promise(requestAnimationFrame);
  const box = document.createElement("div");
  document.body.append(box);
  Object.assign(box.style, { position: "fixed", top: 0, height: "100px", overflow: "auto" });
  const grow = (lines) => {
    for (; lines > 0; lines--) box.append("word", document.createElement("br"));
  };
  const distance = () => Math.round(box.scrollHeight - box.scrollTop - box.clientHeight);
  const keep = keepAtEnd(box);
  const keepAndGrow = async (between) => {
    keep();
    grow(5);
    await between?.();
    for (let frames = 0; frames < 3; frames++) await frame();
  };
  await keepAndGrow();
  const followed = distance();
  await keepAndGrow(async () => {
    box.replaceChildren();
    await frame();
    grow(50);
  });
  const regrown = distance();
  await keepAndGrow(() => void (box.scrollTop -= 200));
  const scrolled = distance();
  box.remove();
  return [followed, regrown, scrolled];
}"""


async def test_scrolling_up_wins_over_a_growing_answer() -> None:
    """Also between a word and the frame that draws it; a text that begins again is followed."""
    async with on_upstream() as (service, _), playground(service.url) as page:
        followed, regrown, scrolled = await page.evaluate(SCROLL)
        assert (followed, regrown) == (0, 0)
        assert scrolled >= 200
