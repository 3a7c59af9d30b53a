"""What was saved and wasted, in tokens: estimates whose rule is in the table of metrics."""

import pytest

from streamsvc.events import Outcome, Usage
from streamsvc.telemetry.money import MEAN_OVER, Mean, Money
from support.details import call_ended, done, generation_ended

MODEL = "model-a"
STOPPED = {"client_stop": Outcome.CLIENT_STOP, "no_viewers": Outcome.NO_VIEWERS}


def complete(money: Money, *tokens: int) -> None:
    for count in tokens:
        usage = Usage(input_tokens=1, output_tokens=count)
        money.generation_ended(generation_ended(done=done(usage=usage)), MODEL)


def saved(money: Money) -> dict[str, float]:
    return {reason: value for (_, _, reason), value in money.saved.values.items() if value}


def wasted(money: Money) -> dict[tuple[str, ...], float]:
    return {labels: value for labels, value in money.wasted.values.items() if value}


@pytest.mark.parametrize("reason", STOPPED)
def test_stopped_answer_saves_the_mean_minus_what_came(reason: str) -> None:
    money = Money()
    complete(money, 100, 300)
    stopped = generation_ended(done=done(STOPPED[reason]), pieces=50)
    money.generation_ended(stopped, MODEL)
    assert saved(money) == {reason: 150}


@pytest.mark.parametrize(("max_tokens", "expected"), [(80, 30), (20, 0), (5000, 150)])
def test_saving_is_at_most_what_the_request_allows(max_tokens: int, expected: float) -> None:
    money = Money()
    complete(money, 200)
    stopped = generation_ended(done=done(Outcome.CLIENT_STOP), pieces=50, max_tokens=max_tokens)
    money.generation_ended(stopped, MODEL)
    assert sum(money.saved.values.values()) == expected


def test_nothing_is_claimed_before_an_answer_was_complete() -> None:
    money = Money()
    money.generation_ended(generation_ended(done=done(Outcome.CLIENT_STOP), pieces=1), MODEL)
    complete(money, 100)
    money.generation_ended(generation_ended(done=done(Outcome.CLIENT_STOP), pieces=1), "other")
    money.generation_ended(generation_ended(done=done(Outcome.UPSTREAM_ERROR), pieces=1), MODEL)
    assert saved(money) == {}


def test_answer_without_usage_counts_its_pieces() -> None:
    money = Money()
    money.generation_ended(generation_ended(pieces=40), MODEL)
    money.generation_ended(generation_ended(done=done(Outcome.CLIENT_STOP), pieces=10), MODEL)
    assert saved(money) == {"client_stop": 30}


def test_mean_follows_newer_answers() -> None:
    mean = Mean()
    for _ in range(2 * MEAN_OVER):
        mean.add(10)
    for _ in range(10 * MEAN_OVER):
        mean.add(1000)
    assert mean.value == pytest.approx(1000, rel=0.01)


def test_call_that_breaks_off_is_wasted_once_another_gives_words() -> None:
    money = Money()
    money.call_ended(call_ended(code="upstream_cut", pieces=7), MODEL)
    money.call_ended(call_ended(code="upstream_error", pieces=0, provider="spare"), "b")
    assert wasted(money) == {}
    money.call_ended(call_ended(provider="spare", pieces=30), "b")
    money.generation_ended(generation_ended(), MODEL)
    assert wasted(money) == {("main", MODEL, "rescue"): 7}


def test_call_that_breaks_off_at_the_end_is_not_wasted() -> None:
    """Viewers have its words."""
    money = Money()
    money.call_ended(call_ended(code="upstream_cut", pieces=7), MODEL)
    money.generation_ended(generation_ended(done=done(Outcome.UPSTREAM_CUT)), MODEL)
    money.call_ended(call_ended(pieces=3), MODEL)  # of another answer with this id: nothing is kept
    assert wasted(money) == {}


def test_words_that_nobody_watched_and_words_generated_twice_are_wasted() -> None:
    money = Money()
    money.generation_ended(generation_ended(unwatched_pieces=4), MODEL)
    money.generation_ended(generation_ended(end="handed_over", pieces=9), MODEL)
    money.generation_ended(generation_ended(end="taken_over", pieces=0), MODEL)
    assert wasted(money) == {("main", MODEL, "unwatched"): 4, ("main", MODEL, "double_spend"): 9}
