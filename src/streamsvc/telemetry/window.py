"""How much counters and histograms have grown in the last minutes.

Nothing is counted twice: about once a minute, the figures of `metrics` are copied, and the growth is the difference
between now and a copy. No timer does that: the copy is made when something happens or somebody asks, so an idle
service does nothing.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from streamsvc.telemetry.series import Counter, Histogram, Labels, Series

WINDOW_SECONDS = 900.0
"""How far the window reaches back."""

STEP_SECONDS = 60.0
"""How old a copy may become before another is made: the window is longer than it should be by at most that."""

Values = Mapping[Labels, float]
Cells = Mapping[Labels, Sequence[int]]


class _Copy:
    """The figures as they were.

    Attributes:
        since: when they became so, in seconds on the window's clock.
        values: of the counters.
        cells: of the histograms.
    """

    __slots__ = ("cells", "since", "values")

    def __init__(
        self, since: float, counters: Iterable[Counter], histograms: Iterable[Histogram]
    ) -> None:
        self.since = since
        self.values = {it.metric.name: it.values.copy() for it in counters}
        self.cells = {
            it.metric.name: {labels: [*cells.counts] for labels, cells in it.cells.items()}
            for it in histograms
        }


class Window:
    """The growth of some figures.

    Args:
        series: the figures; gauges among them are left out.
        now: seconds on some clock, the same as in the methods.
    """

    def __init__(self, series: Iterable[Series], now: float) -> None:
        known = [*series]
        self._counters = {it.metric.name: it for it in known if isinstance(it, Counter)}
        self._histograms = {it.metric.name: it for it in known if isinstance(it, Histogram)}
        self._began = self._last = now
        self._copies = deque((self._copy(),))

    def before(self, now: float) -> None:
        """Note that something happens now; call this before it is counted."""
        if now - self._copies[-1].since >= STEP_SECONDS:
            self._turn(now)
        self._last = now

    def seconds(self, now: float) -> float:
        """Return how far the window reaches back."""
        return min(WINDOW_SECONDS, now - self._began)

    def values(self, name: str, now: float) -> Values:
        """Return how much a counter has grown, by its labels, without those that have not.

        Args:
            name: of the metric.
            now: when.
        """
        before = self._base(now).values[name]
        grown = {
            labels: value - before.get(labels, 0)
            for labels, value in self._counters[name].values.items()
        }
        return {labels: value for labels, value in grown.items() if value}

    def cells(self, name: str, now: float) -> Cells:
        """Return how much each bucket of a histogram has grown, by its labels, without those that have not."""
        before = self._base(now).cells[name]
        nothing = [0] * (len(self._histograms[name].metric.buckets) + 1)
        grown = {
            labels: [
                count - old
                for count, old in zip(cells.counts, before.get(labels, nothing), strict=True)
            ]
            for labels, cells in self._histograms[name].cells.items()
        }
        return {labels: counts for labels, counts in grown.items() if any(counts)}

    def _base(self, now: float) -> _Copy:
        """Return the newest copy that is old enough, or the first one."""
        self._turn(now)
        return self._copies[0]

    def _turn(self, now: float) -> None:
        """Copy the figures if the newest copy is too old, and forget copies that no window needs any more.

        The figures are as they became when something happened last, however long ago that is.
        """
        copies = self._copies
        if now - copies[-1].since >= STEP_SECONDS and self._last > copies[-1].since:
            copies.append(self._copy())
        while len(copies) > 1 and copies[1].since <= now - WINDOW_SECONDS:
            copies.popleft()

    def _copy(self) -> _Copy:
        return _Copy(self._last, self._counters.values(), self._histograms.values())
