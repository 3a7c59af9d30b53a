"""One run: the processes, the scenarios one after the other, and the results as JSON."""

import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

from bench.meter import Cores
from bench.processes import NotStarted, raise_file_limit
from bench.results import Result, machine, summarize
from bench.scenarios import SCENARIOS
from bench.sizes import MODES
from bench.stage import Sample, Stage, open_upstream
from bench.store import open_store
from bench.targets import TARGETS, Target

SCENARIO_SECONDS = 900.0


@dataclass(frozen=True)
class GenerationRequest:
    """What to run.

    Attributes:
        mode: the name of the sizes.
        scenarios: their names.
        targets: their names.
        nice: the priority of all processes of the run, as of nice(1).
    """

    mode: str
    scenarios: Sequence[str]
    targets: Sequence[str]
    nice: int = 0


def run(order: GenerationRequest) -> dict[str, Any]:
    """Measure; return the content of the JSON file."""
    cores = _cores()
    os.sched_setaffinity(0, {cores.load})
    about = {**machine(cores), "nice": order.nice}
    os.setpriority(os.PRIO_PROCESS, 0, order.nice)
    samples = anyio.run(_run, order, cores, backend_options={"use_uvloop": True})
    results = summarize(samples)
    return {
        "mode": order.mode,
        "machine": about,
        "results": [asdict(result) for result in results],
        "samples": [asdict(sample) for sample in samples],
    }


def load_results(path: Path) -> tuple[dict[str, Any], list[Result]]:
    """Read a run from its file; return it and its results."""
    written: dict[str, Any] = json.loads(path.read_text())
    return written, [Result(**result) for result in written["results"]]


async def _run(order: GenerationRequest, cores: Cores) -> list[Sample]:
    gc.disable()  # a collection here would show as a gap between tokens; `Stage` collects between samples
    files = raise_file_limit()
    samples: list[Sample] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_at_sigterm, tasks.cancel_scope)
        await _measure(order, cores, files, samples)
        tasks.cancel_scope.cancel()
    return samples


async def _cancel_at_sigterm(scope: anyio.CancelScope) -> None:
    """End the run and its processes; the samples so far are kept."""
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def _measure(
    order: GenerationRequest, cores: Cores, files: int, samples: list[Sample]
) -> None:
    async with (
        open_upstream(cores.load) as upstream,
        open_store(cores.load) as store,
        AsyncExitStack() as stack,
    ):
        targets = _present(order.targets)
        stage = Stage(upstream, cores, MODES[order.mode], targets, files, store, stack)
        for name in order.scenarios:
            try:
                with anyio.fail_after(SCENARIO_SECONDS):
                    async for sample in SCENARIOS[name](stage):
                        samples.append(sample)
                        _say(_brief(sample))
            except (NotStarted, TimeoutError) as exc:
                _say(f"{name}: ended early: {exc!r}")


def _present(names: Sequence[str]) -> list[Target]:
    targets: list[Target] = []
    for name in names:
        target = TARGETS[name]
        if target.missing:
            _say(f"{name}: left out, {target.missing}")
        else:
            targets.append(target)
    return targets


def _cores() -> Cores:
    """Give the target a core of its own; note it if the machine has only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) == 1:
        _say("There is one core only: target, upstream and load generator share it.")
    second = allowed[1] if len(allowed) > 2 else allowed[0]
    return Cores(target=allowed[-1], load=allowed[0], second=second)


def _brief(sample: Sample) -> str:
    figures = (f"{name}={value:.4g}" for name, value in sample.metrics.items() if value is not None)
    notes = f"  [{'; '.join(sample.notes)}]" if sample.notes else ""
    return f"{sample.scenario} · {sample.case} · {sample.target} · {' '.join(figures)}{notes}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
