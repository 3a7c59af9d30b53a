"""Writes figures as Prometheus reads them, and merges those of several workers into one page.

Imported only if `/metrics` is served, because prometheus-client takes a while to import.

A page is written in short steps, and the event loop has its turn between them: words of answers go first.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, chain

import anyio.lowlevel
from prometheus_client import exposition
from prometheus_client.core import Exemplar, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry
from prometheus_client.utils import floatToGoString
from typing_extensions import override

from streamsvc.telemetry.names import WORKER_UP
from streamsvc.telemetry.series import Counter, Histogram, Series

OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST
TEXT = exposition.CONTENT_TYPE_PLAIN_0_0_4

_STEP_SAMPLES = 50
"""How many samples are written in one step, about a millisecond."""

_END = b"# EOF\n"
_FAMILY = re.compile(rb"^(?=# HELP )", re.MULTILINE)
_HEADER = re.compile(rb"\A(?:# .*\n)+")


def content_type(accept: str) -> str:
    """Return the format for a client, `OPENMETRICS` or `TEXT`.

    Args:
        accept: its `Accept` field.
    """
    wants = exposition.choose_encoder(accept)[1].startswith("application/openmetrics-text")
    return OPENMETRICS if wants else TEXT


class Page:
    """The figures of this process as a page.

    Args:
        series: the figures.
    """

    def __init__(self, series: Iterable[Series]) -> None:
        self._series = series
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._process = registry

    async def write(self, kind: str, worker: str) -> bytes:
        """Return the page, without an end mark.

        Args:
            kind: the format.
            worker: the label of this process.
        """
        families = chain(map(_family, self._series), self._process.collect())
        return b"".join([await _written(kind, worker, family) for family in families])


async def merged(kind: str, pages: Mapping[str, bytes | None]) -> bytes:
    """Return one page from those of all workers, with a line for each worker.

    Args:
        kind: the format of all of them.
        pages: by the labels of the workers; None: the worker did not answer.
    """
    headers: dict[bytes, bytes] = {}
    lines: dict[bytes, list[bytes]] = {}
    for page in pages.values():
        for family in _FAMILY.split(page or b""):
            if (head := _HEADER.match(family)) is None:
                continue
            name = head[0].split(b" ", 3)[2]
            headers.setdefault(name, head[0])
            lines.setdefault(name, []).append(family[head.end() :])
        await anyio.lowlevel.checkpoint()
    up = Metric(WORKER_UP.name, WORKER_UP.help, WORKER_UP.kind)
    for worker, given in pages.items():
        up.add_sample(WORKER_UP.name, {"worker": worker}, float(given is not None))
    body = b"".join(headers[name] + b"".join(lines[name]) for name in headers)
    return body + _encoded(kind, up) + (_END if kind == OPENMETRICS else b"")


async def _written(kind: str, worker: str, family: Metric) -> bytes:
    samples = [it._replace(labels={"worker": worker, **it.labels}) for it in family.samples]
    parts: list[bytes] = []
    for at in range(0, len(samples), _STEP_SAMPLES):
        family.samples = samples[at : at + _STEP_SAMPLES]
        part = _encoded(kind, family)
        parts.append(_HEADER.sub(b"", part, count=1) if at else part)
        await anyio.lowlevel.checkpoint()
    return b"".join(parts)


class _One(CollectorRegistry):
    """A registry with one family, for the encoders of the library."""

    def __init__(self, family: Metric) -> None:
        super().__init__()
        self._family = family

    @override
    def collect(self) -> Iterator[Metric]:
        yield self._family


def _encoded(kind: str, family: Metric) -> bytes:
    if not family.samples:
        return b""
    if kind == OPENMETRICS:
        page: bytes = openmetrics.generate_latest(_One(family))  # type: ignore[no-untyped-call]
        return page.removesuffix(_END)
    return exposition.generate_latest(_One(family))


def _family(series: Series) -> Metric:
    metric = series.metric
    family = Metric(metric.name, metric.help, metric.kind, metric.unit)
    if isinstance(series, Histogram):
        _add_cells(family, series)
        return family
    values = series.values if isinstance(series, Counter) else series.read()
    for labels, value in values.items():
        named = dict(zip(metric.labels, labels, strict=True))
        family.add_sample(metric.series, named, value)
    return family


def _add_cells(family: Metric, histogram: Histogram) -> None:
    metric = histogram.metric
    bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
    for labels, cells in histogram.cells.items():
        named = dict(zip(metric.labels, labels, strict=True))
        counts = list(accumulate(cells.counts))
        for at, (bound, count) in enumerate(zip(bounds, counts, strict=True)):
            kept = cells.exemplars.get(at)
            exemplar = None if kept is None else Exemplar(kept.labels, kept.value, kept.at)
            family.add_sample(metric.series, {**named, "le": bound}, count, None, exemplar)
        family.add_sample(f"{metric.name}_count", named, counts[-1])
        family.add_sample(f"{metric.name}_sum", named, cells.total)
