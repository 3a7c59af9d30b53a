"""Tool calls, structured answers, images and settings in the playground, used as a person uses it."""

import base64
from typing import Any

import anyio
import pytest
from playwright.async_api import FilePayload, Page, expect

from browser.pages import recorded
from browser.playground import ANSWER, ask, drawer, example, on_upstream, playground
from support.process import Running
from support.shared import quiet_service, shared_process
from support.upstreams import HOLD, OPENAI, Step, finish, raw, text, until

pytestmark = pytest.mark.browser

RESULTS = ".results textarea"
FOOTER = ".turn:last-of-type > :is(.hint, .problem)"
WEATHER = (
    'The result of get_weather is {"city":"Paris","celsius":15,"sky":"cloudy"}\n'
    'The result of get_weather is {"city":"London","celsius":16,"sky":"cloudy"}'
)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NOISE = """async side => {
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(side, side);
  crypto.getRandomValues(new Uint8Array(image.data.buffer, 0, 65536));
  for (let at = 65536; at < image.data.length; at++) image.data[at] = (image.data[at - 65536] * 7 + at) % 256;
  pen.putImageData(image, 0, 0);
  return canvas.toDataURL("image/png").split(",")[1];
}"""
PICK_HUGE = """input => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(20_000_001)], "huge.png", { type: "image/png" }));
  input.files = data.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}"""
"""As a choice in the dialog; through the driver, so many bytes would take seconds."""
GIVE = """([kind, name, content]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], name, { type: "image/png" }));
  const target = document.querySelector("#prompt");
  const options = { bubbles: true, cancelable: true };
  target.dispatchEvent(kind === "paste"
    ? new ClipboardEvent("paste", { ...options, clipboardData: data })
    : new DragEvent("drop", { ...options, dataTransfer: data }));
}"""

process = shared_process(
    {
        "stream": {"retry_ms": 500},
        "providers.fake": {"words_per_second": 20.0, "first_word_seconds": 0.0},
    }
)
service = quiet_service()


def call(name: str, arguments: str, **fields: Any) -> Step:
    """Send a whole tool call in one chunk."""
    function = {"name": name, "arguments": arguments}
    piece = {"index": 0, "id": "call_1", "type": "function", "function": function, **fields}
    return raw(OPENAI.choice({"tool_calls": [piece]}))


async def picked(page: Page, *files: tuple[str, bytes]) -> None:
    """Choose files in the dialog for images."""
    await page.locator("#image").set_input_files(
        [FilePayload(name=name, mimeType="image/png", buffer=data) for name, data in files]
    )


# ---- Tool calls


@pytest.mark.promise("stream:word-by-word")
async def test_the_example_tool_makes_the_round_trip(service: Running) -> None:
    async with playground(f"http://127.0.0.1:{service.port}") as page:
        await recorded(page, "document.querySelector('.draft code')?.textContent")
        await example(page, "Call a tool")
        await expect(page.locator(RESULTS)).to_have_count(2)
        assert '{"city": ' in await page.evaluate("seen")
        assert await page.locator(".call code").all_text_contents() == [
            '{\n  "city": "Paris"\n}', '{\n  "city": "London"\n}',
        ]  # fmt: skip
        await expect(page.locator(FOOTER)).to_contain_text("The model waits for 2 results.")
        await page.get_by_role("button", name="Send the results").click()
        await expect(page.locator(ANSWER)).to_have_text(WEATHER)
        await expect(page.locator(RESULTS).first).to_be_disabled()
        await expect(page.locator(".turn")).to_have_count(2)


async def test_a_result_is_typed_and_goes_back_with_the_call() -> None:
    extra = {"google": {"thought_signature": "c2lnbmVk"}}
    async with on_upstream() as (service, api), playground(service.url) as page:
        first = call(
            "look_up", '{"word": "<img src=x onerror=window.pwned=1>"}', extra_content=extra
        )
        api.script((text("Let me see."), first, finish("tool_calls")), (text("Done."), finish()))
        await drawer(page, "settings")
        await page.locator("#tools").select_option("own")
        await page.locator("#own-tools").fill(
            '[{"type": "function", "function": {"name": "look_up"}}]'
        )
        await ask(page, "hello")
        await expect(page.locator(RESULTS)).to_have_value("")
        assert await page.evaluate("window.pwned") is None
        assert await page.locator(".turn img").count() == 0
        await page.locator(RESULTS).fill("a tag")
        await page.get_by_role("button", name="Send the result").click()
        await expect(page.locator(ANSWER)).to_have_text("Done.")
        sent = (await api.call(1)).body
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["look_up"]
    assert sent["messages"][1]["content"] == "Let me see."
    assert sent["messages"][1]["tool_calls"][0]["extra_content"]["google"] == extra["google"]
    assert sent["messages"][2] == {"role": "tool", "tool_call_id": "call_1", "content": "a tag"}


