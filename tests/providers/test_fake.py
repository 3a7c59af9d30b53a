"""The fake provider: the same words every time, at the pace that is asked for.

Everything here runs in virtual time: a wait takes none, and lasts exactly as long as it should.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.events import Delta, Reasoning, Text, Usage
from streamsvc.messages import AssistantMessage, Prompt, UserMessage, count_words
from streamsvc.providers.base import Finish
from streamsvc.providers.fake.provider import FakeProvider
from streamsvc.providers.fake.text import before_stop, words
from support.answering import Piece, answering

TEXT = "FastAPI is the future of AI development."

deterministic = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Use trio with a clock that jumps to the next timer when all tasks wait."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def prompt(question: str = "Tell me.", **fields: Any) -> Prompt:
    return Prompt(messages=(UserMessage(question),), **fields)


async def ask(
    asked: Prompt | None = None, *, pauses: Sequence[float] = (), **fields: Any
) -> list[tuple[float, Piece]]:
    """Return every delta with the time since the request; *pauses* are those of a slow reader."""
    began = anyio.current_time()
    timed = []
    left = iter(pauses)
    async with answering(FakeProvider(FakeSettings(**fields)), asked or prompt()) as deltas:
        async for delta in deltas:
            timed.append((round(anyio.current_time() - began, 6), delta))
            await anyio.sleep(next(left, 0))
    return timed


def answer(timed: Sequence[tuple[float, Piece]]) -> str:
    return "".join(delta.text for _, delta in timed if isinstance(delta, Text))


def end(timed: Sequence[tuple[float, Piece]]) -> Finish:
    [*_, (_, last)] = timed
    assert isinstance(last, Finish)
    return last


def times(timed: Sequence[tuple[float, Piece]]) -> list[float]:
    return [at for at, _ in timed]


# Words


async def test_answer_is_the_same_every_time() -> None:
    assert await ask() == await ask()
    assert await ask(jitter=0.5) == await ask(jitter=0.5)


@pytest.mark.promise("stream:word-by-word")
async def test_words_are_emitted_one_by_one_and_counted() -> None:
    timed = await ask()
    assert [delta for _, delta in timed] == [
        *map(Text, ("FastAPI ", "is ", "the ", "future ", "of ", "AI ", "development.")),
        Finish(
            reason="stop",
            provider_reason="stop",
            usage=Usage(input_tokens=2, output_tokens=7),
        ),
    ]


@given(st.text())
@deterministic
def test_cutting_into_words_loses_nothing(text: str) -> None:
    pieces = list(words(text))
    assert "".join(pieces) == text
    assert all(pieces)


@given(st.lists(st.text("abc🙂", min_size=1, max_size=5), max_size=20))
@deterministic
def test_word_keeps_one_space(tokens: list[str]) -> None:
    assert [piece.strip() for piece in words(" ".join(tokens))] == tokens


@pytest.mark.parametrize("question", ["Hello", " a\r\n\r b\u2028 ", "Write code!", "🙂 👩‍💻"])
async def test_echo_repeats_the_last_message_unchanged(question: str) -> None:
    turns = UserMessage("First"), AssistantMessage("Second"), UserMessage(question)
    assert answer(await ask(Prompt(messages=turns), reply="echo")) == question


@pytest.mark.parametrize(
    "question", ["Write a Python function", "show me CODE", "```x```", "Refactor this.", "sql?"]
)
async def test_code_question_gets_a_fenced_block(question: str) -> None:
    said = answer(await ask(prompt(question)))
    before, code, after = said.split("```")
    assert before.endswith("\n")
    assert code.startswith("python\n")
    assert code.endswith("\n")
    assert after.startswith("\n")
    compile(code.removeprefix("python\n"), "answer", "exec")


@pytest.mark.parametrize("question", ["Hello", "What is a codex?", "classic encodings", ""])
async def test_other_questions_get_the_text(question: str) -> None:
    assert answer(await ask(prompt(question))) == TEXT
    assert answer(await ask(prompt(question), text="Hi  there\n")) == "Hi  there\n"


async def test_question_about_markdown_gets_all_of_it() -> None:
    said = answer(await ask(prompt("Show me Markdown tables and code.")))
    for sign in (
        "## ",
        "**",
        "1. ",
        "- [x] ",
        "|:---",
        "> ",
        "\\(",
        "](https://",
        "```python\n",
        "\n---\n",
    ):
        assert sign in said


async def test_reply_text_never_answers_with_code() -> None:
    assert answer(await ask(prompt("Write code!"), reply="text")) == TEXT


async def test_empty_text_ends_without_a_word() -> None:
    timed = await ask(text="")
    assert [type(delta) for _, delta in timed] == [Finish]
    assert end(timed).usage == Usage(input_tokens=2, output_tokens=0)


async def test_reasoning_comes_first_and_is_counted_apart() -> None:
    timed = await ask(text="One two", reasoning="Hm. Well …")
    assert [delta for _, delta in timed[:-1]] == [
        *map(Reasoning, ("Hm. ", "Well ", "…")),
        *map(Text, ("One ", "two")),
    ]
    assert end(timed).usage == Usage(input_tokens=2, output_tokens=5, reasoning_tokens=3)


# Parameters of a prompt


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (("future",), "FastAPI is the "),
        (("of", "is"), "FastAPI "),
        (("Fast",), ""),
        ((".",), TEXT[:-1]),
        (("nowhere",), TEXT),
        ((" is", " the"), "FastAPI"),
    ],
)
async def test_first_stop_sequence_ends_the_answer(stop: tuple[str, ...], said: str) -> None:
    timed = await ask(prompt(stop=stop))
    assert answer(timed) == said
    assert end(timed).reason == "stop"


@pytest.mark.parametrize(
    ("bound", "said", "reason"),
    [
        (1, "FastAPI ", "length"),
        (6, "FastAPI is the future of AI ", "length"),
        (7, TEXT, "stop"),
        (100, TEXT, "stop"),
    ],
)
async def test_max_tokens_counts_words_and_sets_the_reason(
    bound: int, said: str, reason: str
) -> None:
    timed = await ask(prompt(max_tokens=bound))
    assert answer(timed) == said
    assert (end(timed).reason, end(timed).provider_reason) == (reason, reason)


@given(st.text("ab .", max_size=30), st.lists(st.text("ab .", min_size=1, max_size=3), max_size=3))
@deterministic
def test_answer_never_contains_a_stop_sequence(text: str, stop: list[str]) -> None:
    said = before_stop(text, stop)
    assert text.startswith(said)
    assert not any(sequence in said for sequence in stop)


async def test_whole_prompt_is_counted() -> None:
    turns = UserMessage("one two"), AssistantMessage("three"), UserMessage(" four ")
    assert count_words(Prompt(messages=turns, system="five six")) == 6


# Pace


async def test_first_word_has_a_delay_and_the_others_a_pace() -> None:
    timed = await ask(text="a b c d", first_word_seconds=0.5, words_per_second=4)
    assert times(timed) == [0.5, 0.75, 1.0, 1.25, 1.25]


async def test_zero_pace_takes_no_time() -> None:
    assert times(await ask(first_word_seconds=0, words_per_second=0)) == [0.0] * 8


async def test_reasoning_is_paced_like_the_answer() -> None:
    timed = await ask(text="b", reasoning="a ", first_word_seconds=1, words_per_second=1)
    assert times(timed) == [1.0, 2.0, 2.0]


async def test_delays_do_not_add_up() -> None:
    """A slow reader gets all due words at once, and the rest in time."""
    fields: dict[str, Any] = {"text": "a b c d", "first_word_seconds": 1, "words_per_second": 1}
    assert times(await ask(pauses=[0.5] * 4, **fields))[:4] == [1.0, 2.0, 3.0, 4.0]
    assert times(await ask(pauses=[2.5], **fields))[:4] == [1.0, 3.5, 3.5, 4.0]


async def test_jitter_varies_each_gap_within_its_share() -> None:
    timed = await ask(text="a " * 50, first_word_seconds=0, words_per_second=1, jitter=0.25)
    at = times(timed)[:-1]
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert all(0.75 <= round(gap, 5) <= 1.25 for gap in gaps)
    assert len({round(gap, 5) for gap in gaps}) > 25


async def test_jitter_comes_from_the_seed_or_the_requests_own() -> None:
    fields: dict[str, Any] = {"jitter": 1, "words_per_second": 5}
    configured, other = await ask(seed=1, **fields), await ask(seed=2, **fields)
    assert times(configured) != times(other)
    assert answer(configured) == answer(other)
    assert times(await ask(prompt(seed=1), seed=2, **fields)) == times(configured)
    assert times(await ask(prompt(seed=0), seed=2, **fields)) == times(await ask(**fields))


async def test_cancelled_answer_emits_nothing_more() -> None:
    emitted: list[Delta | Finish] = []
    with anyio.move_on_after(0.5) as scope:
        await FakeProvider(FakeSettings(words_per_second=5)).generate(prompt(), emitted.append)
    assert scope.cancelled_caught
    before = emitted.copy()
    assert before[0] == Text("FastAPI ")
    await anyio.sleep(10)
    assert emitted == before


async def test_cancellation_of_a_wait_propagates() -> None:
    with anyio.move_on_after(1) as scope:
        await ask(first_word_seconds=10)
    assert scope.cancelled_caught
