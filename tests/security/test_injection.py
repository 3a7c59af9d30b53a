"""No value can end its line: not in a frame, not in a header, not in the path or head of a request upstream.

Advisories: CVE-2026-35515 (NestJS), GHSA-p6xx-57qc-3wxr (Hono), GHSA-4hxc-9384-m385 (h3), and the issues
flask-sse#40, django-eventstream#185, fastify-sse-v2#110: a line end in `event`, `id` or a comment began a new field.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import get_args
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.config.provider_settings import ProviderSettings
from streamsvc.config.settings import Settings
from streamsvc.dialects.ai_sdk.frames import AISDKDialect
from streamsvc.dialects.base import Dialect
from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.native.text import TextDialect
from streamsvc.dialects.openai.frames import OpenAIDialect
from streamsvc.dialects.plain.frames import PlainDialect
from streamsvc.dialects.sse import EVENT_NAMES
from streamsvc.engine.ids import ID_PREFIX, _tag, new_id
from streamsvc.events import (
    Event,
    Record,
    Start,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)
from support import hostile
from support.asking import CLIENTS, Request, answered, chat_stream, fetch, get
from support.contents import WEATHER
from support.events import GENERATION
from support.eventstream import Answer, parse
from support.native import CREATE
from support.service import Service, serving
from support.upstreams import GEMINI, OPENAI, Upstream, finish, text, upstream

DIALECTS: dict[str, Callable[[], Dialect]] = {
    "native": NativeDialect,
    "text": TextDialect,
    "openai": lambda: OpenAIDialect(include_usage=True),
    "ai-sdk": AISDKDialect,
}
NAMES = {
    "native": {line.decode()[7:-1] or "message" for line in EVENT_NAMES.values()},
    "openai": {"message"},
    "ai-sdk": {"message"},
}
NAMES["text"] = NAMES["native"]


def encoded(dialect: Dialect, event: Event) -> bytes:
    """Return the frame of an event in the middle of an answer."""
    encoder = dialect.encoder()
    before: list[Event] = [Start(generation=GENERATION, provider="fake", model="m", created=1)]
    if isinstance(event, ToolCallArguments):
        before.append(ToolCallBegun(index=event.index, id="call", name="look_up"))
    for seq, earlier in enumerate(before):
        encoder.encode(Record(GENERATION, seq, earlier))
    return encoder.encode(Record(GENERATION, 7, event))


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda it: it.__name__)
@pytest.mark.parametrize("name", DIALECTS)
@given(data=st.data())
@settings(max_examples=15)  # for each type in each dialect
def test_cve_2026_35515_no_value_ends_its_line_in_a_frame(
    name: str, kind: type[Event], data: st.DataObject
) -> None:
    """Each block has the fields of its dialect and no others, whatever a client takes for the end of a line."""
    event = data.draw(hostile.EVENTS[kind])
    frame = encoded(DIALECTS[name](), event)
    events = parse(frame)
    assert frame.count(b"\n\n") == len(events)
    assert {it.type for it in events} <= NAMES[name]
    assert {it.last_event_id for it in events} <= {f"{GENERATION}.7", ""}
    if name == "text" and isinstance(event, Text):
        assert b"\r" not in frame
        return  # text as it is
    lines = frame.decode().splitlines()
    assert len(lines) == frame.count(b"\n")
    assert {line.partition(":")[0] for line in lines} <= {"", "id", "event", "data"}
    for each in events:
        assert each.data == "[DONE]" or each.json


@pytest.mark.parametrize("end", ["", "END"])
@given(event=hostile.EVENTS[ToolCallReady])
def test_name_of_a_tool_stays_on_its_line_of_plain_text(end: str, event: ToolCallReady) -> None:
    """Otherwise a model could write the last line, which says how the answer ended."""
    frame = PlainDialect(end).encoder().encode(Record(GENERATION, 7, event))
    assert len(frame.decode().splitlines()) == 1


@pytest.mark.parametrize("name", ["native", "text", "openai", "ai-sdk"])
def test_end_of_a_lost_stream_is_one_block(name: str) -> None:
    assert parse(DIALECTS[name]().lost(new_id()))


# ---- Headers


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[Upstream]:
    async with upstream(text("Fine."), finish()) as api:
        yield api


@pytest.fixture(scope="module")
async def service(api: Upstream) -> AsyncIterator[Service]:
    entries: dict[str, ProviderSettings] = {
        "openai": OPENAI.entry(api.url),
        "gemini": GEMINI.entry(api.url),
    }
    async with serving(Settings(provider="openai", providers=entries), {}) as service:
        yield service


FIELDS = {
    *("date", "server", "content-type", "content-length", "transfer-encoding", "connection", "allow"),
    *("cache-control", "content-security-policy", "cross-origin-resource-policy", "referrer-policy"),
    *("x-content-type-options", "x-accel-buffering", "x-generation-id", "location", "x-should-retry"),
    *("retry-after", "x-vercel-ai-ui-message-stream"),
}  # fmt: skip


def requests_with(value: str) -> Iterator[tuple[Request, dict[str, str]]]:
    """Yield requests with a value wherever a client can put one, and their further headers."""
    quoted = quote(value, safe="")
    native, openai, chat = (CLIENTS[name] for name in ("native", "openai", "ai-sdk"))
    for name in (
        "prompt",
        "provider",
        "key",
        "format",
        "end",
        "fault",
        "script",
        "last_event_id",
        quoted,
    ):
        yield get(f"/stream-ai?prompt=hi&{name}={quoted}"), {}
    for path in ("/", "/v1/models/", "/v1/generations/", "/playground/", "/api/chat/"):
        yield get(f"{path}{quoted}"), {}
    yield get(f"{CREATE}/{quoted}/events"), {}
    yield chat_stream(value), {}
    for model in (value, f"openai/{value}", f"gemini/{value}"):
        yield openai.request(model), {}
    yield native.request("openai", metadata={value[:64]: value}), {}
    yield native.request("openai", user=value, tools=[WEATHER, named(value)]), {}
    yield native.request("gemini", stop=[value]), {}
    yield chat.request("openai", chat=value), {}
    header = value.encode("ascii", "ignore").decode().translate(str.maketrans("", "", "\r\n\0"))
    for field in ("Idempotency-Key", "Last-Event-ID", "Accept", "Content-Type", "Origin"):
        yield native.request("openai"), {field: header.strip()}


def named(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


@pytest.mark.parametrize("value", hostile.INJECTED, ids=ascii)
async def test_no_value_of_a_request_reaches_a_head(
    service: Service, api: Upstream, value: str
) -> None:
    """Neither the head of the response nor that of the request upstream."""
    before = len(api.calls)
    for request, headers in requests_with(value):
        answer = await answered(service.port, request, headers=headers)
        assert_is_harmless(answer)
    assert len(api.calls) > before
    for call in api.calls[before:]:
        assert "x-injected" not in call.headers
        assert call.path.partition("?")[0].rstrip("/") in {
            "/v1/chat/completions",
            f"/v1/models/{call.model}:streamGenerateContent",
        }
        assert "passwd" not in call.path


def assert_is_harmless(answer: Answer) -> None:
    assert answer.status < 500 or answer.status == 503
    assert answer.headers.keys() <= FIELDS
    for field in answer.headers.values():
        assert field.isascii()
        assert field.isprintable()
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        assert {event.type for event in parse(bytes(answer.raw))} <= NAMES["native"]


@given(middle=hostile.TEXT)
@settings(max_examples=20)
async def test_any_id_with_a_matching_tag_is_unknown(service: Service, middle: str) -> None:
    """The tag says whose an id is; it is no proof that there is one."""
    fake = with_tag(middle)
    for path in ("", "/events"):
        answer = await fetch(service.port, f"{CREATE}/{quote(fake, safe='')}{path}")
        assert answer.status == 404
        assert_is_harmless(answer)


def with_tag(random: str) -> str:
    """Return what `new_id` would return for these random characters."""
    return f"{ID_PREFIX}{random}{_tag(random, '')}"
