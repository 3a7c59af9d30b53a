"""Processes on cores: started, pinned, awaited and ended; and the resources they use."""

import asyncio
import ctypes
import os
import resource
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio

READY_SECONDS = 60.0
STOP_SECONDS = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class NotStarted(Exception):
    """A server ended, or was not ready in time; holds the end of its output."""


@dataclass(frozen=True)
class Health:
    """How a server shows that it is ready.

    Attributes:
        request: what to send.
        reply: what its reply contains then.
    """

    request: bytes
    reply: bytes


def http_health(path: str) -> Health:
    """Return the health check of an HTTP server: a 200 at a path."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return Health(request.encode(), b"HTTP/1.1 200 ")


@dataclass(frozen=True)
class Running:
    """A server that is ready.

    Attributes:
        port: where, on the loopback.
        pid: of its process.
        start_seconds: from its start to the first good reply.
    """

    port: int
    pid: int
    start_seconds: float


def raise_file_limit() -> int:
    """Raise the limit of open files for this process and its children to the maximum; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    """Return an unused port of the loopback."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process, all its threads, user and system.

    This is its CPU clock (clock_getcpuclockid(3)), which counts in nanoseconds; the same time in
    /proc/PID/stat has steps of 10 ms.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


def busy_seconds(core: int) -> float:
    """Return how long a core has been busy, over all processes."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, ticks)
            return (user + nice + system + irq + softirq) / _TICKS
    return 0.0


_OTHERS = ("STREAMSVC_", "OPENAI_", "GEMINI_", "GOOGLE_", "COVERAGE_", "PYTHONDONTWRITEBYTECODE")
"""Variables of our own environment that would change the results."""


def environ_for(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a target: ours without keys and proxies, and with *extra*."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_OTHERS) and not name.upper().endswith("_PROXY")
    }
    return {**ours, "NO_PROXY": "127.0.0.1", **extra}


@asynccontextmanager
async def server(
    command: Sequence[str], *, port: int, health: Health, core: int, environ: Mapping[str, str]
) -> AsyncIterator[Running]:
    """Run a server on one core while the context is held. It ends with this process, even if that is killed.

    Raises:
        NotStarted: it ended, or was not ready in time.
    """
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=output,
            stderr=output,
            env=environ_for(environ),
            cwd=Path(__file__).parents[1],
            preexec_fn=end_with_parent,
        )
        try:
            os.sched_setaffinity(process.pid, {core})
            await _ready(process, port, health, output)
            yield Running(port, process.pid, time.monotonic() - began)
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(process)


def end_with_parent() -> None:
    """Let the kernel send SIGTERM to this process when its parent ends, however that ends: prctl(2)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _ready(
    process: asyncio.subprocess.Process, port: int, health: Health, output: IO[bytes]
) -> None:
    with anyio.move_on_after(READY_SECONDS):
        while process.returncode is None:
            if health.reply in await _reply(port, health.request):
                return
            await anyio.sleep(0.005)
    output.seek(0)
    raise NotStarted(output.read()[-2000:].decode(errors="replace"))


async def _reply(port: int, request: bytes) -> bytes:
    try:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(request)
            return await stream.receive()
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
        return b""


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        with anyio.move_on_after(STOP_SECONDS):
            await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
