"""The pages of `docs/guides/tools.md` and `docs/guides/structured-answers.md`, in a real browser."""

import json
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from browser.guide import FILES as FRONTEND
from browser.guide import files_of, save
from browser.guide_pages import ANSWER
from browser.pages import bundle, opened, recorded, shown
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import CorsSettings, GenerationSettings, Settings, StreamSettings
from support.proxy import after_events, breaking_proxy, never
from support.service import Service, serving
from support.upstreams import OPENAI, finish, raw, text, upstream

pytestmark = pytest.mark.browser

FILES = {
    **files_of("guides/tools.md"),
    **files_of("guides/structured-answers.md"),
    "ask.js": FRONTEND["ask.js"],
}
TOOL_PAGE = "ask.js", "tools.js", "ask-with-tools.js", "tools.html"
RECIPE_PAGE = "ask.js", "partial.js", "recipe.js", "recipe.html"
NOTE = "note.textContent"
CALLS = "list.innerText"

BOTH = 'get_weather({"city": "Paris"})\nget_weather({"city": "London"})'
WEATHER = (
    'The result of get_weather is {"city":"Paris","celsius":15,"sky":"cloudy"}\n'
    'The result of get_weather is {"city":"London","celsius":16,"sky":"cloudy"}'
)
RESULTS = [
    {"role": "tool", "tool_call_id": f"call_{number}", "content": content}
    for number, content in (
        (1, '{"city":"Paris","celsius":15,"sky":"cloudy"}'),
        (2, '{"city":"London","celsius":16,"sky":"cloudy"}'),
    )
]


async def provided(serve: Serve, origin: str, **fake: Any) -> Service:
    """Start a service whose fake provider calls tools and fills in schemas."""
    entry = {"words_per_second": 40.0, "first_word_seconds": 0.0, "backoff_seconds": 0.01, **fake}
    return await serve(
        Settings(
            cors=CorsSettings(origins=(origin,)),
            generations=GenerationSettings(grace_seconds=10),
            stream=StreamSettings(retry_ms=500),
            providers={"fake": FakeSettings(**entry)},
        )
    )


async def follow(page: Page, origin: str, directory: Path, url: str, *names: str) -> list[Any]:
    """Save files as a reader does, and open the last one; return the list of what it posts."""
    save(directory, *names, service=url, files=FILES)
    bodies: list[Any] = []
    page.on("request", lambda it: bodies.append(it.post_data_json) if it.post_data else None)
    await page.goto(f"{origin}/{names[-1]}")
    return bodies


# ---- Tools


