"""How an answer ends without a failure."""

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
from provider import (
    end_of as _end_of,
)

from streamsvc.events import FinishReason
from support.upstreams import finish, text

pytestmark = pytest.mark.usefixtures("no_certificates")


@every
@pytest.mark.promise("provider:swap")
async def test_answer_is_reasoning_then_text_then_one_finish(
    subject: Subject,
) -> None:
    async with subject.saying("Hello ", "world.", reasoning=("Hm. ", "Hm?")) as answer:
        deltas, error = await gather(answer)
    assert error is None
    assert [type(delta).__name__ for delta in deltas] == [
        "Reasoning", "Reasoning", "Text", "Text", "Finish",
    ]  # fmt: skip
    assert thoughts(deltas) == ["Hm. ", "Hm?"]
    assert texts(deltas) == ["Hello ", "world."]
    [end] = finishes(deltas)
    assert end.reason == "stop"
    assert end.usage is not None
    assert (end.usage.input_tokens > 0, end.usage.reasoning_tokens) == (True, 2)
    assert end.usage.output_tokens > 2
    assert not end.usage.estimated


@every
async def test_nothing_follows_the_finish(subject: Subject) -> None:
    async with subject.saying("Hello") as answer:
        deltas, _ = await gather(answer)
        assert len(finishes(deltas)) == 1
        assert await anext(answer, None) is None
        assert await anext(answer, None) is None


@every
@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_finish_says_why_the_answer_ended(subject: Subject, reason: FinishReason) -> None:
    async with subject.saying("One ", "two", reason=reason) as answer:
        deltas, _ = await gather(answer)
    assert "".join(texts(deltas)).startswith("One two")
    assert [end.reason for end in finishes(deltas)] == [reason]
    assert finishes(deltas)[0].provider_reason is not None


@every_upstream
async def test_content_filter_is_a_separate_reason(
    subject: UpstreamSubject,
) -> None:
    async with subject.saying("One ", reason="content_filter") as answer:
        deltas, error = await gather(answer)
    assert error is None
    assert [end.reason for end in finishes(deltas)] == ["content_filter"]


@every_upstream
async def test_unknown_finish_word_is_other_and_is_kept(
    subject: UpstreamSubject,
) -> None:
    async with subject.asked(text("One"), finish("tired")) as (_, answer):
        deltas, error = await gather(answer)
    assert error is None
    assert [end.reason for end in finishes(deltas)] == ["other"]
    assert (finishes(deltas)[0].provider_reason or "").lower() == "tired"


@every_upstream
async def test_finish_names_the_model_that_answered(subject: UpstreamSubject) -> None:
    async with subject.saying("One") as answer:
        deltas, _ = await gather(answer)
    assert (finishes(deltas)[0].model or "").endswith("-test-1")


@every_upstream
@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("error", "upstream_error"),
        ("network_error", "provider_unavailable"),
        ("ABORT", "provider_unavailable"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* is not a valid FinishReason")  # google-genai says so
@pytest.mark.promise("end:exactly-one")
async def test_finish_word_for_a_failure_is_a_failure(
    subject: UpstreamSubject, word: str, code: str
) -> None:
    deltas, error = await _end_of(subject, text("One "), finish(word))
    assert texts(deltas) == ["One "]
    assert not finishes(deltas)
    assert error is not None
    assert error.code == code


@every_upstream
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("eos_token", "stop"),
        ("end", "stop"),
        ("sensitive", "content_filter"),
        ("model_length", "length"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* is not a valid FinishReason")
async def test_every_adapter_knows_all_finish_words(
    subject: UpstreamSubject, word: str, reason: FinishReason
) -> None:
    async with subject.asked(text("One"), finish(word)) as (_, answer):
        deltas, error = await gather(answer)
    assert error is None
    assert [end.reason for end in finishes(deltas)] == [reason]
