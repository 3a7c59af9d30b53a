"""The bucket is the GCRA of the standard: exact to the microsecond, whatever comes."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.guard.limits.base import UNIT, Charge
from streamsvc.guard.limits.bucket import Bucket

pytestmark = pytest.mark.promise("door:bounded")

LIMITS = st.integers(1, 100_000)
STEPS = st.lists(st.tuples(st.integers(0, 90_000_000), st.integers(1, 200_000)), max_size=40)


class VirtualScheduling:
    """GCRA in its other form (ITU-T I.371, annex A): a theoretical arrival time, in exact microseconds."""

    def __init__(self, per_minute: int) -> None:
        self.increment = Fraction(60_000_000, per_minute)
        self.arrives_at = Fraction(0)

    def wait(self, cost: int, at: int) -> Fraction:
        earliest = max(self.arrives_at, Fraction(at)) + cost * self.increment - 60_000_000
        return max(Fraction(0), earliest - at)

    def add(self, cost: int, at: int) -> None:
        self.arrives_at = max(self.arrives_at, Fraction(at)) + cost * self.increment


@given(LIMITS, STEPS)
def test_bucket_agrees_with_virtual_scheduling(
    per_minute: int, steps: list[tuple[int, int]]
) -> None:
    bucket, model, at = Bucket(), VirtualScheduling(per_minute), 0
    for pause, asked in steps:
        at += pause
        charge = Charge(per_minute, min(asked, per_minute))
        expected = model.wait(charge.cost, at)
        wait = bucket.wait(charge, at)
        assert wait - 1 < expected <= wait  # rounded up to a microsecond
        if wait:
            assert bucket.wait(charge, at + wait) == 0
            assert bucket.wait(charge, at + wait - 1) == 1
        else:
            bucket.add(charge, at)
            model.add(charge.cost, at)


@given(LIMITS, STEPS)
def test_no_interval_has_more_than_the_limit_allows(
    per_minute: int, steps: list[tuple[int, int]]
) -> None:
    """In any t minutes at most n + n * t, for a limit of n per minute."""
    bucket, at = Bucket(), 0
    taken: list[tuple[int, int]] = []
    for pause, asked in steps:
        at += pause
        charge = Charge(per_minute, min(asked, per_minute))
        if not bucket.wait(charge, at):
            bucket.add(charge, at)
            taken.append((at, charge.cost))
    for first, (since, _) in enumerate(taken):
        total = 0
        for until, cost in taken[first:]:
            total += cost
            assert total * UNIT <= per_minute * (UNIT + until - since)


@given(LIMITS, STEPS, st.lists(st.integers(0, 300_000), min_size=40, max_size=40))
def test_settled_usage_is_bounded_in_the_long_run(
    per_minute: int, steps: list[tuple[int, int]], used: list[int]
) -> None:
    """What was admitted since the start is what the limit allows, plus what the last one used beyond its estimate."""
    bucket, at, total = Bucket(), 0, 0
    for (pause, asked), tokens in zip(steps, used, strict=False):
        at += pause
        charge = Charge(per_minute, min(asked, per_minute))
        if bucket.wait(charge, at):
            continue
        bucket.add(charge, at)
        bucket.correct(tokens - charge.cost, at)
        total += tokens
        beyond = max(0, tokens - charge.cost)
        assert total * UNIT <= per_minute * (UNIT + at) + beyond * UNIT


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket, charge = Bucket(), Charge(60, 60)
    bucket.add(charge, 10_000_000)
    assert bucket.level(0) == bucket.level(10_000_000) == 60 * UNIT
