"""The commands of streamsvc as processes, run to their end or beside the test."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread

COMMAND = [sys.executable, "-m", "streamsvc"]


SLOW_WORDS = {
    "STREAMSVC_PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0",
    "STREAMSVC_PROVIDERS__FAKE__WORDS_PER_SECOND": "0.0001",
}


FAST_WORDS = {**SLOW_WORDS, "STREAMSVC_PROVIDERS__FAKE__WORDS_PER_SECOND": "0"}


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a shell, with only the settings in *extra*, and with buffered output."""
    names = {
        name
        for name in os.environ
        if not name.startswith("STREAMSVC_") and name != "PYTHONUNBUFFERED"
    }
    return {**{name: os.environ[name] for name in names}, **extra}


def run(
    directory: Path, *arguments: str | Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a directory."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=directory,
        env=environment(environ or {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


@asynccontextmanager
async def started(
    directory: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    stdout: int = subprocess.PIPE,
) -> AsyncIterator[anyio.abc.Process]:
    """Run a command beside the test."""
    with anyio.fail_after(100), _default_interrupt():
        async with await anyio.open_process(
            [*COMMAND, *arguments], cwd=directory, env=environment(environ or {}), stdout=stdout
        ) as process:
            yield process


async def read_until(process: anyio.abc.Process, text: str) -> None:
    """Read the pipe until exactly *text* has arrived."""
    assert process.stdout is not None
    seen = ""
    while len(seen) < len(text):
        seen += (await process.stdout.receive()).decode()
    assert seen == text


async def errors_of(process: anyio.abc.Process) -> str:
    """Return all that a process writes to standard error."""
    assert process.stderr is not None
    return b"".join([chunk async for chunk in process.stderr]).decode()


@contextmanager
def _default_interrupt() -> Iterator[None]:
    """Let processes receive Ctrl-C even if the suite runs in the background, where a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
