"""Words arrive unchanged: complete, in order, one by one, and as valid Unicode."""

from collections.abc import Sequence

import anyio
import pytest
from provider import (
    Subject,
    UpstreamSubject,
    every,
    every_upstream,
    finishes,
    gather,
    texts,
    thoughts,
)

from streamsvc.events import Text
from streamsvc.messages import Prompt, UserMessage
from streamsvc.providers.base import Provider
from support.answering import answering
from support.upstreams import HOLD, Call, Script, finish, raw, reasoning, text

pytestmark = pytest.mark.usefixtures("no_certificates")


UNICODE = {
    "emoji": ("👋🏽", "👨‍👩‍👧‍👦", "🏴󠁧󠁢󠁷󠁬󠁳󠁿"),
    "combining": ("e", "\u0301", "a\u0308\u0323", "\u0915\u094d\u0937"),
    "right to left": ("שלום", "\u200f", "مرحبا"),
    "line feed": ("a\n", "\n", "\n\nb"),
    "carriage return": ("a\r", "\r", "\r\rb"),
    "both": ("a\r\n", "\r", "\n", "\r\n\r\nb"),
    "line ends of Unicode": ("a\u2028", "\u2029", "\u0085", "\v\fb"),
    "odd ones": ("\0", "\x1b", "\ufeff", "\uffff", "\U0010ffff"),
    "spaces": (" ", "  a  ", "\t", "\u00a0"),
    "looks like a frame": ("data: [DONE]\n\n", "event: done\n", ": ka\n", "id: 7\n\n"),
}
"""Pieces of text that must arrive unchanged, with the same boundaries; none is empty."""


@every
@pytest.mark.promise("stream:word-by-word")
@pytest.mark.parametrize("pieces", UNICODE.values(), ids=UNICODE.keys())
async def test_text_is_unchanged(subject: Subject, pieces: Sequence[str]) -> None:
    """The same holds for reasoning, and a provider with an upstream keeps its boundaries."""
    async with subject.saying(*pieces, reasoning=pieces) as answer:
        deltas, error = await gather(answer)
    assert error is None
    assert "".join(texts(deltas)) == "".join(thoughts(deltas)) == "".join(pieces)
    assert all(texts(deltas))
    assert all(thoughts(deltas))
    if isinstance(subject, UpstreamSubject):
        assert texts(deltas) == thoughts(deltas) == list(pieces)


@every
async def test_megabyte_is_unchanged(subject: Subject) -> None:
    piece = "Größe🙂" * 100 + "\n"
    async with subject.saying(*[piece] * 1000) as answer:
        deltas, error = await gather(answer)
    assert error is None
    assert "".join(texts(deltas)) == piece * 1000


@every_upstream
async def test_one_delta_may_be_a_megabyte(subject: UpstreamSubject) -> None:
    piece = "Größe 🙂 " * 80_000
    async with subject.saying(piece) as answer:
        deltas, _ = await gather(answer)
    assert texts(deltas) == [piece]


@every_upstream
async def test_concurrent_answers_are_not_mixed_up(
    subject: UpstreamSubject,
) -> None:
    answers: dict[str, list[str]] = {}

    async def ask(provider: Provider, name: str) -> None:
        prompt = Prompt(messages=(UserMessage(name),))
        async with answering(provider, prompt) as answer:
            deltas, _ = await gather(answer)
        answers[name] = texts(deltas)

    def echo(call: Call) -> Script:
        name = str(call.body).split("name-")[1][:1]
        return text(*[f"{name} "] * 20), finish()

    with anyio.fail_after(10):
        async with subject.open() as (api, provider), anyio.create_task_group() as tasks:
            api.choose = echo
            for name in "abcdefgh":
                tasks.start_soon(ask, provider, f"name-{name}")
    assert answers == {f"name-{name}": [f"{name} "] * 20 for name in "abcdefgh"}


@every_upstream
@pytest.mark.promise("stream:word-by-word")
async def test_delta_is_emitted_before_the_next_one_arrives(subject: UpstreamSubject) -> None:
    """The adapter does not wait for further lines or blocks."""
    async with subject.asked(text("One ", "two "), HOLD) as (_, answer):
        with anyio.fail_after(10):
            assert [await anext(answer), await anext(answer)] == [Text("One "), Text("two ")]


@every_upstream
async def test_bytes_may_arrive_one_by_one(subject: UpstreamSubject) -> None:
    pieces = "Zoë ", "🙂", "\r\n", "\u2028end"
    data = b"".join(map(subject.wire.token, pieces))
    async with subject.asked(raw(data, piece_bytes=1), finish("length")) as (_, answer):
        deltas, error = await gather(answer)
    assert error is None
    assert texts(deltas) == list(pieces)
    assert [end.reason for end in finishes(deltas)] == ["length"]


@every_upstream
async def test_emoji_may_be_cut_between_two_reads(
    subject: UpstreamSubject,
) -> None:
    data = subject.wire.token("a🙂b")
    middle = data.index("🙂".encode()) + 2
    script = raw(data[:middle]), raw(data[middle:]), finish()
    async with subject.asked(*script) as (_, answer):
        deltas, _ = await gather(answer)
    assert texts(deltas) == ["a🙂b"]


@every_upstream
@pytest.mark.promise("stream:word-by-word")
async def test_emoji_may_be_cut_into_escapes_in_two_deltas(
    subject: UpstreamSubject,
) -> None:
    script = text("a\ud83d", "\ude42b", "\ud83d"), text("\ude42"), finish()
    async with subject.asked(*script) as (_, answer):
        deltas, error = await gather(answer)
    assert error is None
    assert "".join(texts(deltas)) == "a🙂b🙂"
    assert all(texts(deltas))


@every_upstream
@pytest.mark.parametrize("pieces", [("a\ud83d",), ("\ud83d", "a"), ("\ude42", "\ude42a")])
async def test_half_an_emoji_without_its_partner_is_replaced(
    subject: UpstreamSubject, pieces: Sequence[str]
) -> None:
    async with subject.asked(text(*pieces), finish()) as (_, answer):
        deltas, error = await gather(answer)
    assert error is None
    assert "".join(texts(deltas)) == "".join(
        "\ufffd" if "\ud800" <= char <= "\udfff" else char for char in "".join(pieces)
    )


@every_upstream
async def test_half_an_emoji_that_ends_the_reasoning_is_replaced(
    subject: UpstreamSubject,
) -> None:
    async with subject.asked(reasoning("Hm \ud83d"), finish()) as (_, answer):
        deltas, _ = await gather(answer)
    assert thoughts(deltas) == ["Hm ", "\ufffd"]
