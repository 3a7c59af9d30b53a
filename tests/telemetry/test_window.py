"""How much figures have grown in the last 15 minutes, from copies that are made when something happens."""

from dataclasses import dataclass, field

import pytest

from streamsvc.hooks import Gaps
from streamsvc.telemetry import names
from streamsvc.telemetry.series import Counter, Gauge, Histogram
from streamsvc.telemetry.window import WINDOW_SECONDS, Window

REFUSALS, GAPS = names.REFUSALS.name, names.VIEWER_GAP_SECONDS.name
MINUTE = 60.0


@dataclass
class Counting:
    """A counter and a histogram in a window, on a clock that a test moves."""

    refusals: Counter = field(default_factory=lambda: Counter(names.REFUSALS))
    gaps: Histogram = field(default_factory=lambda: Histogram(names.VIEWER_GAP_SECONDS))

    def __post_init__(self) -> None:
        gauge = Gauge(names.VIEWERS, dict)
        self.window = Window((self.refusals, self.gaps, gauge), 0.0)

    def refuse(self, at: float, *, code: str = "overloaded", times: int = 1) -> None:
        for _ in range(times):
            self.window.before(at)
            self.refusals.add(code)
            self.gaps.add("native", gaps=Gaps([0.03]))

    def refused(self, at: float) -> float:
        grown = self.window.values(REFUSALS, at)
        cells = self.window.cells(GAPS, at).get(("native",), ())
        assert sum(cells) == sum(grown.values())
        return sum(grown.values())


@pytest.fixture
def counting() -> Counting:
    return Counting()


def test_all_that_happened_in_the_last_minutes_counts(counting: Counting) -> None:
    counting.refuse(1.0, times=2)
    counting.refuse(5 * MINUTE, code="other")
    assert counting.window.values(REFUSALS, 6 * MINUTE) == {("overloaded",): 2, ("other",): 1}
    assert counting.window.seconds(6 * MINUTE) == 6 * MINUTE
    assert counting.window.seconds(60 * MINUTE) == WINDOW_SECONDS


def test_what_is_older_no_longer_counts(counting: Counting) -> None:
    for minute in range(60):
        counting.refuse(minute * MINUTE + 1)
        expected = min(minute + 1, 16)  # of 15 minutes, and up to one minute more
        assert expected - 1 <= counting.refused(minute * MINUTE + 2) <= expected


def test_figures_of_a_service_that_has_become_idle_fade(counting: Counting) -> None:
    """Nothing happens, so nothing is copied until somebody asks."""
    counting.refuse(1.0)
    counting.refuse(30.0)
    assert counting.refused(10 * MINUTE) == 2
    assert counting.refused(40 * MINUTE) == 0
    counting.refuse(50 * MINUTE)
    assert counting.refused(50 * MINUTE) == 1


def test_what_ends_a_long_silence_counts(counting: Counting) -> None:
    """The copy that it causes has the figures as they were before."""
    counting.refuse(1.0)
    counting.refuse(40 * MINUTE)
    assert counting.refused(40 * MINUTE + 1) == 1
    assert counting.refused(56 * MINUTE) == 0


def test_number_of_copies_is_bounded(counting: Counting) -> None:
    for second in range(0, 7200, 7):
        counting.refuse(float(second))
    assert len(counting.window._copies) <= 2 * WINDOW_SECONDS / MINUTE + 2
