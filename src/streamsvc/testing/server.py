"""Runs the service as a process of its own, on a free port: what a browser or any other client meets in production."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from streamsvc.testing.settings import CONFIG, SettingsTree, environment

START_SECONDS = 60.0
"""How long a start may take, on a busy machine."""

STOP_SECONDS = 10.0
"""How long a stop may take before the process is killed."""

_RUNNING_ON = re.compile(r"running on (http://\S+:(\d+))")


class Server:
    """A running service.

    Attributes:
        url: where it listens: `http://127.0.0.1:<port>`.
        port: the port.
    """

    def __init__(self, output: IO[str]) -> None:
        self.url = ""
        self.port = 0
        self._lines: list[str] = []
        self._is_known = threading.Event()  # where it listens, or that it has ended
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    @property
    def openai_url(self) -> str:
        """The `base_url` for OpenAI's clients."""
        return f"{self.url}/v1"

    @property
    def log(self) -> str:
        """What the service has logged so far."""
        return "".join(self._lines)

    def wait(self, seconds: float) -> None:
        """Wait until the service listens.

        Raises:
            RuntimeError: it does not; the text has its log, with a line for each mistake in the settings.
        """
        if not self._is_known.wait(seconds) or not self.url:
            raise RuntimeError(f"streamsvc did not start:\n{self.log}")

    def finish(self) -> None:
        """Read the rest of the log, after the process has ended."""
        self._reader.join(STOP_SECONDS)

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._lines.append(line)
                if not self.url and (found := _RUNNING_ON.search(line)):
                    self.url, self.port = found[1], int(found[2])
                    self._is_known.set()
        self._is_known.set()


@contextmanager
def serve(settings: SettingsTree | None = None) -> Iterator[Server]:
    """Serve on a free port of this machine until the context is left.

    Each process of a test run (pytest-xdist) may have a server of its own; nothing is shared.

    Args:
        settings: what differs from the shipped `config.toml`, and from `QUICK`:
            `{"providers": {"fake": {"text": "Hello"}}}`.

    Raises:
        RuntimeError: the service did not start; the text says why.
        ValueError: an entry's name has other characters than lower-case letters, digits and underscores.
    """
    command = [sys.executable, "-m", "streamsvc", "serve", "--config", str(CONFIG)]
    with subprocess.Popen(  # noqa: S603  # our own program
        command,
        env=environment(settings or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stderr is not None  # noqa: S101  # it is a pipe
        server = Server(process.stderr)
        try:
            server.wait(START_SECONDS)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            server.finish()
