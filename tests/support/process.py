"""`python -m streamsvc serve` as a process of its own: what a user starts, on uvloop.

async with serve(tmp_path, {"PROVIDERS__FAKE__TEXT": "one two"}) as service:
await service.client.get("/stream-ai?prompt=hi")
assert await service.terminate() == 0
service.assert_quiet()
"""

import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
import httpx2

from support.owned import own_tasks

START_SECONDS = 30
"""Bound of a start, on a machine that is busy with other things."""

RUNNING_ON = re.compile(r"running on http://127\.0\.0\.1:(\d+)")

COMPLAINT = re.compile(r"Traceback|crashed|\b(?:WARNING|ERROR|CRITICAL)\b")

FAKE: Mapping[str, object] = {
    "kind": "fake",
    "reply": "text",
    "text": "Fine.",
    "first_word_seconds": 0.0,
    "words_per_second": 0.0,
}
"""A provider entry that answers at once."""


@dataclass
class Running:
    """A running service.

    Attributes:
        process: the process; its standard error is read all the time, so that its pipe is never full.
        client: an HTTP client with its address.
        port: where it listens.
        output: all that it has written so far.
    """

    process: anyio.abc.Process
    client: httpx2.AsyncClient = field(default_factory=httpx2.AsyncClient)
    port: int = 0
    output: str = ""
    _has_ended: bool = False
    _changed: anyio.Event = field(default_factory=anyio.Event)

    async def is_ready(self) -> bool:
        """Ask `/readyz`."""
        return (await self.client.get("/readyz")).status_code == 200

    async def drain(self) -> None:
        """Send SIGTERM, and wait until it is noticed."""
        self.process.send_signal(signal.SIGTERM)
        while await self.is_ready():
            pass

    async def end(self) -> int:
        """Wait for its end and the end of its output; return the exit code."""
        while not self._has_ended:
            await self._changed.wait()
        return await self.process.wait()

    async def terminate(self) -> int:
        """Send SIGTERM, and wait for the end; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.end()

    async def logged(self, pattern: str, *, since: int = 0) -> re.Match[str]:
        """Wait until it has written what matches *pattern*; EOFError if it ends before that.

        Args:
            pattern: a regular expression.
            since: at which character of the output to begin.
        """
        while (found := re.search(pattern, self.output[since:])) is None:
            if self._has_ended:
                raise EOFError(f"{pattern!r} is not in:\n{self.output}")
            await self._changed.wait()
        return found

    def assert_quiet(self, *expected: str, since: int = 0) -> None:
        """Fail for each warning, error or crash that no *expected* pattern matches.

        Args:
            expected: patterns of lines that are as they should be.
            since: at which character of the output to begin.
        """
        lines = filter(COMPLAINT.search, self.output[since:].splitlines())
        unexpected = [line for line in lines if not any(re.search(it, line) for it in expected)]
        assert not unexpected, "\n".join(unexpected)

    async def read_output(self) -> None:
        """Read what it writes, up to its end."""
        assert self.process.stderr is not None
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            async for chunk in self.process.stderr:
                self.output += chunk.decode(errors="replace")
                self._tell()
        self._has_ended = True
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def write_config(directory: Path, sections: Mapping[str, Mapping[str, object]]) -> None:
    """Write a `config.toml`: its tables by their names, with what JSON and TOML write alike."""
    lines: list[str] = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += (
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()
        )
    (directory / "config.toml").write_text("\n".join(lines))


def environment(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a service: this one's, without its settings and keys."""
    foreign = ("STREAMSVC_", "OPENAI_", "GEMINI_", "GOOGLE_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {f"STREAMSVC_{name}": value for name, value in settings.items()}
    return {**clean, "STREAMSVC_SERVER__PORT": "0", **own, **environ}


@asynccontextmanager
async def serve(
    directory: Path,
    settings: Mapping[str, str],
    *,
    arguments: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Running]:
    """Run the service as an operator does; killed on the way out if it still runs.

    Its output is printed then, and pytest shows it where the test has failed.

    Args:
        directory: where it runs, and looks for `config.toml`.
        settings: by the names of their variables, without `STREAMSVC_`.
        arguments: of the command line, after `serve`.
        environ: further variables, such as keys.
    """
    command = [sys.executable, "-m", "streamsvc", "serve", *arguments]
    async with started(command, directory, environment(settings, environ or {})) as running:
        yield running


@asynccontextmanager
async def started(
    command: Sequence[str],
    directory: Path,
    environ: Mapping[str, str],
    *,
    running_on: str = RUNNING_ON.pattern,
    has_workers: bool = False,
) -> AsyncIterator[Running]:
    """Run a server until the context is left, as `serve` does; its workers are killed with it.

    Args:
        command: program and arguments.
        directory: where it runs.
        environ: its whole environment.
        running_on: matches what it logs when it listens; the first group is the port.
        has_workers: whether it runs in processes of its own, which hold its output open.
    """
    async with (
        own_tasks() as tasks,
        await anyio.open_process(
            command, env=environ, cwd=directory, stdout=None, start_new_session=has_workers
        ) as process,
    ):
        running = Running(process)
        tasks.start_soon(running.read_output)
        try:
            with anyio.fail_after(START_SECONDS):
                running.port = int((await running.logged(running_on))[1])
            running.client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{running.port}")
            async with running.client:
                yield running
        finally:
            with anyio.move_on_after(10, shield=True):  # its reader may be gone
                if process.returncode is None:
                    process.kill()
                if has_workers:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                await running.end()
            print(running.output)
