"""What many workers cost: the log in Redis, the answers of other workers, and a second worker."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack

import anyio

from bench.load import Stream, Tally
from bench.meter import percentile
from bench.plan import Plan
from bench.scenarios.latency import added_gaps_ms
from bench.scenarios.throughput import run_paced
from bench.stage import Guest, Sample, Stage, all_closed
from bench.steady import PER_SECOND, measure_steady, paced_plan
from bench.targets import STREAMSVC, STREAMSVC_REDIS

WRITE_MS, READ_MS = 25, 15
"""The settings as shipped."""

_MANY_PER_SECOND = 10
_TIMED = 20
"""How many of the streams have their times taken: the load generator is not to become the bottleneck."""

_UNPACED_SECONDS = 30.0


def _pace(write_ms: int, read_ms: int = READ_MS) -> Mapping[str, str]:
    return {"STREAMSVC_LOG__WRITE_MS": str(write_ms), "STREAMSVC_LOG__READ_MS": str(read_ms)}


async def shared_log(stage: Stage) -> AsyncIterator[Sample]:
    """Stream at 50 tokens/s with the log in memory and in Redis: CPU of the worker and of Redis."""
    if stage.store is None:
        return
    sizes = stage.sizes
    async with AsyncExitStack() as stack:
        (memory,) = await stack.enter_async_context(stage.guests([STREAMSVC]))
        stored = {
            write_ms: await stack.enter_async_context(stage.guest(STREAMSVC_REDIS, _pace(write_ms)))
            for write_ms in sizes.write_ms
        }
        for count in sizes.shared_streams:
            is_first = count == sizes.shared_streams[0]
            for number in range(sizes.rounds):
                yield await _written(memory, count, "memory", number)
                for write_ms, guest in stored.items():
                    if is_first or write_ms == WRITE_MS:
                        yield await _written(guest, count, f"write_ms {write_ms}", number)


async def _written(guest: Guest, count: int, how: str, number: int) -> Sample:
    metrics, steady = await run_paced(guest, count)
    if guest.store is not None and steady.work is not None:
        metrics |= steady.work.metrics(steady.spans[0].tokens)
    case = f"{count} streams, {how}"
    return Sample("shared-log", case, guest.target.name, number, metrics, steady.notes)


async def foreign(stage: Stage) -> AsyncIterator[Sample]:
    """Watch answers on a worker that does not run them: how late words come, and what they cost it."""
    if stage.store is None:
        return
    sizes = stage.sizes
    count = sizes.shared_streams[0]
    paces = [(write_ms, READ_MS) for write_ms in sizes.write_ms]
    paces += [(WRITE_MS, read_ms) for read_ms in sizes.read_ms if read_ms != READ_MS]
    for write_ms, read_ms in paces:
        async with stage.pair(STREAMSVC_REDIS, _pace(write_ms, read_ms)) as workers:
            for number in range(sizes.rounds):
                case = f"{count} answers, write_ms {write_ms}, read_ms {read_ms}"
                yield await _foreign(workers, case, count, PER_SECOND, number)
            for number in range(sizes.rounds if (write_ms, read_ms) == (WRITE_MS, READ_MS) else 0):
                case = f"{sizes.many_foreign} answers of {_MANY_PER_SECOND} tokens/s"
                yield await _foreign(workers, case, sizes.many_foreign, _MANY_PER_SECOND, number)


async def _foreign(
    workers: tuple[Guest, Guest], case: str, count: int, per_second: int, number: int
) -> Sample:
    owner, other = workers
    sizes, stage, tally = owner.stage.sizes, owner.stage, Tally()
    await stage.begin_sample()
    ramp_seconds = sizes.ramp_seconds * max(1, count / 100)
    plan = paced_plan(sizes, per_second, ramp_seconds=ramp_seconds)
    streams: list[Stream] = []

    async def watch(at: int) -> None:
        await anyio.sleep(at * ramp_seconds / count)
        generation = await owner.create(plan)
        streams.append(await other.attach(generation, tally, is_timed=at < _TIMED))

    async with anyio.create_task_group() as tasks:
        for at in range(count):
            tasks.start_soon(watch, at)
    steady = await measure_steady([(other, tally), (owner, Tally())])
    await all_closed(streams, within_seconds=ramp_seconds + 4)
    span, owners = steady.spans
    timed = [stream.times_us for stream in streams if stream.times_us]
    gaps = [gap for times in timed for gap in added_gaps_ms(times)]
    lags = [(came - sent) / 1000 for times in timed for came, sent, _ in times]
    expected = plan.tokens * count
    metrics = {
        "us_per_token": span.us_per_token,
        "target_share": span.target_share,
        "owner_share": owners.target_share,
        "lag_p50_ms": percentile(lags, 50),
        "lag_p99_ms": percentile(lags, 99),
        "gap_p50_ms": percentile(gaps, 50),
        "gap_p99_ms": percentile(gaps, 99),
        "delivered_share": tally.tokens / expected,
        **({} if steady.work is None else steady.work.metrics(span.tokens)),
    }
    return Sample("foreign", case, other.target.name, number, metrics, steady.notes)


async def workers(stage: Stage) -> AsyncIterator[Sample]:
    """Stream as fast as possible through one worker, then through two, each on a core."""
    if stage.store is None:
        return
    async with stage.pair(
        STREAMSVC_REDIS, {}, cores=(stage.cores.target, stage.cores.second)
    ) as two:
        for number in range(stage.sizes.rounds):
            for some in (two[:1], two):
                yield await _saturated(some, number)


async def _saturated(guests: Sequence[Guest], number: int) -> Sample:
    stage, sizes = guests[0].stage, guests[0].stage.sizes
    await stage.begin_sample()
    tallies = [Tally() for _ in guests]
    for guest in guests:
        await all_closed([await guest.open(Plan(tokens=100), Tally())], within_seconds=5)
    plan = Plan(tokens=sizes.unpaced_tokens)
    before = await stage.store.work() if stage.store is not None else None
    began = time.monotonic()
    meters = [guest.meter(tally) for guest, tally in zip(guests, tallies, strict=True)]
    streams: list[Stream] = []
    for _ in range(sizes.unpaced_streams):
        for guest, tally in zip(guests, tallies, strict=True):
            streams.append(await guest.open(plan, tally))  # one after the other
    await all_closed(streams, within_seconds=_UNPACED_SECONDS)
    spans = [meter.span() for meter in meters]
    tokens = sum(tally.tokens for tally in tallies)
    seconds = max(max(tally.last_us for tally in tallies) / 1e6 - began, 1e-6)
    costs = [span.us_per_token for span in spans]
    metrics: dict[str, float | None] = {
        "tokens_per_second": tokens / seconds,
        # What each worker would deliver with a core of its own, by the CPU time that it took.
        "capacity_per_second": sum(1e6 / cost for cost in costs if cost),
        "us_per_token": sum(cost or 0.0 for cost in costs) / len(costs),
        "harness_share": spans[0].load_share + spans[0].upstream_share,
        "delivered_share": tokens / (plan.tokens * len(streams)),
    }
    if stage.store is not None and before is not None:
        work = await stage.store.work() - before
        metrics |= work.metrics(tokens) | {"redis_share": work.seconds / spans[0].seconds}
    case = f"{len(guests)} worker{'s' if len(guests) > 1 else ''}"
    notes = (
        []
        if len(guests) == 1 or stage.cores.second != stage.cores.load
        else ["the second worker shares its core with the load generator, the upstream and Redis"]
    )
    return Sample("workers", case, guests[0].target.name, number, metrics, notes)
