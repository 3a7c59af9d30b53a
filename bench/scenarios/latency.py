"""How much later tokens arrive than the upstream sent them: the first one, and the gaps between.

Added time to first token: from the request to the first token, less what the upstream took from
reading its request to sending that token. Added gap: the time between two tokens as they come, less
the time between them as they were sent. What load generator and loopback cost is in both; the target
`direct` shows how much that is.
"""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import anyio

from bench.load import Stream, Tally
from bench.meter import percentile
from bench.plan import Plan
from bench.stage import Guest, Sample, Stage, all_closed
from bench.steady import PER_SECOND
from bench.targets import TARGETS

_PROBE = Plan(tokens=12, per_second=100, first_ms=20)
_LONG = 1_000_000
_PROBING_SECONDS = 20.0


async def latency(stage: Stage) -> AsyncIterator[Sample]:
    """Send one probe after the other, to an idle target and beside running streams."""
    async with stage.guests([TARGETS["direct"], *stage.targets]) as guests:
        for flowing in (0, stage.sizes.flowing):
            for number in range(stage.sizes.rounds):
                for guest in guests:
                    yield await _latency(guest, flowing, number)


async def _latency(guest: Guest, flowing: int, number: int) -> Sample:
    sizes, tally = guest.stage.sizes, Tally()
    await guest.stage.begin_sample()
    plan = Plan(tokens=_LONG, per_second=PER_SECOND)
    streams = await guest.open_many(plan, flowing, tally, over_seconds=sizes.ramp_seconds)
    for _ in range(2):  # connections, caches
        await _probe(guest)
    meter = guest.meter(tally)
    probes: list[Stream] = []
    began = anyio.current_time()
    while len(probes) < max(sizes.probes // sizes.rounds, 1):
        probes.append(await _probe(guest))
        if anyio.current_time() - began > _PROBING_SECONDS:  # it cannot keep up
            break
    span = meter.span()
    await all_closed(streams, within_seconds=0)
    firsts = [first for probe in probes for first in added_first_ms(probe)]
    gaps = [gap for probe in probes for gap in added_gaps_ms(probe.times_us)]
    expected = _PROBE.tokens * len(probes)
    metrics = {
        "first_p50_ms": percentile(firsts, 50),
        "first_p99_ms": percentile(firsts, 99),
        "gap_p50_ms": percentile(gaps, 50),
        "gap_p99_ms": percentile(gaps, 99),
        "probes": len(probes),
        "delivered_share": sum(probe.tokens for probe in probes) / expected,
    }
    case = f"{flowing} flowing" if flowing else "one stream"
    return Sample("latency", case, guest.target.name, number, metrics, span.notes())


async def _probe(guest: Guest) -> Stream:
    stream = await guest.open(_PROBE, Tally(), is_timed=True)
    await all_closed([stream], within_seconds=5)
    await anyio.sleep(0.005)
    return stream


def added_first_ms(stream: Stream) -> list[float]:
    """Return the added time to first token, if there was one."""
    if not stream.times_us:
        return []
    came, sent, read = stream.times_us[0]
    return [((came - stream.request_us) - (sent - read)) / 1000]


def added_gaps_ms(times_us: Sequence[tuple[int, int, int]]) -> list[float]:
    """Return by how much each gap grew; negative if it shrank."""
    return [
        ((came - came_before) - (sent - sent_before)) / 1000
        for (came_before, sent_before, _), (came, sent, _) in pairwise(times_us)
    ]
