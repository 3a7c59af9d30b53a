"""The machine: is the port free, and are there enough descriptors and memory for the limits in the settings?"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import msgspec

from streamsvc.config.addresses import url_for_this_machine
from streamsvc.config.settings import Settings
from streamsvc.doctor.findings import Finding, Findings, fail, ok, warn
from streamsvc.errors import ConfigError
from streamsvc.server import descriptors, sizing
from streamsvc.server.listening import BACKLOG, bind

PORT_SECONDS = 3.0
"""How long the program that has the port may take to answer."""

_FEW_CONNECTIONS = 100
_SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


class _Ready(msgspec.Struct):
    status: str
    generations: int
    viewers: int
    reasons: list[str] = []


async def check_port(settings: Settings) -> Findings:
    """Check that the port is free, or that this service has it."""
    host, port = settings.server.host, settings.server.port
    try:
        for listener in bind(host, port):
            listener.close()
    except ConfigError as exc:
        what_is_there = await _who_answers(url_for_this_machine(host, port))
        return [
            what_is_there or fail("port", str(exc).rstrip("."), "change server.host or server.port")
        ]
    return [ok("port", f"{port or 'a free one'} on {host} is free")]


async def _who_answers(url: str) -> Finding | None:
    """Return what a service on the port says; None if it is not this one."""
    try:
        async with httpx2.AsyncClient(
            base_url=url, timeout=PORT_SECONDS, trust_env=False
        ) as client:
            alive = (await client.get("/healthz")).json()
            ready = msgspec.json.decode((await client.get("/readyz")).content, type=_Ready)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return None
    if alive != {"status": "ok"}:
        return None
    found = f"streamsvc runs there: {ready.status}, {ready.generations} answers, {ready.viewers} viewers"
    if ready.status == "ready":
        return ok("port", found)
    reasons = ", ".join(ready.reasons) or ready.status
    return warn("port", f"{found} ({reasons})", f"look at {url}/readyz and at its log")


def check_machine(settings: Settings) -> Findings:
    """Check descriptors, the kernel's queue of connections, and memory."""
    return [_descriptors(settings), *_queue(), *_memory(settings)]


def _descriptors(settings: Settings) -> Finding:
    limits, limit = settings.limits, descriptors.highest_limit()
    room = descriptors.room_for_connections(limit, limits.max_generations)
    needed = sizing.descriptors_needed(limits)
    if room >= limits.max_connections:
        return ok("descriptors", f"{limit} open files are allowed, {needed} are needed")
    found = f"{limit} open files are allowed: room for {room} connections, and limits.max_connections is {limits.max_connections}"
    advice = f"allow {needed} (ulimit -Hn, LimitNOFILE in systemd, ulimits in Compose), or lower limits.max_connections"
    return (fail if room < _FEW_CONNECTIONS else warn)("descriptors", found, advice)


def _queue() -> Findings:
    """Check how many connections may wait to be accepted (listen(2))."""
    size = _number(_SOMAXCONN)
    if size is None or size >= BACKLOG:
        return []
    found = (
        f"net.core.somaxconn is {size}: in a burst of connections, some wait for a second or more"
    )
    return [warn("kernel", found, f"sysctl -w net.core.somaxconn={BACKLOG}")]


def _memory(settings: Settings) -> Findings:
    needed, limits = sizing.memory_bytes(settings), [_physical(), *map(_number, _memory_files())]
    limit = min((it for it in limits if it), default=0)
    if not limit:
        return []
    found = f"{limit // 1_000_000} MB are allowed, and the limits in the settings add up to {needed // 1_000_000} MB"
    if limit >= needed:
        return [ok("memory", found)]
    advice = (
        "allow more, or lower generations.max_total_log_bytes, limits.max_total_data_bytes,"
        " limits.max_total_unread_bytes and limits.max_viewers"
    )
    return [warn("memory", found, advice)]


def _memory_files() -> Iterator[Path]:
    """Yield the files with the memory limits of this process: those of its cgroup and of all above it (cgroups(7))."""
    yield _CGROUPS / "memory" / "memory.limit_in_bytes"  # version 1, as a container sees it
    own = ""
    with suppress(OSError):
        own = _OWN_CGROUP.read_text().partition("0::/")[2].partition("\n")[0]
    yield from (place / "memory.max" for place in (_CGROUPS / own, *(_CGROUPS / own).parents))


def _physical() -> int | None:
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _number(path: Path) -> int | None:
    """Return the number in a file of the kernel; None if the file is missing or says `max`."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
