"""How long the upstream continues after the client has left: from the abort to its connection's close."""

import random
from collections.abc import AsyncIterator
from itertools import count

import anyio

from bench.load import Tally
from bench.meter import percentile
from bench.plan import Plan
from bench.stage import Guest, Sample, Stage, all_closed
from bench.steady import PER_SECOND

_LONG = 1_000_000
_WAIT_SECONDS = 2.0
_ABORTING_SECONDS = 45.0
_SOON_US = 1000
"""A token sent later than this after the abort counts as wasted."""
_keys = count(1)


async def teardown(stage: Stage) -> AsyncIterator[Sample]:
    """Abort streams one after the other, on an idle target and beside running streams."""
    async with stage.guests(stage.targets) as guests:
        for flowing in (0, stage.sizes.aborts_among):
            for guest in guests:
                yield await _teardown(guest, flowing)


async def _teardown(guest: Guest, flowing: int) -> Sample:
    sizes, tally, upstream = guest.stage.sizes, Tally(), guest.stage.upstream
    await guest.stage.begin_sample()
    plan = Plan(tokens=_LONG, per_second=PER_SECOND)
    streams = await guest.open_many(plan, flowing, tally, over_seconds=sizes.ramp_seconds)
    meter = guest.meter(tally)
    aborted_us: dict[int, int] = {}
    phases = random.Random(0)  # noqa: S311
    began = anyio.current_time()
    for _ in range(sizes.aborts):
        if anyio.current_time() - began > _ABORTING_SECONDS:  # it cannot keep up, and opens slowly
            break
        key = next(_keys)
        stream = await guest.open(Plan(_LONG, PER_SECOND, key=key), Tally())
        with anyio.move_on_after(_WAIT_SECONDS):
            await stream.begun
        await anyio.sleep(phases.uniform(0.005, 1 / PER_SECOND))
        aborted_us[key] = stream.abort()
        await anyio.sleep(0.01)
    span = meter.span()
    with anyio.move_on_after(_WAIT_SECONDS):
        while len(closed := await upstream.closed()) < len(aborted_us):  # noqa: ASYNC110  # another process
            await anyio.sleep(0.1)
    await all_closed(streams, within_seconds=0)
    times_ms: list[float] = []
    after: list[int] = []  # how long after the abort, in µs, each token was sent
    for key, at in aborted_us.items():
        if (one := closed.get(key)) is not None:
            times_ms.append((one["closed_us"] - at) / 1000)
            after.extend(sent - at for sent in one["latest_us"] if sent > at)
    metrics = {
        "close_p50_ms": percentile(times_ms, 50),
        "close_p99_ms": percentile(times_ms, 99),
        "close_max_ms": max(times_ms, default=None),
        "tokens_after": len(after),
        "tokens_later": sum(us > _SOON_US for us in after),
        "aborts": len(aborted_us),
        "unclosed": len(aborted_us) - len(times_ms),
    }
    case = f"{flowing} flowing" if flowing else "idle"
    return Sample("teardown", case, guest.target.name, 0, metrics, span.notes())
