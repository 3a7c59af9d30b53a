"""`python -m streamsvc serve` as a separate process on uvloop, as a user starts it.

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
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
import httpx2

from support.owned import own_tasks
from support.service import CLIENT_SECONDS

START_SECONDS = 100
"""Bound of a start on a busy machine."""

LEAVE_SECONDS = 10
"""Bound of each of the two ways to end it."""

HURRY_SECONDS = 0.2
"""How long it has before the next signal."""

RUNNING_ON = re.compile(r"running on http://127\.0\.0\.1:(\d+)")

COMPLAINT = re.compile(r"Traceback|crashed|\b(?:WARNING|ERROR|CRITICAL)\b")

SPEED = r"store\.(?:slow|fast) seconds="
"""A warning that says how busy the machine is; where it is due, tests without a process look for it."""

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
        process: the process; its standard error is read continuously, so that the pipe never fills up.
        client: an HTTP client with its address.
        port: the port that it listens on.
        output: what it has written to standard error so far.
    """

    process: anyio.abc.Process
    client: httpx2.AsyncClient = field(default_factory=httpx2.AsyncClient)
    port: int = 0
    output: str = ""
    _has_ended: bool = False
    _changed: anyio.Event = field(default_factory=anyio.Event)

    async def is_ready(self) -> bool:
        """Return whether `/readyz` answers 200."""
        return (await self.client.get("/readyz")).status_code == 200

    async def drain(self) -> None:
        """Send SIGTERM, and wait until `/readyz` reports the drain."""
        self.process.send_signal(signal.SIGTERM)
        while await self.is_ready():
            pass

    async def end(self) -> int:
        """Wait until the process and its output end; return the exit code."""
        while not self._has_ended:
            await self._changed.wait()
        return await self.process.wait()

    async def terminate(self) -> int:
        """Send SIGTERM, and wait until the process ends; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.end()

    async def logged(self, pattern: str, *, since: int = 0) -> re.Match[str]:
        """Wait until its output matches *pattern*; raise EOFError if it ends first.

        Args:
            pattern: a regular expression.
            since: the character of the output to begin at.
        """
        while (found := re.search(pattern, self.output[since:])) is None:
            if self._has_ended:
                raise EOFError(f"{pattern!r} is not in:\n{self.output}")
            await self._changed.wait()
        return found

    def assert_quiet(self, *expected: str, since: int = 0) -> None:
        """Fail if a warning, an error or a crash is logged that no *expected* pattern matches.

        How fast the machine is does not count.

        Args:
            expected: patterns of the lines that may be there.
            since: the character of the output to begin at.
        """
        lines = filter(COMPLAINT.search, self.output[since:].splitlines())
        allowed = [SPEED, *expected]
        unexpected = [line for line in lines if not any(re.search(it, line) for it in allowed)]
        assert not unexpected, "\n".join(unexpected)

    async def read_output(self) -> None:
        """Read its output to the end."""
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
    """Write a `config.toml` with these tables; values are limited to those that JSON and TOML spell alike."""
    lines: list[str] = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += (
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()
        )
    (directory / "config.toml").write_text("\n".join(lines))


def environment(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return this environment without settings and keys, plus those that are given."""
    foreign = ("STREAMSVC_", "OPENAI_", "GEMINI_", "GOOGLE_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {f"STREAMSVC_{name}": value for name, value in settings.items()}
    return {**clean, "STREAMSVC_SERVER__PORT": "0", **own, **environ}


def serve_command(*arguments: str) -> list[str]:
    """Return the command that an operator runs, with further arguments."""
    return [sys.executable, "-m", "streamsvc", "serve", *arguments]


@asynccontextmanager
async def serve(
    directory: Path,
    settings: Mapping[str, str],
    *,
    arguments: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Running]:
    """Run the service as an operator does; on leaving, end it if it still runs.

    Its output is printed on leaving, and pytest shows it if the test fails.

    Args:
        directory: the working directory, where it looks for `config.toml`.
        settings: by the names of their variables without `STREAMSVC_`.
        arguments: further arguments after `serve`.
        environ: further variables, such as keys.
    """
    command = serve_command(*arguments)
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
    """Run a server until the context is left, as `serve` does, and kill its workers with it.

    Args:
        command: program and arguments.
        directory: the working directory.
        environ: the whole environment.
        running_on: matches the line that it logs once it listens; the first group is the port.
        has_workers: whether it starts worker processes, which hold its output open.
    """
    with _default_hangup():
        opened = await anyio.open_process(
            command, env=environ, cwd=directory, stdout=None, start_new_session=has_workers
        )
    async with own_tasks() as tasks, opened as process:
        running = Running(process)
        tasks.start_soon(running.read_output)
        try:
            with anyio.fail_after(START_SECONDS):
                running.port = int((await running.logged(running_on))[1])
            url = f"http://127.0.0.1:{running.port}"
            running.client = httpx2.AsyncClient(base_url=url, timeout=CLIENT_SECONDS)
            async with running.client:
                yield running
        finally:
            with anyio.CancelScope(shield=True):  # the task that reads its output may be cancelled
                await _leave(running, has_workers=has_workers)
            print(running.output)


@contextmanager
def _default_hangup() -> Iterator[None]:
    """Let processes receive SIGHUP even if the suite runs under nohup(1), which has it ignored."""
    before = signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


async def _leave(running: Running, *, has_workers: bool) -> None:
    """End it at once: with the signals of three hurried operators, so that coverage is written, or else with SIGKILL."""
    process = running.process
    with anyio.move_on_after(LEAVE_SECONDS), suppress(ProcessLookupError):
        for hurry in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):  # equal ones may count once
            process.send_signal(hurry)
            with anyio.move_on_after(HURRY_SECONDS):
                await process.wait()
        await process.wait()
    with anyio.move_on_after(LEAVE_SECONDS):
        if process.returncode is None:
            process.kill()
        if has_workers:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await running.end()
