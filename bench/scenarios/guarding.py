"""What keys and limits cost: the same service with them and without, side by side.

Each request has a key, whose principal has limits of requests, tokens, answers and viewers, none of which it reaches;
the service has limits of all principals together as well. Nothing of that is on a token's way.
"""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from bench.load import Tally
from bench.plan import Plan
from bench.scenarios.throughput import run_paced
from bench.stage import Guest, Sample, Stage, all_closed
from bench.targets import TARGETS, Target
from streamsvc.guard.keys import hash_of, new_key

GUARDED = "-guarded"
"""The end of a target's name if keys and limits are on."""

MOST = "1000000000"
"""A limit that is counted, and never reached."""

_LIMITS = ("PRINCIPAL_LIMITS", "LIMITS")
_SECONDS = 60.0


async def guard(stage: Stage) -> AsyncIterator[Sample]:
    """Answer short requests, then paced ones; the targets take turns."""
    with tempfile.TemporaryDirectory() as directory:
        key, environ = keys_and_limits(Path(directory))
        async with stage.guests(_targets(stage)) as without, AsyncExitStack() as stack:
            guests: list[Guest] = []
            for guest in without:
                guarded = guarded_target(guest.target, key)
                beside = await stack.enter_async_context(stage.guest(guarded, environ))
                guests += [guest, beside]
            for guest in guests:
                # Imports what the first request needs.
                await run_short(guest, stage.sizes.short_answers)
            for number in range(stage.sizes.guard_rounds):
                for guest in _in_turn(guests, number):
                    yield await _short(guest, number)
            for number in range(stage.sizes.rounds):
                for guest in _in_turn(guests[:2], number):
                    yield await _paced(guest, number)


def _targets(stage: Stage) -> list[Target]:
    """Return what is measured with and without; without a Redis server not what needs one."""
    targets = map(TARGETS.__getitem__, stage.sizes.guarded)
    return [target for target in targets if stage.store is not None or not target.uses_redis]


def _in_turn(guests: list[Guest], number: int) -> list[Guest]:
    """Return the targets in the order of a round: what comes second in one comes first in the next."""
    return guests if number % 2 == 0 else guests[::-1]


def guarded_target(target: Target, key: str) -> Target:
    """Return a target whose requests have a key."""
    return replace(target, name=target.name + GUARDED, key=key)


def keys_and_limits(directory: Path) -> tuple[str, Mapping[str, str]]:
    """Write a keys file with one principal; return its key, and the settings of a service with limits."""
    key, key_id = new_key()
    path = directory / "keys.toml"
    path.write_text(
        "[[principals.bench.keys]]\ncreated = 2026-01-01T00:00:00Z\n"
        f'id = "{key_id}"\nhash = "{hash_of(key)}"\n'
    )
    path.chmod(0o600)
    per_minute = ("REQUESTS_PER_MINUTE", "TOKENS_PER_MINUTE")
    limits = {f"STREAMSVC_{table}__{name}": MOST for table in _LIMITS for name in per_minute}
    at_once = {
        f"STREAMSVC_PRINCIPAL_LIMITS__MAX_{name}": "100000" for name in ("GENERATIONS", "VIEWERS")
    }
    return key, {"STREAMSVC_AUTH__KEYS_FILE": str(path), **limits, **at_once}


async def _short(guest: Guest, number: int) -> Sample:
    metrics, notes = await run_short(guest, guest.stage.sizes.short_answers)
    return Sample("guard", "short answers", guest.target.name, number, metrics, notes)


async def run_short(guest: Guest, count: int) -> tuple[dict[str, float | None], list[str]]:
    """Get answers of one token, each over a new connection; return the metrics of the target, and notes."""
    stage, tally = guest.stage, Tally()
    await stage.begin_sample()
    meter = guest.meter(tally)
    streams = await guest.open_all(Plan(tokens=1), count, tally)
    await all_closed(streams, within_seconds=_SECONDS)
    span = meter.span()
    metrics: dict[str, float | None] = {
        "us_per_request": span.cpu_us / count,
        "delivered_share": tally.tokens / count,
        "target_share": span.target_share,
        "harness_share": span.load_share + span.upstream_share,
    }
    return metrics, span.notes()


async def _paced(guest: Guest, number: int) -> Sample:
    count = guest.stage.sizes.paced_streams[0]
    metrics, steady = await run_paced(guest, count)
    return Sample("guard", f"{count} streams", guest.target.name, number, metrics, steady.notes)
