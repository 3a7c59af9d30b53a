"""What the hooks report of answers, calls and viewers, in which order, and with what."""

import logging

import anyio
import pytest

from streamsvc.events import Outcome, Text
from streamsvc.hooks import (
    GAP_BOUNDS,
    CallEnded,
    FirstToken,
    Gaps,
    GenerationEnded,
    GenerationStarted,
    Hooks,
    ViewerJoined,
)
from streamsvc.provider_errors import ProviderUnavailable
from support.answers import REQUEST, STOP, supervising
from support.doubles import HOLD, ScriptedProvider, Takes, events_of, virtual_backends
from support.logged import Heard

anyio_backend = virtual_backends()


def test_gaps_are_counted_in_the_class_of_their_bound() -> None:
    gaps = Gaps([GAP_BOUNDS[0], GAP_BOUNDS[0] * 1.01, GAP_BOUNDS[-1] * 2])
    assert (gaps.counts[0], gaps.counts[1], gaps.counts[-1]) == (1, 1, 1)
    assert len(gaps) == 3
    assert gaps.seconds == pytest.approx(GAP_BOUNDS[0] * 2.01 + GAP_BOUNDS[-1] * 2)


def test_a_listener_that_fails_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks()
    heard: list[ViewerJoined] = []

    def fails(_: ViewerJoined) -> None:
        raise ValueError("the-secret-answer")

    hooks.listen(ViewerJoined, fails)
    hooks.listen(ViewerJoined, heard.append)
    hooks.notify(ViewerJoined(generation="gen_a", dialect="native", after=-1))
    assert len(heard) == 1
    assert caplog.records[0].levelno == logging.ERROR
    assert "hook.crashed kind=ViewerJoined exception=ValueError" in caplog.text
    assert "the-secret-answer" not in caplog.text


async def test_an_answer_is_reported_with_its_calls_in_order() -> None:
    failing = ProviderUnavailable()
    provider = Takes((0.5, failing), (0.25, Text("a"), 0.03, Text("b"), 3.0, Text("c"), STOP))
    async with supervising(provider, attempts=2, backoff_seconds=1.0) as bench:
        heard = Heard(bench.hooks)
        await bench.answer()
    kinds = [GenerationStarted, CallEnded, FirstToken, CallEnded, GenerationEnded]
    assert [type(detail) for detail in heard.details] == kinds
    failed, answered = heard.of(CallEnded)
    assert (failed.code, failed.number, failed.pieces) == (failing.code, 1, 0)
    assert failed.first_piece_seconds is None
    assert failed.seconds == pytest.approx(0.5)
    assert (answered.code, answered.number, answered.pieces) == ("", 2, 3)
    assert answered.finish_reason == "stop"
    assert answered.usage == STOP.usage
    assert answered.first_piece_seconds == pytest.approx(0.25)
    assert answered.gaps.counts == Gaps([0.03, 3.0]).counts
    assert answered.gaps.seconds == pytest.approx(3.03)
    ended = heard.one(GenerationEnded)
    assert (ended.end, ended.done.outcome, ended.calls) == ("finished", Outcome.COMPLETED, 2)
    assert (ended.pieces, ended.unwatched_pieces, ended.viewers) == (3, 0, 1)
    assert ended.first_token_seconds == heard.one(FirstToken).seconds
    assert ended.first_token_seconds == pytest.approx(ended.seconds - 3.03)


async def test_pieces_that_nobody_watches_are_counted_if_nobody_comes_back() -> None:
    words = [piece for _ in range(10) for piece in (1.0, Text("a"))]
    grace = {"grace_seconds": 5.0}
    async with supervising(ScriptedProvider(*words, HOLD), generations=grace) as bench:
        heard = Heard(bench.hooks)
        generation = await bench.create(REQUEST)
        with bench.viewer(generation):
            await anyio.sleep(3.5)
        await events_of(bench.log, generation)
    ended = heard.one(GenerationEnded)
    assert ended.done.outcome is Outcome.NO_VIEWERS
    assert (ended.pieces, ended.unwatched_pieces) == (8, 5)
    assert heard.one(CallEnded).code == "cancelled"


async def test_end_is_reported_with_the_usage_that_viewers_see() -> None:
    async with supervising(ScriptedProvider(Text("a"), Text("b"), HOLD)) as bench:
        heard = Heard(bench.hooks)
        generation = await bench.create(REQUEST)
        with bench.viewer(generation):
            await anyio.sleep(1)
        *_, stored = await events_of(bench.log, generation)
    done = heard.one(GenerationEnded).done
    assert done == stored
    assert done.usage is not None
    assert done.usage.estimated


async def test_bug_in_a_provider_is_a_failed_call_and_not_a_cancelled_one() -> None:
    async with supervising(ScriptedProvider(Text("a"), RuntimeError("the-secret"))) as bench:
        heard = Heard(bench.hooks)
        await bench.answer()
    ended = heard.one(CallEnded)
    assert (ended.code, ended.pieces, ended.has_begun) == ("internal_error", 1, True)
    assert heard.one(GenerationEnded).done.outcome is Outcome.INTERNAL_ERROR
