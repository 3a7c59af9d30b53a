"""Answers without content, and answers that are complete when a deadline passes."""

import msgspec
import pytest

from streamsvc.events import AnswerEnd, PublicError, Reasoning, Status, Text
from streamsvc.messages import GenerationRequest
from streamsvc.providers.base import Finish
from support.answers import STOP, WELL, completed, retrying, supervising, switching
from support.doubles import HOLD, PROMPT, Announced, ScriptedProvider, Takes, virtual_backends

anyio_backend = virtual_backends()


async def test_an_empty_answer_is_retried() -> None:
    async with supervising(Takes([STOP], list(WELL))) as bench:
        assert await bench.answer() == [retrying("empty_answer"), Text("well"), completed("first")]


async def test_answers_that_stay_empty_lead_to_the_fallback() -> None:
    first, second = ScriptedProvider(STOP), ScriptedProvider(*WELL)
    async with supervising(first, second, attempts=2) as bench:
        assert await bench.answer() == [
            retrying("empty_answer"),
            switching("empty_answer"),
            Text("well"),
            completed("second"),
        ]


async def test_if_all_answers_are_empty_the_failure_says_so() -> None:
    async with supervising(ScriptedProvider(STOP), attempts=1) as bench:
        done = await bench.done()
    assert (done.status, done.outcome) == (Status.FAILED, "upstream_error")
    assert done.error == PublicError(
        "empty_answer", "The provider's answer was empty.", retryable=True
    )


async def test_an_answer_with_stop_sequences_may_be_empty() -> None:
    """A stop sequence at the very beginning leaves no text."""
    order = GenerationRequest(
        prompt=msgspec.structs.replace(PROMPT, stop=("one",)), provider="first"
    )
    async with supervising(ScriptedProvider(STOP)) as bench:
        assert await bench.answer(order) == [completed("first")]


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls", "other"])
async def test_only_an_empty_answer_that_says_stop_is_a_failure(reason: AnswerEnd) -> None:
    async with supervising(ScriptedProvider(Finish(reason=reason))) as bench:
        assert (await bench.done()).finish_reason == reason


async def test_an_answer_of_reasoning_only_is_not_empty() -> None:
    async with supervising(ScriptedProvider(Reasoning("hm"), STOP)) as bench:
        assert await bench.answer() == [Reasoning("hm"), completed("first")]


async def test_an_empty_rescue_is_a_failure() -> None:
    provider = Takes([Text("one ")], [STOP], [Text("one two"), STOP])
    async with supervising(provider) as bench:
        assert await bench.answer() == [
            Text("one "),
            retrying("upstream_cut"),
            retrying("empty_answer"),
            Text("two"),
            completed("first"),
        ]


@pytest.mark.promise("end:exactly-one")
async def test_a_deadline_after_a_complete_answer_is_not_a_failure() -> None:
    """The answer is complete and paid for, although its stream has not ended."""
    async with supervising(ScriptedProvider(Text("one"), Announced(STOP), HOLD)) as bench:
        assert await bench.answer() == [Text("one"), completed("first")]


@pytest.mark.promise("end:exactly-one")
async def test_words_after_an_announced_end_cancel_it() -> None:
    async with supervising(
        ScriptedProvider(Text("one"), Announced(STOP), Text("two"), HOLD)
    ) as bench:
        assert (await bench.done()).outcome == "idle_timeout"
