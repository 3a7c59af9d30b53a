"""The steady part of paced streams: all of them flow, and nothing begins or ends."""

from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from bench.load import Tally
from bench.meter import LATE_MS, Span
from bench.plan import Plan
from bench.sizes import Sizes
from bench.stage import Guest
from bench.store import Work

PER_SECOND = 50
"""The pace of every paced stream, about that of a fast model."""


@dataclass(frozen=True)
class Steady:
    """What happened in the steady part.

    Attributes:
        spans: of each target.
        work: of the Redis server, if there is one.
        late_ms: how much later than planned the upstream sent a token on average.
    """

    spans: Sequence[Span]
    work: Work | None
    late_ms: float

    @property
    def notes(self) -> list[str]:
        """What limits the value of the measurement."""
        notes = list(dict.fromkeys(note for span in self.spans for note in span.notes()))
        if self.late_ms > LATE_MS:
            notes.append(f"upstream behind schedule by {self.late_ms:.1f} ms")
        return notes


def paced_plan(
    sizes: Sizes, per_second: int = PER_SECOND, *, ramp_seconds: float | None = None
) -> Plan:
    """Return a stream that begins in the ramp, that of *sizes* or another, and outlasts the steady part."""
    ramp_seconds = sizes.ramp_seconds if ramp_seconds is None else ramp_seconds
    seconds = ramp_seconds + sizes.settle_seconds + sizes.steady_seconds + 0.3
    return Plan(tokens=int(per_second * seconds), per_second=per_second)


async def measure_steady(guests: Sequence[tuple[Guest, Tally]]) -> Steady:
    """Measure targets that run side by side on one core, when all streams have been opened."""
    stage = guests[0][0].stage
    await anyio.sleep(stage.sizes.settle_seconds)
    await stage.upstream.reset()
    store = stage.store
    before = await store.work() if store is not None else None
    meters = [
        guest.meter(tally, beside=[other for other, _ in guests if other is not guest])
        for guest, tally in guests
    ]
    await anyio.sleep(stage.sizes.steady_seconds)
    spans = [meter.span() for meter in meters]
    work = await store.work() - before if store is not None and before is not None else None
    stats = await stage.upstream.stats()
    return Steady(spans, work, stats["late_sum_ms"] / max(stats["sent"], 1))