async def test_a_new_question_leaves_the_call_without_a_result() -> None:
    async with on_upstream() as (service, api), playground(service.url) as page:
        api.script((call("get_weather", "{}"), finish("tool_calls")), (text("Fine."), finish()))
        await example(page, "Call a tool")
        await page.locator(RESULTS).fill("")
        await ask(page, "Never mind.")
        await expect(page.locator(ANSWER)).to_have_text("Fine.")
        messages = (await api.call(1)).body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user"]
    assert messages[2]["content"] == "(no result was given)"


async def test_a_reload_keeps_the_call_and_the_way_to_answer_it() -> None:
    async with on_upstream() as (service, api), playground(service.url) as page:
        first = call("get_weather", '{"city": "Rome"}'), finish("tool_calls")
        api.script(first, (text("Fine."), finish()))
        await example(page, "Call a tool")
        await expect(page.locator(RESULTS)).to_have_count(1)
        await page.reload()
        await page.get_by_role("button", name="Send the result").click()
        await expect(page.locator(ANSWER)).to_have_text("Fine.")
        sent = (await api.call(1)).body
        assert sent["tools"][0]["function"]["name"] == "get_weather"
        assert '"city":"Rome"' in sent["messages"][2]["content"]
        await page.reload()
        await expect(page.locator("#state")).to_have_text("done")
        await expect(page.locator(ANSWER)).to_have_text("Fine.")
        await expect(page.locator(".result")).to_contain_text('Result: {"city":"Rome"')


async def test_a_call_that_is_cut_does_not_count() -> None:
    function = {"name": "get_weather", "arguments": '{"city": "Ro'}
    piece = {"index": 0, "id": "call_1", "function": function}
    beginning = raw(OPENAI.choice({"tool_calls": [piece]}))
    async with (
        on_upstream(beginning, finish("length")) as (service, _),
        playground(service.url) as page,
    ):
        await example(page, "Call a tool")
        await expect(page.locator(FOOTER)).to_contain_text(
            "Incomplete, because it reached the token limit"
        )
        await expect(page.locator(".call span")).to_have_text(
            "get_weather: not whole, so it does not count"
        )
        await expect(page.locator(RESULTS)).to_have_count(0)


async def test_refused_results_can_be_sent_again() -> None:
    async with (
        on_upstream(call("get_weather", "{}"), finish("tool_calls")) as (service, api),
        playground(service.url, expected=["503"]) as page,
    ):
        await example(page, "Call a tool")
        await expect(page.locator(RESULTS)).to_have_count(1)
        await page.route(
            "**/v1/generations", lambda route: route.fulfill(status=503, json={"detail": "Busy."})
        )
        await page.get_by_role("button", name="Send the result").click()
        await expect(page.locator(FOOTER)).to_have_text("Busy.")
        await page.unroute("**/v1/generations")
        api.script((text("Fine."), finish()))
        await page.get_by_role("button", name="Send the result").click()
        await expect(page.locator(ANSWER)).to_have_text("Fine.")
        roles = [message["role"] for message in (await api.call(1)).body["messages"]]
    assert roles == ["user", "assistant", "tool"]


# ---- Structured answers


async def test_a_structured_answer_grows_and_is_checked() -> None:
    go_on = anyio.Event()
    script = (
        text('{"title": "Pan', 'cakes", '),
        until(go_on),
        text('"minutes": 20, "steps": []}'),
        finish(),
    )
    async with on_upstream(*script) as (service, api), playground(service.url) as page:
        await example(page, "Fill a JSON Schema")
        code = page.locator(f"{ANSWER} code")
        await expect(code).to_have_text('{"title": "Pancakes",')
        go_on.set()
        await expect(page.locator(f"{ANSWER} .check")).to_have_text("It fits the schema.")
        pretty = '{\n  "title": "Pancakes",\n  "minutes": 20,\n  "steps": []\n}'
        assert await code.evaluate("e => e.textContent") == pretty
        asked = (await api.call()).body["response_format"]["json_schema"]
    assert asked["name"] == "recipe"


