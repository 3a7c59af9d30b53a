"""Real Redis servers on loopback: Valkey 9.1 and Redis 6.2 from wheels, and the machine's own `redis-server`.

with running_redis("valkey", maxmemory="8mb") as server:
    server.command("SET", "a", "b")
    server.kill()
    server.restart()

Most tests use the fixture `valkey`, a server that all tests of a pytest-xdist worker share, with keys below a
`key_prefix` of their own. A test that kills, stops, fills or flushes a server starts one; that takes about 20 ms.
"""

import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support import parts

START_SECONDS = 20
"""Bound of a start on a busy machine."""

ANSWER_SECONDS = 10
"""Bound of an answer to a test's own command."""

PORTS = range(12000, 22000)
"""Ports below those that the kernel gives to connections, so that a restarted server finds its port free.

The bus of a cluster listens 10,000 above.
"""

ATTEMPTS = 5
"""How many ports to try: another process may take one between the look and the start."""


def free_port() -> int:
    """Return a port of `PORTS` on which nothing listens."""
    while True:
        port = random.choice(PORTS)  # noqa: S311  # no secret
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


@dataclass
class RedisServer:
    """A Redis server as a process.

    Attributes:
        program: the path of its program.
        directory: where it keeps its files, and its log.
        options: its settings, as arguments.
        url: its address, for `redis.from_url`, with the password if it has one.
        host: the address that it listens on.
        port: the port that it listens on; 0 if it listens on a Unix socket.
    """

    program: str
    directory: Path
    options: tuple[str, ...]
    url: str
    host: str
    port: int
    _process: subprocess.Popen[bytes] | None = None
    _client: redis.Redis = field(init=False)

    def __post_init__(self) -> None:
        self._client = redis.Redis.from_url(
            self.url, socket_timeout=ANSWER_SECONDS, retry=Retry(NoBackoff(), 0)
        )

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait until it answers; raise RuntimeError if it does not."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, *self.options], cwd=self.directory, stdout=log, stderr=log
            )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{self.program} has not started:\n{self.log}")
            time.sleep(0.002)  # there is no event to wait for across its sockets

    def restart(self) -> None:
        """Start it again at the same address; it keeps only what it has on disk."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End it with SIGKILL; nothing happens if it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._client.close()

    def stop(self) -> None:
        """Suspend it with SIGSTOP: its connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Resume it with SIGCONT."""
        self._signal(signal.SIGCONT)

    def flush(self) -> None:
        """Delete every key."""
        self.command("FLUSHALL")

    def command(self, *words: str | bytes | float) -> Any:
        """Send a command; return the answer as redis-py reads it, with strings as bytes."""
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def info(self, section: str) -> dict[str, Any]:
        """Return a section of INFO."""
        return dict(self.command("INFO", section))

    def commandstats(self) -> dict[str, int]:
        """Return how often each command has been called since the start or CONFIG RESETSTAT."""
        stats = self.info("commandstats")
        return {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}

    def used_bytes(self) -> int:
        """Return how much memory its data and connections take."""
        return int(self.info("memory")["used_memory"])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("The server does not run.")
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except redis.RedisError:  # not listening yet, or still loading its data
            return False


@contextmanager
def running_redis(
    kind: str = "valkey",
    *,
    host: str = "127.0.0.1",
    unix: bool = False,
    password: str = "",
    cluster: bool = False,
    append_only: str = "",
    maxmemory: str = "",
    policy: str = "noeviction",
) -> Iterator[RedisServer]:
    """Run a server that keeps nothing on disk, unless told to; end it with SIGKILL.

    Args:
        kind: one of `redis_programs.KINDS`.
        host: the address to listen on.
        unix: listen on a Unix socket instead.
        password: the password to ask for.
        cluster: be a cluster of one node that has all slots; its state is "ok" after about two seconds.
        append_only: keep an append-only file, written to the disk "always", "everysec" or "no".
        maxmemory: the bound of its memory, such as "8mb".
        policy: what to evict beyond that bound.
    """
    program = parts.find(kind)
    options = [*("--save", ""), *("--maxmemory-policy", policy), *("--protected-mode", "no")]
    options += ["--requirepass", password] if password else []
    options += ["--maxmemory", maxmemory] if maxmemory else []
    options += ["--appendonly", "yes", "--appendfsync", append_only] if append_only else []
    options += ["--cluster-enabled", "yes"] if cluster else []
    with TemporaryDirectory(prefix="redis") as name:
        server = _started(program, Path(name), options, host=host, unix=unix, password=password)
        try:
            if cluster:
                _take_all_slots(server)
            yield server
        finally:
            server.kill()


def _started(
    program: str, directory: Path, options: list[str], *, host: str, unix: bool, password: str
) -> RedisServer:
    """Return a server that runs; try further ports while they are taken."""
    secret = f":{password}@" if password else ""
    for attempt in range(ATTEMPTS):
        port = 0 if unix else free_port()
        path = directory / "socket"
        where = ("--unixsocket", str(path)) if unix else ("--bind", host)
        url = f"unix://{secret}{path}" if unix else f"redis://{secret}{host}:{port}/0"
        server = RedisServer(
            program, directory, (*options, *where, "--port", str(port)), url, host, port
        )
        try:
            server.start()
        except RuntimeError:
            if "already in use" not in server.log or attempt == ATTEMPTS - 1:
                raise
        else:
            return server
    raise AssertionError("unreachable")


def _take_all_slots(server: RedisServer) -> None:
    """Make a node a cluster, and wait for that: it stays "fail" for two seconds after its start."""
    server.command("CLUSTER", "ADDSLOTS", *range(16384))
    end = time.monotonic() + START_SECONDS
    while b"cluster_state:ok" not in server.command("CLUSTER", "INFO"):
        if time.monotonic() > end:
            raise RuntimeError(f"The cluster is not ready:\n{server.log}")
        time.sleep(0.01)  # nothing tells when
