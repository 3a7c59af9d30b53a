"""The benchmark measures what it says; its times are nobody's business here."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import quantiles
from typing import Any

import anyio
import pytest

from bench.meter import percentile
from bench.plan import Plan
from bench.report import put_into, tables
from bench.results import Result, summarize
from bench.run import load_results
from bench.scenarios import SCENARIOS
from bench.scenarios.latency import added_gaps_ms
from bench.stage import Sample
from bench.stamps import FORMAT, StampReader
from bench.store import Work

SECONDS = 250
"""Bound of the smoke run, which takes 45 s on an idle machine."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(SECONDS + 30)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run every scenario once, with very few streams."""
    path = tmp_path_factory.mktemp("bench") / "results.json"
    command = [sys.executable, "-m", "bench", "--smoke", "--targets", "floor,streamsvc"]
    subprocess.run([*command, "--json", str(path)], cwd=ROOT, check=True, timeout=SECONDS)
    return path


def test_every_scenario_says_something_about_every_target(written: Path) -> None:
    _, results = load_results(written)
    seen = {(result.scenario, result.target) for result in results}
    assert {scenario for scenario, _ in seen} == set(SCENARIOS)
    for scenario in ("paced", "unpaced", "latency", "teardown", "memory"):
        assert {(scenario, "floor"), (scenario, "streamsvc")} <= seen


def test_every_token_is_delivered(written: Path) -> None:
    _, results = load_results(written)
    shares = [share for it in results if (share := it.metrics.get("delivered_share")) is not None]
    assert shares
    assert set(shares) == {1.0}


def test_the_json_has_the_figures_and_where_they_come_from(written: Path) -> None:
    run: dict[str, Any] = json.loads(written.read_text())
    assert run["mode"] == "smoke"
    assert {"date", "cpu", "target_core", "load_core", "python", "versions"} <= set(run["machine"])
    assert run["samples"]
    _, results = load_results(written)
    for scenario, metric in (
        ("startup", "start_seconds"),
        ("paced", "us_per_token"),
        ("paced", "ratio"),
        ("unpaced", "ratio"),
        ("fan-out", "ratio"),
        ("latency", "first_p50_ms"),
        ("latency", "gap_p99_ms"),
        ("teardown", "close_p99_ms"),
        ("memory", "kb_per_stream"),
    ):
        assert _metric(results, scenario, metric) is not None, (scenario, metric)


def test_the_bound_on_streams_refuses_and_holds(written: Path) -> None:
    _, results = load_results(written)
    assert _metric(results, "held", "held") == 5
    assert _metric(results, "held", "without_ping") == 0
    assert _metric(results, "held", "refused") == 2


def test_every_aborted_stream_is_closed_upstream(written: Path) -> None:
    _, results = load_results(written)
    assert _metric(results, "teardown", "unclosed") == 0


def test_shared_log_says_what_a_token_costs_redis(written: Path) -> None:
    _, results = load_results(written)
    memory, redis = (it for it in results if it.scenario == "shared-log")
    assert memory.metrics["ratio"] == 1.0
    assert redis.metrics["ratio"]
    for metric in ("redis_us_per_token", "commands_per_token", "bytes_in_per_token"):
        assert redis.metrics[metric], metric
    assert redis.metrics["words_per_write"]


def test_viewers_of_another_worker_are_timed(written: Path) -> None:
    _, results = load_results(written)
    few, many = (it for it in results if it.scenario == "foreign")
    assert few.metrics["lag_p99_ms"]
    assert few.metrics["gap_p99_ms"]
    assert many.metrics["us_per_token"]


def test_two_workers_are_compared_with_one(written: Path) -> None:
    _, results = load_results(written)
    one, two = (it for it in results if it.scenario == "workers")
    assert one.metrics["ratio"] == 1.0
    assert two.metrics["ratio"]
    assert two.metrics["tokens_per_second"]


def test_results_become_tables(written: Path) -> None:
    _, results = load_results(written)
    text = tables(results)
    assert all(f"**{scenario}**" in text for scenario in SCENARIOS)


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("t200-p50-f100", Plan(tokens=200, per_second=50, first_ms=100)),
        ("t1-p0-f0-h", Plan(tokens=1, is_held=True)),
        ("t9-p7-f5-k3", Plan(tokens=9, per_second=7, first_ms=5, key=3)),
        ("t9-p7-f5-h-k3", Plan(tokens=9, per_second=7, first_ms=5, is_held=True, key=3)),
    ],
)
def test_a_plan_is_written_and_found(name: str, plan: Plan) -> None:
    assert str(plan) == name
    assert Plan.find(name) == plan
    assert Plan.find(f'{{"model":"openai/{name}","stream":true}}') == plan


@pytest.mark.parametrize("text", ["", "gpt-5.4-mini", "t200", "t-p-f", "t1-p2", "xt1-p2-f3"])
def test_other_texts_have_no_plan(text: str) -> None:
    assert Plan.find(text) is None