VERDICT = """async ({ text, schema }) => {
  const { StructuredAnswer } = await import(new URL("playground/structured.js", location.href));
  const box = document.createElement("div");
  const answer = new StructuredAnswer(box, schema);
  answer.append(text);
  answer.finish();
  return box.lastElementChild.textContent;
}"""
SCHEMA = {
    "type": "object",
    "required": ["a"],
    "additionalProperties": False,
    "properties": {
        "a": {"type": "array", "items": {"type": "integer", "maximum": 5}},
        "c": {"enum": ["x", None]},
    },
}
VERDICTS = {
    '{"a": [5], "c": null}': "It fits the schema.",
    '{"a": [1, "x"]}': "It does not fit the schema: $.a[1] is not of type integer.",
    "{}": "It does not fit the schema: $.a is missing.",
    '{"a": [], "b": 1}': "It does not fit the schema: $.b is not allowed.",
    '{"a": [9]}': "It does not fit the schema: $.a[0] is out of bounds.",
    '{"a": [], "c": "z"}': 'It does not fit the schema: $.c is not one of ["x",null].',
    '{"a": ': "This is not whole JSON.",
}


async def test_the_verdict_names_what_does_not_fit(service: Running) -> None:
    async with playground(f"http://127.0.0.1:{service.port}") as page:
        for answer, verdict in VERDICTS.items():
            said = await page.evaluate(VERDICT, {"text": answer, "schema": SCHEMA})
            assert said == verdict


async def test_a_schema_that_is_not_json_is_a_sentence(service: Running) -> None:
    async with playground(f"http://127.0.0.1:{service.port}") as page:
        await drawer(page, "settings")
        await page.locator("#format").select_option("own")
        await page.locator("#own-schema").fill("{")
        await ask(page, "hello")
        await expect(page.locator("#announcer")).to_contain_text("The schema is not JSON: ")
        await expect(page.locator("#own-schema")).to_be_visible()
        await expect(page.locator("#prompt")).to_have_value("hello")
        await expect(page.locator(".turn, .question")).to_have_count(0)


# ---- Images


async def test_images_from_a_file_the_clipboard_and_a_drop_reach_the_model() -> None:
    async with (
        on_upstream(text("A pixel."), finish()) as (service, api),
        playground(service.url) as page,
    ):
        await picked(page, ("one.png", PNG))
        for kind in ("paste", "drop"):
            await page.evaluate(GIVE, [kind, f"{kind}.png", base64.b64encode(PNG).decode()])
        await expect(page.locator("#images li")).to_have_count(3)
        await page.get_by_role("button", name="Remove paste.png").click()
        await expect(page.locator("#images li")).to_have_count(2)
        await ask(page, "What is it?")
        await expect(page.locator(ANSWER)).to_have_text("A pixel.")
        await expect(page.locator("#images li")).to_have_count(0)
        await expect(page.locator(".question canvas")).to_have_count(2)
        content = (await api.call()).body["messages"][0]["content"]
        await page.reload()
        await expect(page.locator("#state")).to_have_text("done")
        await expect(page.locator(".question canvas")).to_have_count(2)
        await expect(page.locator(".question")).to_contain_text("What is it?")
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert content[0] == {"type": "text", "text": "What is it?"}
    assert [part["image_url"]["url"] for part in content[1:]] == [url, url]


async def test_a_large_image_is_made_small_enough_to_send() -> None:
    async with (
        on_upstream(text("Noise."), finish()) as (service, api),
        playground(service.url) as page,
    ):
        large = base64.b64decode(await page.evaluate(NOISE, 800))
        assert len(large) > 1_000_000
        await picked(page, ("large.png", large))
        await expect(page.locator("#images li")).to_have_count(1)
        await ask(page, "What is it?")
        await expect(page.locator(ANSWER)).to_have_text("Noise.")
        url = (await api.call()).body["messages"][0]["content"][1]["image_url"]["url"]
    assert url.startswith("data:image/jpeg;base64,")
    assert len(base64.b64decode(url.partition(",")[2])) <= 150_000


