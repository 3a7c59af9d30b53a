"""`streamsvc demo` as a process, as a person starts it."""

import signal
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from support.process import Running, environment, started

COMMAND = (sys.executable, "-m", "streamsvc", "demo")

PACE = {
    "PROVIDERS__FAKE__WORDS_PER_SECOND": "40",
    "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0",
    "LOG__LEASE_SECONDS": "1",
    "STREAM__RETRY_MS": "500",
}
"""Settings with which a take-over takes about a second."""


@asynccontextmanager
async def demo(
    directory: Path,
    settings: Mapping[str, str],
    *,
    temporary: str,
    arguments: Sequence[str] = (),
) -> AsyncIterator[Running]:
    """Run a demo; on leaving, end it if it still runs. What it prints is in `printed`.

    Args:
        directory: the working directory.
        settings: by the names of their variables without `STREAMSVC_`.
        temporary: the directory for temporary files.
        arguments: further arguments after `demo`.
    """
    command = ("sh", "-c", 'exec "$@" >printed', "sh", *COMMAND, *arguments)
    environ = environment(settings, {"TMPDIR": temporary})
    async with started(command, directory, environ, has_workers=True) as running:
        yield running


def shared_demo() -> Any:
    """Return a fixture: a demo, one for all tests of a module; Ctrl-C must end it, and nothing must be left."""

    @pytest.fixture(scope="module")
    async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
        directory = tmp_path_factory.mktemp("demo")
        with temporary_directory() as temporary:
            async with demo(directory, PACE, temporary=temporary) as running:
                yield running
                running.process.send_signal(signal.SIGINT)
                assert await running.end() == 0
        running.assert_quiet("worker.died", "store.(slow|fast)")

    return service


@contextmanager
def temporary_directory() -> Iterator[str]:
    """Return a directory with a short path, as users have it; fail if a file is left in it."""
    with TemporaryDirectory(prefix="demo") as name:
        yield name
        assert [path.name for path in Path(name).iterdir()] == []


def family(pid: int) -> dict[int, Path]:
    """Return a process and all its descendants, each with its working directory."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            parents[int(process.name)] = int(fields[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return {one: Path(f"/proc/{one}/cwd").readlink() for one in found}


def alive(processes: Iterable[int]) -> set[int]:
    """Return those that run; a zombie does not."""
    return {pid for pid in processes if Path(f"/proc/{pid}/exe").exists()}
