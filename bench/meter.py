"""What happened between two moments: CPU time of each side, tokens, and which side was the bottleneck."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from bench.load import Tally
from bench.processes import busy_seconds, cpu_ns

BOTTLENECK_SHARE = 0.85
FOREIGN_SHARE = 0.10
LATE_MS = 5.0


@dataclass(frozen=True)
class Cores:
    """Which process runs on which core.

    Attributes:
        target: the core of the target.
        load: the core of the upstream, the load generator and Redis.
        second: the core of a second worker: one that nothing else uses, if the machine has a third one.
    """

    target: int
    load: int
    second: int


@dataclass(frozen=True)
class Span:
    """What happened between two readings. Shares are of one core."""

    seconds: float
    tokens: int
    cpu_us: float
    target_share: float
    load_share: float
    upstream_share: float
    foreign_at_target: float
    foreign_at_load: float

    @property
    def us_per_token(self) -> float | None:
        """The target's CPU time for each token that was delivered."""
        return self.cpu_us / self.tokens if self.tokens else None

    def notes(self) -> list[str]:
        """Return what limits the value of this measurement."""
        notes: list[str] = []
        harness = self.load_share + self.upstream_share
        if harness > BOTTLENECK_SHARE:
            notes.append(
                f"bottleneck: load generator {self.load_share:.0%}, upstream {self.upstream_share:.0%}"
            )
        for whose, share in (
            ("the target's core", self.foreign_at_target),
            ("the other core", self.foreign_at_load),
        ):
            if share > FOREIGN_SHARE and self.seconds > 1:  # it counts in steps of 10 ms
                notes.append(f"others used {share:.0%} of {whose}")
        return notes


class Meter:
    """Reads all clocks and counts when created; `span` returns the differences since.

    Args:
        target: the process that is measured.
        upstream: the upstream's process.
        tally: counts its tokens.
        cores: where they run.
        beside: other processes of this run on the target's core.
        store: the Redis server's process, on the other core.
    """

    def __init__(
        self,
        target: int,
        upstream: int,
        tally: Tally,
        cores: Cores,
        *,
        beside: Sequence[int] = (),
        store: Sequence[int] = (),
    ) -> None:
        self._pids = (target, upstream)
        self._beside = beside
        self._store = store
        self._tally = tally
        self._cores = cores
        self._began = self._read()

    def span(self) -> Span:
        """Return the differences since this meter was created."""
        began, now = self._began, self._read()
        seconds, tokens, target, upstream, load, beside, store, busy_target, busy_load = (
            after - before for before, after in zip(began, now, strict=True)
        )
        ours_at_load = load if self._pids[0] == self._pids[1] else upstream + load
        return Span(
            seconds=seconds,
            tokens=int(tokens),
            cpu_us=target * 1e6,
            target_share=target / seconds,
            load_share=load / seconds,
            upstream_share=upstream / seconds,
            foreign_at_target=max(busy_target - target - beside, 0.0) / seconds,
            foreign_at_load=max(busy_load - ours_at_load - store, 0.0) / seconds,
        )

    def _read(self) -> tuple[float, ...]:
        target, upstream = (cpu_ns(pid) / 1e9 for pid in self._pids)
        return (
            time.monotonic(),
            self._tally.tokens,
            target,
            upstream,
            time.process_time(),
            sum(map(cpu_ns, self._beside)) / 1e9,
            sum(map(cpu_ns, self._store)) / 1e9,
            busy_seconds(self._cores.target),
            busy_seconds(self._cores.load),
        )


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Return a percentile of the values (inclusive: never beyond them), or None if there are none."""
    if not values:
        return None
    if len(values) == 1:
        return values[0]
    if percent == 50:
        return median(values)
    return quantiles(values, n=100, method="inclusive")[percent - 1]
