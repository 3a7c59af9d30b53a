"""The figures of one process: counters, histograms and gauges, by the values of their labels.

They are plain numbers in dictionaries, so counting needs no library; `exposition` writes them out when somebody asks.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping

from streamsvc.hooks import Gaps
from streamsvc.telemetry.names import Metric
from streamsvc.tracecontext import TraceContext, sampled

Labels = tuple[str, ...]
"""The values of a metric's labels, in the order of `Metric.labels`."""


class Exemplar:
    """One measurement with the trace that it belongs to (OpenMetrics 1.0, "Exemplars").

    Attributes:
        labels: `trace_id` and `span_id`, in hexadecimal digits.
        value: what was measured.
        at: when, in seconds since 1970.
    """

    __slots__ = ("at", "labels", "value")

    def __init__(self, span: TraceContext, value: float) -> None:
        self.labels = {"trace_id": span.trace_id, "span_id": span.span_id}
        self.value = value
        self.at = time.time()


class Counter:
    """A counter.

    Args:
        metric: its name and labels.

    Attributes:
        metric: the argument.
        values: by the values of its labels.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.values: dict[Labels, float] = {}

    def add(self, *labels: str, by: float = 1) -> None:
        """Count something; by 0, the series exists from now on, so that its first increase is seen."""
        self.values[labels] = self.values.get(labels, 0) + by


class Cells:
    """The cells of a histogram for one set of labels.

    Attributes:
        counts: how many measurements are in each bucket, the last one beyond all bounds; not cumulative.
        total: the sum of all measurements.
        exemplars: the latest one of each bucket that has one, by its index.
    """

    __slots__ = ("counts", "exemplars", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}


class Histogram:
    """A histogram.

    Args:
        metric: its name, labels and buckets.

    Attributes:
        metric: the argument.
        cells: by the values of its labels.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.cells: dict[Labels, Cells] = {}

    def observe(self, *labels: str, value: float, traceparent: str = "") -> None:
        """Add a measurement.

        Args:
            labels: the values of its labels.
            value: what was measured.
            traceparent: of the span that it belongs to (W3C Trace Context, section 3.2); "" if there is none. Only that
                of a sampled trace is kept, because no other can be looked up.
        """
        cells = self.cells.get(labels) or self._new(labels)
        bucket = bisect_left(self.metric.buckets, value)
        cells.counts[bucket] += 1
        cells.total += value
        if traceparent and (span := sampled(traceparent)) is not None:
            cells.exemplars[bucket] = Exemplar(span, value)

    def add(self, *labels: str, gaps: Gaps) -> None:
        """Add the gaps of a whole stream, which are in this histogram's buckets already."""
        if not any(gaps.counts):
            return
        cells = self.cells.get(labels) or self._new(labels)
        cells.counts = [mine + more for mine, more in zip(cells.counts, gaps.counts, strict=True)]
        cells.total += gaps.seconds

    def _new(self, labels: Labels) -> Cells:
        cells = self.cells[labels] = Cells(len(self.metric.buckets))
        return cells


class Gauge:
    """What is measured when somebody asks.

    Args:
        metric: its name and labels.
        read: returns the present values, by the values of the labels.

    Attributes:
        metric: the first argument.
        read: the second argument.
    """

    def __init__(self, metric: Metric, read: Callable[[], Mapping[Labels, float]]) -> None:
        self.metric = metric
        self.read = read


Series = Counter | Histogram | Gauge
