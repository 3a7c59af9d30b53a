"""The state of the service on one page: the reports of all workers, added up."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

import msgspec

from streamsvc.telemetry import names
from streamsvc.telemetry.conventions import GenAI
from streamsvc.telemetry.names import Metric
from streamsvc.telemetry.recent import DROPS, FAILURES, RELOADS, Drop, Failure, SettingsChange
from streamsvc.telemetry.report import OpenCircuit, ProviderReport, Report

Counts = Mapping[str, float]

_CALLS_WITHOUT_FAILURE = frozenset({"ok", "cancelled"})


class WorkerState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker.

    Attributes:
        name: its number.
        answers: whether it has answered in time; if not, nothing else is known of it.
        process: its process id.
        version: of streamsvc.
        began: when it began, in seconds since 1970.
        draining: whether it accepts no new answers because it shuts down.
        generations: how many answers are running in it.
        viewers: how many are connected to it.
        connections: how many are open.
    """

    name: str
    answers: bool
    process: int = 0
    version: str = ""
    began: float = 0.0
    draining: bool = False
    generations: int = 0
    viewers: int = 0
    connections: int = 0


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How much of something that is limited is in use, in all workers."""

    used: float
    limit: float


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram of durations.

    Attributes:
        counts: how many are in each class; the last one has those above all bounds.
        median: in seconds, estimated from the classes; None: nothing was measured.
        p95: the duration that 95 % do not exceed, likewise.
    """

    counts: Sequence[int]
    median: float | None
    p95: float | None


class Sides(msgspec.Struct, frozen=True, kw_only=True):
    """The same duration where pieces come from providers, and where they go to viewers.

    Attributes:
        bounds: the upper bounds of the classes, in seconds.
        upstream: as providers sent.
        viewers: as it was written to viewers.
    """

    bounds: Sequence[float]
    upstream: Timing
    viewers: Timing


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """A provider entry in all workers.

    Attributes:
        name: of the entry.
        model: that it asks for.
        ready: whether its key is set and its SDK is installed.
        running: how many answers are running on it.
        limit: how many may.
        outcomes: how many answers ended, by outcome.
        failed_calls: how many calls failed, by code.
        first_token: from a call to its first piece.
        circuits: those that are not closed, by worker.
    """

    name: str
    model: str
    ready: bool
    running: int
    limit: int
    outcomes: Counts
    failed_calls: Counts
    first_token: Timing
    circuits: Sequence[OpenCircuit]


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What stopping answers has saved, and what was generated without need: estimates, by reason."""

    saved: Counts
    wasted: Counts


class StoreState(msgspec.Struct, frozen=True, kw_only=True):
    """The shared store, as one worker sees it.

    Attributes:
        worker: its name.
        up: whether the store can be used.
        latency_seconds: how long its latest check took; None: there was none.
        troubles: codes of what is wrong.
    """

    worker: str
    up: bool
    latency_seconds: float | None
    troubles: Sequence[str]


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the service.

    Attributes:
        at: when this was found out, in seconds since 1970.
        window_seconds: how far figures that count what happened reach back, at most 15 minutes and a little.
        workers: all of them.
        generations: running answers, and how many may.
        viewers: likewise.
        connections: likewise.
        log_bytes: memory of stored answers, likewise.
        unread_bytes: what clients have not read, likewise.
        providers: the entries.
        first_token: from a call to the first piece, and from a viewer's request to its first words.
        gaps: between pieces, and between writes of words.
        streams: viewers' streams that ended, by reason.
        resumes: clients that came back, by result.
        replayed: stored records that they got at once.
        refusals: refused requests, by code.
        tokens: saved and wasted.
        failures: the last calls that failed, the newest first.
        drops: the last viewers' streams that did not end well.
        reloads: the last times that settings were reloaded.
        store: the shared store; empty: there is none.
    """

    at: float
    window_seconds: float
    workers: Sequence[WorkerState]
    generations: Use
    viewers: Use
    connections: Use
    log_bytes: Use
    unread_bytes: Use
    providers: Sequence[ProviderState]
    first_token: Sides
    gaps: Sides
    streams: Counts
    resumes: Counts
    replayed: float
    refusals: Counts
    tokens: Tokens
    failures: Sequence[Failure]
    drops: Sequence[Drop]
    reloads: Sequence[SettingsChange]
    store: Sequence[StoreState]


def overview(reports: Mapping[str, Report | None], conventions: GenAI, at: float) -> Overview:
    """Add up the reports of all workers.

    Args:
        reports: by the names of the workers; None: it did not answer.
        conventions: the names of the figures that follow the GenAI conventions.
        at: the time, in seconds since 1970.
    """
    known = _Reports([report for report in reports.values() if report is not None])
    return Overview(
        at=at,
        window_seconds=max((it.window_seconds for it in known.all), default=0.0),
        workers=[_worker(name, report) for name, report in reports.items()],
        generations=known.use(names.GENERATIONS_RUNNING, names.GENERATIONS_LIMIT),
        viewers=known.use(names.VIEWERS, names.VIEWERS_LIMIT),
        connections=known.use(names.CONNECTIONS, names.CONNECTIONS_LIMIT),
        log_bytes=known.use(names.LOG_BYTES, names.LOG_LIMIT_BYTES),
        unread_bytes=known.use(names.UNREAD_BYTES, names.UNREAD_LIMIT_BYTES),
        providers=[*known.providers(conventions.first_chunk)],
        first_token=known.sides(conventions.first_chunk, names.VIEWER_FIRST_FRAME_SECONDS),
        gaps=known.sides(conventions.chunk_gap, names.VIEWER_GAP_SECONDS),
        streams=known.counts(names.VIEWER_STREAMS, "reason"),
        resumes=known.counts(names.VIEWER_RESUMES, "result"),
        replayed=known.total(names.VIEWER_REPLAYED_RECORDS),
        refusals=known.counts(names.REFUSALS, "code"),
        tokens=Tokens(
            saved=known.counts(names.TOKENS_SAVED, "reason"),
            wasted=known.counts(names.TOKENS_WASTED, "reason"),
        ),
        failures=_newest([it.failures for it in known.all], FAILURES),
        drops=_newest([it.drops for it in known.all], DROPS),
        reloads=_newest([it.reloads for it in known.all], RELOADS),
        store=[_store(it) for it in known.all if names.STORE_UP.name in it.gauges],
    )


