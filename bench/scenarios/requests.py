"""What a request costs besides its tokens: answers of one token, and a burst of first tokens.

Each request has a key and is counted against limits in the guarded target, and each answer gets its log line, because
the log level is the shipped one here.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from bench.load import Asker, Stream, Tally, connect
from bench.plan import Plan
from bench.scenarios.guarding import guarded_target, keys_and_limits, run_short
from bench.stage import Guest, Sample, Stage, all_closed
from bench.targets import STREAMSVC

_AT_ONCE = 32
_SHORT = Plan(tokens=1)
_HELD = Plan(tokens=1, is_held=True)
_SECONDS = 60.0
_SETTINGS = {"STREAMSVC_SERVER__LOG_LEVEL": "info"}


async def requests(stage: Stage) -> AsyncIterator[Sample]:
    """Answer short requests on new connections and on kept ones, then bursts; the targets take turns."""
    with tempfile.TemporaryDirectory() as directory:
        key, environ = keys_and_limits(Path(directory))
        async with AsyncExitStack() as stack:
            guests: list[Guest] = []
            for target in stage.targets:
                guests.append(await stack.enter_async_context(stage.guest(target, _SETTINGS)))
                if target is STREAMSVC:
                    guarded, settings = guarded_target(target, key), {**environ, **_SETTINGS}
                    guests.append(await stack.enter_async_context(stage.guest(guarded, settings)))
            for guest in guests:
                await run_short(guest, _AT_ONCE)  # imports what the first request needs
            for case in (_new, _kept, _burst):
                for number in range(stage.sizes.request_rounds):
                    for guest in guests if number % 2 == 0 else guests[::-1]:
                        yield await case(guest, number)


async def _new(guest: Guest, number: int) -> Sample:
    metrics, notes = await run_short(guest, guest.stage.sizes.short_answers)
    return Sample("requests", "new connections", guest.target.name, number, metrics, notes)


async def _kept(guest: Guest, number: int) -> Sample:
    count, tally = guest.stage.sizes.short_answers, Tally()
    at_once = min(count, _AT_ONCE)
    request = guest.target.request(_SHORT, keeps=True)
    await guest.stage.begin_sample()
    askers = [
        await connect(guest.running.port, lambda: Asker(tally, request)) for _ in range(at_once)
    ]
    meter = guest.meter(tally)
    for place, asker in enumerate(askers):
        asker.ask(len(range(place, count, at_once)))
    with anyio.move_on_after(_SECONDS):
        for asker in askers:
            await asker.answered
    span = meter.span()
    for asker in askers:
        asker.abort()
    metrics = {
        "us_per_request": span.cpu_us / count,
        "delivered_share": tally.tokens / count,
        "target_share": span.target_share,
        "harness_share": span.load_share + span.upstream_share,
    }
    return Sample("requests", "kept connections", guest.target.name, number, metrics, span.notes())


async def _burst(guest: Guest, number: int) -> Sample:
    """Send a hundred requests in one moment, each on an open connection, and wait for the first token of all."""
    count, tally = guest.stage.sizes.burst, Tally()
    request = guest.target.request(_HELD)
    await guest.stage.begin_sample()
    streams = [await connect(guest.running.port, lambda: Stream(tally)) for _ in range(count)]
    await anyio.sleep(0.05)  # until the target has accepted them
    meter = guest.meter(tally)
    for stream in streams:
        stream.send(request)
    with anyio.move_on_after(_SECONDS):
        for stream in streams:
            await stream.begun
    span = meter.span()
    await all_closed(streams, within_seconds=0)
    metrics = {
        "us_per_request": span.cpu_us / count,
        "all_first_ms": (tally.last_us - streams[0].request_us) / 1000,
        "delivered_share": tally.tokens / count,
    }
    return Sample("requests", f"burst of {count}", guest.target.name, number, metrics, span.notes())