@pytest.mark.promise("stream:word-by-word")
async def test_the_page_runs_parallel_calls_and_shows_the_answer(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await provided(serve, origin)
    async with opened("about:blank") as page:
        await recorded(page, "globalThis.list?.textContent")
        bodies = await follow(page, origin, tmp_path, service.url, *TOOL_PAGE)
        await shown(page, ANSWER, WEATHER)
        await shown(page, CALLS, BOTH)
        await shown(page, NOTE, "")
        assert 'get_weather({"city": )' in await page.evaluate("seen")
    assert len(service.log) == 2
    assert bodies[1]["messages"][2:] == RESULTS


@pytest.mark.promise("upstream:rescue")
async def test_a_call_that_broke_off_is_not_run(serve: Serve, tmp_path: Path, origin: str) -> None:
    """The first attempt ends in the second call; the next one writes both, and each is run once."""
    service = await provided(serve, origin, fault="cut_once", fault_after_words=5)
    async with opened("about:blank") as page:
        bodies = await follow(page, origin, tmp_path, service.url, *TOOL_PAGE)
        await shown(page, ANSWER, WEATHER)
        await shown(page, CALLS, BOTH)
    assert bodies[1]["messages"][2:] == RESULTS


async def test_an_answer_that_is_lost_in_a_call_runs_nothing(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await provided(serve, origin, fault="cut", fault_after_words=5, attempts=1)
    async with opened("about:blank") as page:
        bodies = await follow(page, origin, tmp_path, service.url, *TOOL_PAGE)
        await shown(page, NOTE, "The provider's answer broke off in the middle.")
    assert len(bodies) == len(service.log) == 1


async def test_an_unknown_tool_is_a_result_that_says_so(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await provided(serve, origin)
    async with opened("about:blank") as page:
        save(tmp_path, "tools.js", service=service.url, files=FILES)
        await page.goto(f"{origin}/tools.js")
        results = await page.evaluate("""async () => {
          const { resultOf } = await import("./tools.js");
          return Promise.all([
            resultOf("get_weather", '{"city": "Rome"}'), resultOf("toString", "{}"),
            resultOf("get_weather", "null"),
          ]);
        }""")
    assert results[0] == '{"city":"Rome","celsius":14,"sky":"cloudy"}'
    assert results[1] == '{"error":"There is no tool named toString."}'
    assert results[2].startswith('{"error":"')


async def test_the_page_sends_the_providers_data_back_as_it_came(
    tmp_path: Path, origin: str
) -> None:
    extra = {"google": {"thought_signature": "c2lnbmVk"}}
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    call = {"index": 0, "id": "call_p", "type": "function", "function": function}
    async with upstream() as api:
        first = raw(OPENAI.choice({"tool_calls": [{**call, "extra_content": extra}]}))
        api.script((first, finish("tool_calls")), (text("It is 15 degrees."), finish()))
        settings = Settings(
            provider="openai",
            cors=CorsSettings(origins=(origin,)),
            providers={"openai": OPENAI.entry(api.url)},
        )
        async with (
            serving(settings, {"OPENAI_API_KEY": "sk-test"}) as service,
            opened("about:blank") as page,
        ):
            bodies = await follow(page, origin, tmp_path, service.url, *TOOL_PAGE)
            await shown(page, ANSWER, "It is 15 degrees.")
            sent = (await api.call(1)).body["messages"][1]["tool_calls"][0]
    assert bodies[1]["messages"][1]["tool_calls"][0]["provider_data"]["google"] == extra["google"]
    assert sent["extra_content"]["google"] == extra["google"]


@pytest.mark.promise("resume:no-gap")
async def test_an_event_source_gets_each_call_once_although_it_broke(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await provided(serve, origin)
    save(tmp_path, "tools.js", "follow-calls.js", service="", files=FILES)
    (tmp_path / "page.html").write_text("<!doctype html><title>Calls</title>")
    async with (
        breaking_proxy(service.port, chain([after_events(4)], repeat(never))) as proxy,
        opened(f"{origin}/page.html") as page,
    ):
        seen = await page.evaluate(
            """async (service) => {
              const { tools } = await import("./tools.js");
              const { onCalls } = await import("./follow-calls.js");
              const prompt = "How is the weather in Paris and London?";
              const body = JSON.stringify({ prompt, tools });
              const made = await fetch(`${service}/v1/generations`, { method: "POST", body });
              const { id } = await made.json();
              const source = new EventSource(`${service}/v1/generations/${id}/events`);
              return new Promise(go => onCalls(source, (calls, done) => go([calls, done.status])));
            }""",
            f"http://127.0.0.1:{proxy.port}",
        )
    calls, status = seen
    assert proxy.broken == 1
    assert [json.loads(call["arguments"])["city"] for call in calls] == ["Paris", "London"]
    assert status == "completed"


@pytest.mark.node
async def test_use_chat_runs_both_calls_and_shows_the_answer(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await provided(serve, origin)
    save(tmp_path, "tools.js", "tool-chat.jsx", service=service.url, files=FILES)
    (tmp_path / "page.html").write_text(
        '<!doctype html><meta charset="utf-8"><div id="chat"></div>'
        '<script type="module" src="chat.js"></script>'
    )
    await bundle(tmp_path, "tool-chat.jsx", "chat.js")
    async with opened(f"{origin}/page.html") as page:
        await page.fill("input", "How is the weather in Paris and London?")
        await page.click("text=Send")
        await shown(page, "document.querySelector('.assistant p')?.textContent", WEATHER)
        await shown(page, "document.querySelector('output').textContent", "ready")
        calls = await page.locator(".assistant code").all_text_contents()
    assert calls == ['get_weather({"city":"Paris"})', 'get_weather({"city":"London"})']
    assert len(service.log) == 2


# ---- Structured answers


@pytest.mark.promise("stream:word-by-word")
async def test_a_structured_answer_is_shown_as_it_grows(
    serve: Serve, tmp_path: Path, origin: str
) -> None:
    service = await provided(serve, origin)
    async with opened("about:blank") as page:
        await recorded(page, "globalThis.steps && heading.textContent + steps.textContent")
        await follow(page, origin, tmp_path, service.url, *RECIPE_PAGE)
        await shown(page, "[minutes.textContent, steps.textContent].join()", "1 minutes,steps")
        await shown(page, NOTE, "")
        seen = await page.evaluate("seen")
    assert "title" in seen
    assert seen[-1] == "titlesteps"


async def test_a_refusal_is_shown_and_not_parsed(tmp_path: Path, origin: str) -> None:
    script = (raw(OPENAI.choice({"refusal": piece})) for piece in ("I cannot ", "help."))
    async with upstream(*script, finish()) as api:
        settings = Settings(
            provider="openai",
            cors=CorsSettings(origins=(origin,)),
            providers={"openai": OPENAI.entry(api.url)},
        )
        async with (
            serving(settings, {"OPENAI_API_KEY": "sk-test"}) as service,
            opened("about:blank") as page,
        ):
            await follow(page, origin, tmp_path, service.url, *RECIPE_PAGE)
            await shown(page, NOTE, "I cannot help.")
            assert await page.evaluate("heading.textContent") == ""


async def test_a_cut_structured_answer_says_so(serve: Serve, tmp_path: Path, origin: str) -> None:
    service = await provided(serve, origin, fault="content_filter", fault_after_words=3)
    async with opened("about:blank") as page:
        await follow(page, origin, tmp_path, service.url, *RECIPE_PAGE)
        await shown(page, NOTE, "incomplete")
        await shown(page, "heading.textContent", "title")


PREFIXES = """async text => {
  const { partial } = await import("./partial.js");
  return Array.from({ length: text.length + 1 }, (_, end) => partial(text.slice(0, end)) ?? null);
}"""


@pytest.mark.parametrize(
    "value",
    [
        {"a": 'q " \\ é \n, [x] {', "b": 12, "c": ["one", "two"], "d": {"e": [[{}], {"f": None}]}},
        [True, -1.5e-3, [], "", {}],
    ],
)
async def test_every_beginning_of_a_document_has_a_value_that_only_grows(
    tmp_path: Path, origin: str, value: object
) -> None:
    save(tmp_path, "partial.js", service="", files=FILES)
    async with opened(f"{origin}/partial.js") as page:
        for whole in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
            values = await page.evaluate(PREFIXES, whole)
            assert values[-1] == value
            sizes = [
                len(json.dumps(it, ensure_ascii=False)) if it is not None else 0 for it in values
            ]
            assert sizes == sorted(sizes)
            assert sizes[1] > 0
