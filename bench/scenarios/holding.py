"""The cost of open, silent streams: memory, and how many one core can hold."""

from collections import Counter
from collections.abc import AsyncIterator

import anyio

from bench.load import Stream, Tally
from bench.plan import Plan
from bench.processes import rss_bytes
from bench.stage import Guest, Sample, Stage, all_closed

_MEMORY = Plan(tokens=50, per_second=50, is_held=True)
_HELD = Plan(tokens=1, is_held=True)
_FORGETS = {"STREAMSVC_GENERATIONS__KEEP_ABANDONED_SECONDS": "0.5"}
"""Logs kept for viewers that may return take memory on purpose; this measures the rest."""

_FILES_PER_STREAM = 2
_OTHER_FILES = 500


async def memory(stage: Stage) -> AsyncIterator[Sample]:
    """Hold streams after 50 tokens, then close them; each target runs in a new process."""
    for target in stage.targets:
        async with stage.guest(target, _FORGETS) as guest:
            yield await _memory(guest)


async def _memory(guest: Guest) -> Sample:
    sizes, tally, pid = guest.stage.sizes, Tally(), guest.running.pid
    count = sizes.memory_streams
    await guest.stage.begin_sample()
    for _ in range(3):  # imports by the first requests are not a cost of a stream
        warm = await guest.open(Plan(tokens=50), Tally())
        await all_closed([warm], within_seconds=5)
    before, store = rss_bytes(pid), guest.store
    stored = await store.work() if store is not None else None
    with anyio.move_on_after(60):
        streams = await guest.open_many(_MEMORY, count, tally, over_seconds=count / 200)
        while tally.tokens < _MEMORY.tokens * count:  # noqa: ASYNC110  # counted in a callback
            await anyio.sleep(0.1)
        await anyio.sleep(sizes.settle_seconds)
    held = rss_bytes(pid)
    if store is not None and stored is not None:
        stored = await store.work() - stored
    await all_closed(streams, within_seconds=0)
    await guest.stage.upstream.until_quiet()
    await anyio.sleep(sizes.release_seconds)
    after = rss_bytes(pid)
    metrics = {
        "start_mb": before / 1e6,
        "kb_per_stream": (held - before) / 1000 / count,
        "held_mb": held / 1e6,
        "after_release_mb": (after - before) / 1e6,
        "redis_kb_per_stream": stored.memory_bytes / 1000 / count if stored is not None else None,
        "delivered_share": tally.tokens / (_MEMORY.tokens * count),
    }
    return Sample("memory", f"{count} streams", guest.target.name, 0, metrics)


async def held(stage: Stage) -> AsyncIterator[Sample]:
    """Hold the configured number of streams, check that each gets its keepalives, and request more."""
    for target in [target for target in stage.targets if target.is_streamsvc][:1]:
        most = (stage.files - _OTHER_FILES) // _FILES_PER_STREAM
        count = min(stage.sizes.held_streams, most)
        environ = {
            "STREAMSVC_STREAM__PING_SECONDS": str(stage.sizes.held_ping_seconds),
            "STREAMSVC_LIMITS__MAX_VIEWERS": str(count),
            "STREAMSVC_LIMITS__MAX_GENERATIONS": str(count),
            "STREAMSVC_PROVIDERS__OPENAI__MAX_GENERATIONS": str(count),
            "STREAMSVC_PROVIDERS__OPENAI__IDLE_SECONDS": "600",
        }
        async with stage.guest(target, environ) as guest:
            yield await _held(guest, count)


async def _held(guest: Guest, count: int) -> Sample:
    sizes, tally = guest.stage.sizes, Tally()
    await guest.stage.begin_sample()
    began = anyio.current_time()
    streams = await guest.open_all(_HELD, count, tally)
    opened_seconds = anyio.current_time() - began
    pinged = [stream.pings for stream in streams]
    meter = guest.meter(tally)
    await anyio.sleep(2.5 * sizes.held_ping_seconds)
    span = meter.span()
    pings = [stream.pings - then for stream, then in zip(streams, pinged, strict=True)]
    extra = await _ask_beyond(guest)
    answers = Counter(stream.status or "none" for stream in extra)
    refused = sum(stream.status == "503" and bool(stream.header("retry-after")) for stream in extra)
    notes = span.notes()
    notes.append("beyond: " + ", ".join(f"{n} × {status}" for status, n in answers.items()))
    if count < sizes.held_streams:
        notes.append(f"held {count} of {sizes.held_streams}: too few open files are allowed")
    metrics = {
        "held": sum(not stream.closed.done() for stream in streams),
        "answered": sum(stream.status == "200" for stream in streams),
        "pings_min": min(pings, default=0),
        "without_ping": sum(not one for one in pings),
        "opened_seconds": opened_seconds,
        "target_share": span.target_share,
        "beyond": len(extra),
        "refused": refused,
        "rss_mb": rss_bytes(guest.running.pid) / 1e6,
    }
    await all_closed([*streams, *extra], within_seconds=0)
    return Sample("held", f"{count} streams", guest.target.name, 0, metrics, notes)


async def _ask_beyond(guest: Guest) -> list[Stream]:
    extra: list[Stream] = []
    with anyio.move_on_after(30):
        for _ in range(guest.stage.sizes.held_beyond):
            stream = await guest.open(_HELD, Tally())
            extra.append(stream)
            await stream.answered
    return extra
