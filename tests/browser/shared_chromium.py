"""One Chromium for all tests of this process: a test has a context of its own in it.

A context shares nothing with others: no storage, cookies, caches, workers or connections. To open one takes a
fraction of the CPU time that a browser takes to start.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

START_SECONDS = 60

_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-back-forward-cache", "--disable-background-timer-throttling", "--disable-popup-blocking",
    "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding", "--disable-dev-shm-usage",
    "--disable-component-update", "--disable-sync", "--disable-hang-monitor", "--mute-audio", "--hide-scrollbars",
    "--disable-ipc-flooding-protection", "--force-color-profile=srgb", "--remote-debugging-port=0",
)  # fmt: skip


class SharedChromium:
    """A Chromium that starts when a test needs one, again if it has ended, and ends with the tests of this process."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""

    def url(self, executable: str) -> str:
        """Return where a client of its DevTools protocol connects."""
        if self._process is None or self._process.poll() is not None:
            self._held.close()
            self._url = self._start(executable)
        return self._url

    def close(self) -> None:
        """End it, if it runs."""
        self._held.close()

    def _start(self, executable: str) -> str:
        profile = Path(tempfile.mkdtemp(prefix="chromium"))
        self._held.callback(shutil.rmtree, profile, ignore_errors=True)
        self._process = subprocess.Popen(
            [executable, *_ARGUMENTS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Debian's command is a script, and Chromium its child
        )
        self._held.callback(self._process.wait)
        self._held.callback(_end, self._process.pid)
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            # Chromium writes its port and the path into this file once it listens.
            found = profile / "DevToolsActivePort"
            if found.exists() and len(lines := found.read_text().split()) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            time.sleep(0.01)
        raise RuntimeError("Chromium has not started")


def _end(group: int) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.killpg(group, signal.SIGTERM)


SHARED = SharedChromium()
