"""The reports of several workers, added up."""

from typing import Any

import msgspec
import pytest

from streamsvc.engine.circuit import State
from streamsvc.telemetry import names
from streamsvc.telemetry.conventions import GEN_AI, Convention
from streamsvc.telemetry.overview import Overview, StoreState, Use, overview, quantile
from streamsvc.telemetry.recent import FAILURES, Failure
from streamsvc.telemetry.report import (
    COUNTERS,
    OpenCircuit,
    ProviderReport,
    Report,
    histograms,
)

CONVENTIONS = GEN_AI[Convention.V1_41]
ENTRY = ProviderReport(name="main", model="m", is_ready=True, running=2, limit=10, circuit=None)


def failure(at: float, worker: str) -> Failure:
    return Failure(
        at=at,
        worker=worker,
        generation="gen_1",
        provider="main",
        model="m",
        code="timeout",
        call=1,
        seconds=1.0,
        has_begun=False,
    )


def report(worker: str = "1", **changes: Any) -> Report:
    """Return the report of a worker in which nothing has happened."""
    empty = Report(
        worker=worker,
        process=7,
        version="1",
        began=10.0,
        window_seconds=60.0,
        gauges={},
        grown={it.name: [] for it in COUNTERS},
        cells={it.name: [] for it in histograms(CONVENTIONS)},
        providers=[ENTRY],
        troubles=[],
        failures=[],
        drops=[],
        reloads=[],
    )
    return msgspec.structs.replace(empty, **changes)


def of(*reports: Report) -> Overview:
    return overview({it.worker: it for it in reports}, CONVENTIONS, 100.0)


def grown(metric: names.Metric, *values: tuple[tuple[str, ...], float]) -> dict[str, Any]:
    return {**report().grown, metric.name: values}


def test_use_and_limits_of_all_workers_are_added() -> None:
    gauges = {names.GENERATIONS_RUNNING.name: 2.0, names.GENERATIONS_LIMIT.name: 10.0}
    seen = of(report("1", gauges=gauges), report("2", gauges=gauges))
    assert seen.generations == Use(used=4.0, limit=20.0)
    assert seen.viewers == Use(used=0.0, limit=0.0)
    assert [it.generations for it in seen.workers] == [2, 2]
    (entry,) = seen.providers
    assert (entry.running, entry.limit) == (4, 20)


def test_worker_that_does_not_answer_is_in_the_list() -> None:
    seen = overview({"1": report("1"), "2": None}, CONVENTIONS, 100.0)
    assert [(it.name, it.answers) for it in seen.workers] == [("1", True), ("2", False)]
    assert len(seen.providers) == 1


def test_service_without_an_answer_has_an_overview() -> None:
    seen = overview({"1": None}, CONVENTIONS, 100.0)
    assert (seen.window_seconds, seen.providers, seen.store) == (0.0, [], [])
    assert seen.first_token.upstream.median is None


def test_counts_are_by_one_label_the_largest_first() -> None:
    metric = names.TOKENS_SAVED
    values = [(("main", "m", "client_stop"), 2.5), (("other", "m", "no_viewers"), 9.0)]
    one = report("1", grown=grown(metric, *values))
    two = report("2", grown=grown(metric, values[0]))
    assert [*of(one, two).tokens.saved.items()] == [("no_viewers", 9.0), ("client_stop", 5.0)]


def test_entry_has_its_own_outcomes_and_failures() -> None:
    calls = [(("main", "m", code), 3.0) for code in ("ok", "cancelled", "timeout")]
    others = [(("other", "m", "timeout"), 7.0)]
    (entry,) = of(report(grown=grown(names.CALLS, *calls, *others))).providers
    assert entry.failed_calls == {"timeout": 3.0}
    assert entry.outcomes == {}


def test_histograms_are_added_by_class() -> None:
    name = CONVENTIONS.first_chunk.name
    counts = [0] * (len(CONVENTIONS.first_chunk.buckets) + 1)
    counts[3] = 2
    labels = ("main", "chat", "openai", "m")
    cells = {**report().cells, name: [(labels, counts)]}
    seen = of(report("1", cells=cells), report("2", cells=cells))
    assert seen.first_token.upstream.counts[3] == 4
    assert sum(seen.first_token.viewers.counts) == 0
    assert seen.providers[0].first_token.median == pytest.approx(0.06)


def test_failures_of_all_workers_are_in_one_list_the_newest_first() -> None:
    one = report("1", failures=[failure(at, "1") for at in range(100, 50, -1)])
    two = report("2", failures=[failure(80.5, "2")])
    failures = of(one, two).failures
    assert len(failures) == FAILURES
    assert [it.worker for it in failures[:22]].index("2") == 20


def test_circuit_of_each_worker_is_shown() -> None:
    circuit = OpenCircuit(
        worker="2", state=State.OPEN, since=1.0, failures=5, code="timeout", skipped_seconds=3.0
    )
    two = report("2", providers=[msgspec.structs.replace(ENTRY, circuit=circuit)])
    assert of(report("1"), two).providers[0].circuits == [circuit]


def test_store_is_shown_as_each_worker_sees_it() -> None:
    up = {names.STORE_UP.name: 1.0, names.STORE_LATENCY_SECONDS.name: 0.01}
    down = {names.STORE_UP.name: 0.0}
    troubles = ["store_full"]
    seen = of(report("1", gauges=up), report("2", gauges=down, troubles=troubles), report("3"))
    assert seen.store == [
        StoreState(worker="1", up=True, latency_seconds=0.01, troubles=[]),
        StoreState(worker="2", up=False, latency_seconds=None, troubles=["store_full"]),
    ]


@pytest.mark.parametrize(
    ("share", "counts", "expected"),
    [
        (0.5, [0, 0, 0], None),
        (0.5, [2, 0, 0], 0.5),
        (0.5, [2, 2, 0], 1.0),
        (0.75, [2, 2, 0], 1.5),
        (0.95, [0, 0, 3], 2.0),
        (1.0, [1, 1, 0], 2.0),
    ],
)
def test_quantile_is_linear_within_a_class(
    share: float, counts: list[int], expected: float | None
) -> None:
    assert quantile(share, [1.0, 2.0], counts) == expected