class _Reports:
    """The reports of the workers that have answered."""

    def __init__(self, reports: Sequence[Report]) -> None:
        self.all = reports

    def use(self, used: Metric, limit: Metric) -> Use:
        return Use(used=self._gauge(used), limit=self._gauge(limit))

    def _gauge(self, metric: Metric) -> float:
        return sum(it.gauges.get(metric.name, 0.0) for it in self.all)

    def total(self, metric: Metric) -> float:
        return sum(value for it in self.all for _, value in it.grown[metric.name])

    def counts(self, metric: Metric, by: str, provider: str = "") -> dict[str, float]:
        """Return the growth of a counter by one of its labels, the largest first.

        Args:
            metric: the counter.
            by: the label.
            provider: count this entry only.
        """
        at, found = metric.labels.index(by), Counter[str]()
        for report in self.all:
            for labels, value in report.grown[metric.name]:
                if not provider or labels[0] == provider:
                    found[labels[at]] += value  # type: ignore[assignment]  # saved tokens are no integers
        return dict(found.most_common())

    def sides(self, upstream: Metric, viewers: Metric) -> Sides:
        return Sides(
            bounds=upstream.buckets, upstream=self.timing(upstream), viewers=self.timing(viewers)
        )

    def timing(self, metric: Metric, provider: str = "") -> Timing:
        cells = [
            counts
            for it in self.all
            for labels, counts in it.cells[metric.name]
            if not provider or labels[0] == provider
        ]
        empty = [0] * (len(metric.buckets) + 1)
        counts = [sum(each) for each in zip(empty, *cells, strict=True)]
        return Timing(
            counts=counts,
            median=quantile(0.5, metric.buckets, counts),
            p95=quantile(0.95, metric.buckets, counts),
        )

    def providers(self, first_chunk: Metric) -> Iterable[ProviderState]:
        by_name: dict[str, list[ProviderReport]] = {}
        for entry in (entry for report in self.all for entry in report.providers):
            by_name.setdefault(entry.name, []).append(entry)
        for name, entries in by_name.items():
            calls = self.counts(names.CALLS, "code", name)
            yield ProviderState(
                name=name,
                model=entries[-1].model,
                ready=all(it.is_ready for it in entries),
                running=sum(it.running for it in entries),
                limit=sum(it.limit for it in entries),
                outcomes=self.counts(names.GENERATIONS, "outcome", name),
                failed_calls={
                    code: count
                    for code, count in calls.items()
                    if code not in _CALLS_WITHOUT_FAILURE
                },
                first_token=self.timing(first_chunk, name),
                circuits=[it.circuit for it in entries if it.circuit is not None],
            )


def quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """Estimate a quantile from a histogram, as Prometheus's `histogram_quantile` does: linear within a class.

    Args:
        share: of the measurements that do not exceed the result, from 0 to 1.
        bounds: the upper bounds of the classes.
        counts: how many measurements are in each class, the last one beyond all bounds.

    Returns:
        The quantile; None: nothing was measured. Beyond the last bound, that bound.
    """
    total = sum(counts)
    if not total:
        return None
    rank = share * total
    upto = [*accumulate(counts)]
    at = next(at for at, count in enumerate(upto) if count >= rank)
    if at == len(bounds):
        return bounds[-1]
    low = bounds[at - 1] if at else 0.0
    return low + (bounds[at] - low) * (rank - (upto[at] - counts[at])) / counts[at]


def _worker(name: str, report: Report | None) -> WorkerState:
    if report is None:
        return WorkerState(name=name, answers=False)
    gauges = report.gauges
    return WorkerState(
        name=name,
        answers=True,
        process=report.process,
        version=report.version,
        began=report.began,
        draining=bool(gauges.get(names.DRAINING.name)),
        generations=int(gauges.get(names.GENERATIONS_RUNNING.name, 0)),
        viewers=int(gauges.get(names.VIEWERS.name, 0)),
        connections=int(gauges.get(names.CONNECTIONS.name, 0)),
    )


def _store(report: Report) -> StoreState:
    return StoreState(
        worker=report.worker,
        up=bool(report.gauges[names.STORE_UP.name]),
        latency_seconds=report.gauges.get(names.STORE_LATENCY_SECONDS.name),
        troubles=report.troubles,
    )


E = TypeVar("E", Failure, Drop, SettingsChange)


def _newest(lists: Sequence[Sequence[E]], most: int) -> list[E]:
    return sorted((one for each in lists for one in each), key=lambda it: it.at, reverse=True)[
        :most
    ]
