"""What one worker says of itself to the operators' page. Nothing is computed until somebody asks."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from streamsvc import __version__
from streamsvc.engine.circuit import Circuit, State
from streamsvc.engine.entries import ProviderEntries
from streamsvc.telemetry import names
from streamsvc.telemetry.conventions import GenAI
from streamsvc.telemetry.recent import Drop, Failure, Recent, SettingsChange
from streamsvc.telemetry.series import Gauge, Labels, Series

GAUGES = (
    *(names.GENERATIONS_RUNNING, names.GENERATIONS_LIMIT, names.VIEWERS, names.VIEWERS_LIMIT),
    *(names.CONNECTIONS, names.CONNECTIONS_LIMIT, names.LOG_BYTES, names.LOG_LIMIT_BYTES),
    *(names.UNREAD_BYTES, names.UNREAD_LIMIT_BYTES, names.DRAINING),
    *(names.STORE_UP, names.STORE_LATENCY_SECONDS),
)
"""What is read when somebody asks; none has labels."""

COUNTERS = (
    *(names.GENERATIONS, names.CALLS, names.VIEWER_STREAMS, names.VIEWER_RESUMES),
    *(names.VIEWER_REPLAYED_RECORDS, names.REFUSALS, names.TOKENS_SAVED, names.TOKENS_WASTED),
)
"""Whose growth is shown."""


class OpenCircuit(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit that is not closed.

    Attributes:
        worker: whose it is: each worker has its own.
        state: `open` or `probing`.
        since: when it opened, in seconds since 1970; None: it is not known.
        failures: how many calls had failed one after another.
        code: of the latest failure; "" if it is not known.
        skipped_seconds: for how long it admits no call.
    """

    worker: str
    state: State
    since: float | None
    failures: int
    code: str
    skipped_seconds: float


class ProviderReport(msgspec.Struct, frozen=True, kw_only=True):
    """A provider entry.

    Attributes:
        name: of the entry.
        model: that it asks for.
        is_ready: whether its key is set and its SDK is installed.
        running: how many answers are running on it.
        limit: how many may.
        circuit: None: it is closed.
    """

    name: str
    model: str
    is_ready: bool
    running: int
    limit: int
    circuit: OpenCircuit | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One worker.

    Attributes:
        worker: its name.
        process: its process id.
        version: of streamsvc.
        began: when it began, in seconds since 1970.
        window_seconds: how far `grown` and `cells` reach back.
        gauges: by the names of `GAUGES`; those that this worker does not measure are left out.
        grown: how much each counter of `COUNTERS` has grown, by name and labels.
        cells: the same for the buckets of histograms.
        providers: the entries.
        troubles: codes of what is wrong with the shared store.
        failures: the latest, the newest first.
        drops: likewise.
        reloads: likewise.
    """

    worker: str
    process: int
    version: str
    began: float
    window_seconds: float
    gauges: Mapping[str, float]
    grown: Mapping[str, Sequence[tuple[Labels, float]]]
    cells: Mapping[str, Sequence[tuple[Labels, Sequence[int]]]]
    providers: Sequence[ProviderReport]
    troubles: Sequence[str]
    failures: Sequence[Failure]
    drops: Sequence[Drop]
    reloads: Sequence[SettingsChange]


def histograms(conventions: GenAI) -> tuple[names.Metric, ...]:
    """Return the histograms whose growth is shown.

    Args:
        conventions: the names of those that follow the GenAI conventions.
    """
    return (
        *(conventions.first_chunk, conventions.chunk_gap),
        *(names.VIEWER_FIRST_FRAME_SECONDS, names.VIEWER_GAP_SECONDS),
    )


class Reporter:
    """Reports what one worker knows.

    Args:
        recent: what happened lately.
        series: all figures.
        conventions: the names of those that follow the GenAI conventions.
        entries: returns the provider entries of new requests.
        troubles: returns codes of what is wrong with the shared store.

    Attributes:
        conventions: the argument.
    """

    def __init__(
        self,
        recent: Recent,
        series: Iterable[Series],
        conventions: GenAI,
        entries: Callable[[], ProviderEntries],
        troubles: Callable[[], Sequence[str]],
    ) -> None:
        self.conventions = conventions
        self._recent = recent
        self._series = series
        self._histograms = histograms(conventions)
        self._entries = entries
        self._troubles = troubles
        wanted = {it.name for it in (*COUNTERS, *self._histograms)}
        recent.watch(it for it in series if it.metric.name in wanted)

    def report(self, worker: str) -> Report:
        """Return the report of this worker.

        Args:
            worker: its name.
        """
        recent, window, now = self._recent, self._recent.window, self._recent.now
        return Report(
            worker=worker,
            process=os.getpid(),
            version=__version__,
            began=recent.began,
            window_seconds=window.seconds(now),
            gauges=self._gauges(),
            grown={it.name: [*window.values(it.name, now).items()] for it in COUNTERS},
            cells={it.name: [*window.cells(it.name, now).items()] for it in self._histograms},
            providers=[*self._providers(worker)],
            troubles=self._troubles(),
            failures=[replace(it, worker=worker) for it in recent.failures],
            drops=[replace(it, worker=worker) for it in recent.drops],
            reloads=[replace(it, worker=worker) for it in recent.reloads],
        )

    def _gauges(self) -> Mapping[str, float]:
        wanted = {it.name for it in GAUGES}
        found = (it for it in self._series if isinstance(it, Gauge) and it.metric.name in wanted)
        return {it.metric.name: float(value) for it in found for value in it.read().values()}

    def _providers(self, worker: str) -> Iterable[ProviderReport]:
        for entry in self._entries():
            yield ProviderReport(
                name=entry.name,
                model=entry.section.model,
                is_ready=entry.is_ready,
                running=entry.running,
                limit=entry.section.max_generations,
                circuit=self._circuit(entry.name, entry.circuit, worker),
            )

    def _circuit(self, provider: str, circuit: Circuit, worker: str) -> OpenCircuit | None:
        if circuit.state is State.CLOSED:
            return None
        why = self._recent.opening(provider)
        return OpenCircuit(
            worker=worker,
            state=circuit.state,
            since=why.since if why else None,
            failures=why.failures if why else 0,
            code=why.code if why else "",
            skipped_seconds=circuit.skipped_seconds,
        )
