"""The cost of a token: paced, unpaced, and with many viewers."""

import time
from collections.abc import AsyncIterator

import anyio

from bench.load import Tally, open_stream
from bench.meter import Span
from bench.plan import Plan
from bench.stage import Guest, Sample, Stage, all_closed
from bench.steady import PER_SECOND, Steady, measure_steady, paced_plan
from bench.targets import STREAMSVC, get

_UNPACED_SECONDS = 30.0


async def paced(stage: Stage) -> AsyncIterator[Sample]:
    """Stream at 50 tokens/s: the target's CPU time in the steady part, by the tokens delivered."""
    async with stage.guests(stage.targets) as guests:
        for count in stage.sizes.paced_streams:
            for number in range(stage.sizes.rounds):
                for guest in guests:
                    yield await _paced(guest, count, number)


async def _paced(guest: Guest, count: int, number: int) -> Sample:
    metrics, steady = await run_paced(guest, count)
    case = f"{count} streams"
    return Sample("paced", case, guest.target.name, number, metrics, steady.notes)


async def run_paced(guest: Guest, count: int) -> tuple[dict[str, float | None], Steady]:
    """Run paced streams to their end; return the metrics of the target, and the steady part."""
    stage, sizes, tally = guest.stage, guest.stage.sizes, Tally()
    await stage.begin_sample()
    plan = paced_plan(sizes)
    streams = await guest.open_many(plan, count, tally, over_seconds=sizes.ramp_seconds)
    steady = await measure_steady([(guest, tally)])
    await all_closed(streams, within_seconds=sizes.ramp_seconds + 3)
    span = steady.spans[0]
    metrics = {
        "us_per_token": span.us_per_token,
        "target_share": span.target_share,
        "harness_share": span.load_share + span.upstream_share,
        "tokens_per_second": span.tokens / span.seconds,
        "delivered": tally.tokens,
        "expected": plan.tokens * count,
        "delivered_share": tally.tokens / (plan.tokens * count),
        "upstream_late_ms": steady.late_ms,
    }
    return metrics, steady


async def unpaced(stage: Stage) -> AsyncIterator[Sample]:
    """Stream as fast as the upstream's socket and the target allow."""
    async with stage.guests(stage.targets) as guests:
        for number in range(stage.sizes.rounds):
            for guest in guests:
                yield await _unpaced(guest, number)


async def _unpaced(guest: Guest, number: int) -> Sample:
    sizes, tally = guest.stage.sizes, Tally()
    await guest.stage.begin_sample()
    warm = await guest.open(Plan(tokens=100), Tally())
    await all_closed([warm], within_seconds=5)
    plan = Plan(tokens=sizes.unpaced_tokens)
    began = time.monotonic()
    meter = guest.meter(tally)
    streams = [await guest.open(plan, tally) for _ in range(sizes.unpaced_streams)]
    await all_closed(streams, within_seconds=_UNPACED_SECONDS)
    span = meter.span()
    expected = plan.tokens * sizes.unpaced_streams
    seconds = max(tally.last_us / 1e6 - began, 1e-6)
    metrics = {
        "tokens_per_second": tally.tokens / seconds,
        "us_per_token": span.us_per_token,
        "target_share": span.target_share,
        "harness_share": span.load_share + span.upstream_share,
        "delivered": tally.tokens,
        "expected": expected,
        "delivered_share": tally.tokens / expected,
    }
    case = f"{sizes.unpaced_streams} streams"
    return Sample("unpaced", case, guest.target.name, number, metrics, span.notes())


async def fan_out(stage: Stage) -> AsyncIterator[Sample]:
    """Let many viewers watch each generation; the CPU time is by the tokens generated."""
    async with stage.guests([STREAMSVC]) as (guest,):
        for number in range(stage.sizes.rounds):
            for viewers in (1, stage.sizes.viewers):
                yield await _fan_out(guest, viewers, number)


async def _fan_out(guest: Guest, viewers: int, number: int) -> Sample:
    stage, sizes, tally = guest.stage, guest.stage.sizes, Tally()
    await stage.begin_sample()
    seconds = sizes.ramp_seconds + sizes.settle_seconds + sizes.steady_seconds + 0.5
    plan = Plan(tokens=int(PER_SECOND * seconds), per_second=PER_SECOND)
    count = sizes.generations
    streams = await guest.open_many(plan, count, tally, over_seconds=sizes.ramp_seconds)
    for stream in list(streams):
        await stream.answered
        request = get(f"/v1/generations/{stream.header('x-generation-id')}/events")
        for _ in range(viewers - 1):
            streams.append(await open_stream(guest.running.port, request, tally))
    await anyio.sleep(sizes.settle_seconds)
    meter = guest.meter(tally)
    await anyio.sleep(sizes.steady_seconds)
    span: Span = meter.span()
    await all_closed(streams, within_seconds=sizes.ramp_seconds + 3)
    generated = span.tokens / viewers
    expected = plan.tokens * count * viewers
    metrics = {
        "us_per_token": span.us_per_token,
        "us_per_generated_token": span.cpu_us / generated if generated else None,
        "delivered": tally.tokens,
        "expected": expected,
        "delivered_share": tally.tokens / expected,
        "viewers": viewers,
    }
    case = f"{viewers} viewer{'s' if viewers > 1 else ''}"
    return Sample("fan-out", case, guest.target.name, number, metrics, span.notes())