@pytest.mark.promise("input:clear-error")
async def test_what_is_not_a_possible_image_is_a_sentence(service: Running) -> None:
    async with playground(f"http://127.0.0.1:{service.port}") as page:
        await picked(page, ("notes.txt", b"words"))
        await expect(page.locator("#announcer")).to_have_text(
            "notes.txt is not an image that this browser can read."
        )
        await page.locator("#image").evaluate(PICK_HUGE)
        await expect(page.locator("#announcer")).to_have_text("huge.png is larger than 20 MB.")
        await picked(page, *((f"{number}.png", PNG) for number in range(5)))
        await expect(page.locator("#announcer")).to_have_text("A question takes up to 4 images.")
        await expect(page.locator("#images li")).to_have_count(4)


# ---- Settings, refusals, log probabilities


async def test_settings_reach_the_model() -> None:
    async with (
        on_upstream(text("Fine."), finish()) as (service, api),
        playground(service.url) as page,
    ):
        await drawer(page, "settings")
        for field, value in {
            "system": "Be brief.",
            "temperature": "0.25",
            "max-tokens": "9",
        }.items():
            await page.locator(f"#{field}").fill(value)
        await page.locator("#effort").select_option("low")
        await ask(page, "hello")
        await expect(page.locator(ANSWER)).to_have_text("Fine.")
        sent = (await api.call()).body
    assert sent["messages"][0]["content"] == "Be brief."
    assert (sent["temperature"], sent["reasoning_effort"]) == (0.25, "low")
    assert 9 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


async def test_an_impossible_setting_is_a_sentence(service: Running) -> None:
    async with playground(f"http://127.0.0.1:{service.port}") as page:
        await drawer(page, "settings")
        await page.locator("#temperature").fill("3")
        await ask(page, "hello")
        await expect(page.locator("#announcer")).to_have_text("Invalid value: Temperature.")
        await expect(page.locator("#prompt")).to_have_value("hello")


async def test_parameters_that_the_provider_lacks_are_named(service: Running) -> None:
    async with playground(f"http://127.0.0.1:{service.port}") as page:
        said = await page.evaluate("""async () => {
          const { Turn } = await import(new URL("playground/turn.js", location.href));
          const turn = new Turn({});
          const start = { type: "start", dropped_parameters: ["seed", "name"] };
          turn.take({ ...start, adjusted_parameters: { reasoning_effort: "low" } });
          return turn.article.querySelector(".changes").textContent;
        }""")
    assert said == (
        "The provider lacks, and does not get: seed, name. It gets the nearest reasoning_effort: low."
    )


async def test_a_refusal_is_readable_and_enters_the_history() -> None:
    async with on_upstream() as (service, api), playground(service.url) as page:
        pieces = (raw(OPENAI.choice({"refusal": piece})) for piece in ("I cannot ", "help."))
        api.script((*pieces, finish()), (text("Fine."), finish()))
        await ask(page, "hello")
        await expect(page.locator(".refusal")).to_have_text("I cannot help.")
        await expect(page.locator("#state")).to_have_text("done")
        await ask(page, "Why?")
        await expect(page.locator(ANSWER)).to_have_text("Fine.")
        history = (await api.call(1)).body["messages"][1]
    assert "I cannot help." in (history.get("refusal"), history.get("content"))


async def test_log_probabilities_are_lines_of_percentages(service: Running) -> None:
    async with playground(f"http://127.0.0.1:{service.port}") as page:
        await drawer(page, "settings")
        await page.locator("#likely").check()
        await ask(page, "hello")
        await expect(page.locator("#state")).to_have_text("done")
        await page.locator(".likely summary").click()
        lines = (await page.locator(".likely pre").inner_text()).strip().splitlines()
    assert lines[0] == '"FastAPI " 92.3 %   or "fASTapi " 45.8 %'
    assert len(lines) == 7


async def test_stop_ends_a_call_that_is_being_written() -> None:
    function = {"name": "get_weather", "arguments": '{"city": '}
    piece = raw(OPENAI.choice({"tool_calls": [{"index": 0, "id": "call_1", "function": function}]}))
    async with on_upstream(piece, HOLD) as (service, api), playground(service.url) as page:
        await example(page, "Call a tool")
        await expect(page.locator(".draft code")).to_have_text('{"city": ')
        await page.keyboard.press("Escape")
        with anyio.fail_after(10):
            await (await api.call()).closed.wait()
        await expect(page.locator(FOOTER)).to_contain_text("Stopped")
        await expect(page.locator(RESULTS)).to_have_count(0)
