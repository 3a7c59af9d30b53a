"""Any text reaches a browser unchanged, whatever it contains and however long it is."""

from urllib.parse import quote

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Serve
from streamsvc.config.settings import Settings
from streamsvc.providers.fake.text import words
from support.eventstream import BrowserEvent, view
from support.native import ASK, STREAM, at_once, text_of, with_fake
from support.service import Service
from support.shared import shared_service

service = shared_service(with_fake(at_once("", reply="echo")))


async def echoed(service: Service, prompt: str, query: str = "") -> list[BrowserEvent]:
    """Ask for the prompt itself, and return the events of the answer."""
    body = msgspec.json.encode({"prompt": prompt})
    target = f"/v1/generations{query}"
    async with view(service.port, target, method="POST", headers=STREAM, body=body) as viewer:
        return await viewer.events()


ODD = st.sampled_from((
    *("\r", "\n", "\r\n", "\n\n", " ", "  ", "\t", "\0", "\ufeff", "\uffff", "\U0010ffff"),
    *("\u2028", "\u2029", "\x85", "\x1c", "\u200d", "\u0301", "👩\u200d👩\u200d👧", "\\", '"'),
    *("data: x", ": ka\n", "id: 1", "event: done", "</script>"),
))  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(st.one_of(ODD, st.text(max_size=5))).map("".join))


@pytest.mark.promise("stream:word-by-word")
@given(prompt=TEXTS.filter(str.strip))
@settings(max_examples=200)
async def test_any_text_reaches_the_browser_in_its_pieces(service: Service, prompt: str) -> None:
    start, *deltas, done = await echoed(service, prompt)
    assert (start.type, done.type) == ("start", "done")
    assert [delta.json["text"] for delta in deltas] == [*words(prompt)]
    assert "".join(words(prompt)) == prompt


@pytest.mark.promise("stream:word-by-word")
@given(prompt=TEXTS.map(lambda text: text.replace("\r", "")).filter(str.strip))
@settings(max_examples=100)
async def test_text_format_carries_text_without_carriage_returns(
    service: Service, prompt: str
) -> None:
    start, *deltas, done = await echoed(service, prompt, "?format=text")
    assert (start.type, done.type) == ("start", "done")
    assert [delta.data for delta in deltas] == [*words(prompt)]


async def test_prompt_in_the_address_arrives_unchanged(service: Service) -> None:
    prompt = "1+1 = 2 & 100 %?\n#é😀;"
    async with view(service.port, f"/stream-ai?prompt={quote(prompt)}") as viewer:
        assert text_of(await viewer.events()) == prompt


async def test_megabyte_answer_arrives_whole(serve: Serve) -> None:
    """As one word, and as many."""
    one = "é😀" * 166_000
    many = ("é😀" * 166 + " ") * 1000
    service = await serve(Settings(providers={"fake": at_once(one), "many": at_once(many)}))
    for provider, text in (("fake", one), ("many", many)):
        with anyio.fail_after(20):
            async with view(service.port, f"{ASK}&provider={provider}") as viewer:
                events = await viewer.events()
        assert len(text.encode()) > 990_000
        assert text_of(events) == text
        assert events[-1].json["status"] == "completed"
        assert viewer.is_whole


async def test_code_points_that_some_clients_split_at_are_escaped(serve: Serve) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf"
    service = await serve(with_fake(at_once(text, reasoning=text)))
    async with view(service.port, ASK) as viewer:
        events = await viewer.events()
    assert text_of(events) == text
    assert len(bytes(viewer.raw).decode().splitlines()) == viewer.raw.count(b"\n")