def test_percentiles_are_those_of_the_library_and_never_beyond_the_data() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 50) == 50.5
    assert percentile(values, 99) == quantiles(values, n=100, method="inclusive")[98]
    assert percentile([1.0, 3.0], 99) == pytest.approx(2.98)
    assert percentile([4.0], 99) == 4.0
    assert percentile([], 99) is None


def test_stamps_are_found_however_the_bytes_are_cut() -> None:
    data = b"data: " + FORMAT % (12, 3) + b"\n\ndata: " + FORMAT % (45, 3) + b"\n\n"
    for size in range(1, len(data) + 1):
        reader = StampReader()
        found = [
            stamp for at in range(0, len(data), size) for stamp in reader.feed(data[at : at + size])
        ]
        assert found == [(12, 3), (45, 3)], size


def test_an_added_gap_is_what_the_way_added() -> None:
    assert added_gaps_ms([(1_000, 500, 0), (23_000, 20_500, 0), (41_000, 40_500, 0)]) == [2.0, -2.0]


def test_a_ratio_is_to_the_floor_of_the_same_round() -> None:
    samples = [
        Sample("paced", "5 streams", target, number, {"us_per_token": us})
        for number, floor, ours in [(0, 10.0, 20.0), (1, 100.0, 130.0), (2, 10.0, 16.0)]
        for target, us in [("floor", floor), ("streamsvc", ours)]
    ]
    floor, ours = summarize(samples)
    assert floor.metrics == {"us_per_token": 10.0, "ratio": 1.0}
    assert ours.metrics == {"us_per_token": 20.0, "ratio": 1.6}
    assert ours.spread == (1.3, 2.0)


def test_the_log_in_redis_is_compared_with_memory_at_the_same_number_of_streams() -> None:
    samples = [
        Sample("shared-log", case, target, 0, {"us_per_token": us})
        for case, target, us in [
            ("10 streams, memory", "streamsvc", 80.0),
            ("100 streams, memory", "streamsvc", 50.0),
            ("100 streams, write_ms 25", "streamsvc-redis", 60.0),
        ]
    ]
    assert [result.metrics["ratio"] for result in summarize(samples)] == [1.0, 1.0, 1.2]


def test_work_of_redis_is_given_for_each_token() -> None:
    before = Work(1.0, 10, 10, 50, 100, 1000, 0, 5000)
    after = Work(1.001, 30, 20, 1050, 2100, 21_000, 500, 5000)
    assert (after - before).metrics(1000) == {
        "redis_us_per_token": pytest.approx(1.0),
        "commands_per_token": 0.02,
        "bytes_in_per_token": 20.0,
        "bytes_out_per_token": 0.5,
        "memory_per_token": 0.0,
        "answers_per_write": 100.0,
        "words_per_write": 2.0,
    }
    assert set((before - before).metrics(0).values()) == {None}


def _metric(results: list[Result], scenario: str, metric: str) -> float | None:
    last = [it for it in results if (it.scenario, it.target) == (scenario, "streamsvc")][-1]
    return last.metrics[metric]


def test_a_report_goes_to_the_place_of_its_scenario() -> None:
    def place(name: str, content: str) -> str:
        return f"<!-- {name} -->\n{content}<!-- /{name} -->\n"

    def result(scenario: str) -> Result:
        return Result(scenario, "case", "streamsvc", {}, None, [])

    text = f"a\n{place('results: guard', 'old')}b\n{place('results', 'others')}c\n"
    alone = put_into(text, "new", [result("guard"), result("guard")])
    assert alone == text.replace("old", "\nnew\n")
    for several in (["guard", "paced"], ["paced"]):
        written = put_into(text, r"n\1w", [result(name) for name in several])
        assert written == text.replace("others", "\nn\\1w\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_run_that_is_ended_leaves_no_process(tmp_path: Path, number: int) -> None:
    """A killed run cannot end its upstream; the kernel does."""
    command = [sys.executable, "-m", "bench", "--smoke", "--targets", "streamsvc"]
    arguments = ["--only", "paced", "--json", str(tmp_path / "results.json")]
    async with await anyio.open_process([*command, *arguments], cwd=ROOT) as run:
        with anyio.fail_after(100):
            while not (children := _children(run.pid)):  # noqa: ASYNC110  # the kernel reports no such event
                await anyio.sleep(0.01)
            os.kill(run.pid, number)
            await run.wait()
            while any(_is_running(pid) for pid in children):  # noqa: ASYNC110
                await anyio.sleep(0.01)


def _children(pid: int) -> list[int]:
    """Return the upstream that a run has started, once it is more than a copy of the run."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"bench.upstream" in _command(int(child))]


def _command(pid: int) -> bytes:
    """Return the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _is_running(pid: int) -> bool:
    return bool(_command(pid))
