"""Redis, if answers are kept there: can it be used, does it keep what it is given, and how fast is it?"""

import re
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

import anyio

from streamsvc.config.settings import LogSettings
from streamsvc.doctor.clocks import Clocks
from streamsvc.doctor.findings import Finding, Findings, fail, ok, warn
from streamsvc.doctor.places import place_of
from streamsvc.errors import StoreUnavailable
from streamsvc.eventloop import now
from streamsvc.hooks import Hooks
from streamsvc.store import scripts
from streamsvc.store.client import Store
from streamsvc.store.health import ADVICE, Trouble
from streamsvc.store.inspect import LEAST_VERSION

STORE_SECONDS = 4.0
"""How long all questions together may take."""

_PORT = 6379
_PINGS = 10
_SLOW_SECONDS = 0.01
"""Above this, viewers of other workers notice: each of their words waits for two commands."""

_NO_WAY = "the server cannot be used"


async def check_store(settings: LogSettings, clocks: Clocks) -> Findings:
    """Check the Redis of the settings; the keys and scripts that this leaves there are those of the service.

    Args:
        settings: where it is.
        clocks: take the server's.
    """
    store, findings = Store(settings, Hooks()), list[Finding]()
    place = place_of(settings.url, _PORT)
    try:
        with anyio.fail_after(STORE_SECONDS):
            await store.probe()
            server = {**await store.info("server"), **await store.info("memory")}
            server |= await store.info("replication")
            findings += [*_judge_server(server, place)]
            findings.append(await _latency(store))
            clocks.note("Redis", await _ahead(store))
            findings.append(await _load_scripts(store))
    except StoreUnavailable:
        trouble = store.health.trouble or Trouble.SILENT
        findings.append(fail("redis", f"{place}: {_NO_WAY} ({trouble})", ADVICE[trouble]))
    except TimeoutError:
        findings.append(fail("redis", f"{place}: {_NO_WAY} (silent)", ADVICE[Trouble.SILENT]))
    finally:
        with anyio.CancelScope(shield=True):
            await store.close()
    return findings


def _judge_server(info: Mapping[str, Any], place: str) -> Iterator[Finding]:
    if not info:
        yield warn(
            "redis",
            f"{place}: its user may not run INFO, so version and policy are unknown",
            "permit +info",
        )
        return
    kind = next((it for it in ("valkey", "redis") if f"{it}_version" in info), "redis")
    version = str(info.get(f"{kind}_version", "of unknown version"))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < LEAST_VERSION:
        yield fail("redis", f"{place}: {kind} {version}", "use Redis 6.2 or later, or Valkey")
    else:
        yield ok("redis", f"{place}: {kind} {version}")
    if info.get("role", "master") != "master":
        yield fail(
            "redis",
            "this server is a replica, which accepts no writes",
            "set log.url to its primary",
        )
    yield _judge_policy(str(info.get("maxmemory_policy", "unknown")), int(info.get("maxmemory", 0)))


def _judge_policy(policy: str, maxmemory: int) -> Finding:
    room = f"maxmemory {maxmemory // 1_000_000} MB" if maxmemory else "no maxmemory"
    found, advice = f"maxmemory-policy {policy}, {room}", "set maxmemory-policy to noeviction"
    if policy.startswith("allkeys"):
        return fail("redis", f"{found}: answers may be lost at any time", advice)
    if policy.startswith("volatile"):
        return warn(
            "redis", f"{found}: all keys of the service expire, so they may be evicted", advice
        )
    return ok("redis", found)


async def _latency(store: Store) -> Finding:
    times = []
    for _ in range(_PINGS):
        began = now()
        await store.command("PING")
        times.append(now() - began)
    median = statistics.median(times)
    found = f"a command takes {median * 1000:.1f} ms (median of {_PINGS}), at most {max(times) * 1000:.1f} ms"
    if median > _SLOW_SECONDS:
        return warn(
            "redis", found, "put it into the same zone as the workers, and look at its load"
        )
    return ok("redis", found)


async def _ahead(store: Store) -> float:
    """Return how far the server's clock is ahead of ours, in seconds, give or take half the latency."""
    before = time.time()
    seconds, microseconds = await store.command("TIME")
    return float(int(seconds) + int(microseconds) / 1e6 - (before + time.time()) / 2)


async def _load_scripts(store: Store) -> Finding:
    found = [it for it in vars(scripts).values() if isinstance(it, scripts.Script)]
    try:
        for script in found:
            await store.command("SCRIPT", "LOAD", script.source)
    except StoreUnavailable:
        advice = "use Redis or Valkey itself, or permit its user scripting (+@scripting)"
        return fail("redis", "it does not accept the scripts of the service", advice)
    return ok("redis", f"it accepts all {len(found)} scripts")
