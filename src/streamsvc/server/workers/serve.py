"""The supervisor: `streamsvc serve` with several workers.

It binds the listening sockets and starts the workers, which inherit them. Each worker is a `streamsvc serve` of its
own, with an event loop and its share of the connections. The supervisor itself has no event loop and serves nobody:
it waits for signals and for the workers' messages, and lets the pool decide.

| signal                  | effect                                                                           |
| ----------------------- | -------------------------------------------------------------------------------- |
| SIGTERM, SIGINT         | each worker counts it (`lifecycle`): drain, then cut, then close; exit code 0    |
| SIGHUP                  | check the settings, and have each worker read them again; if they have a mistake, |
|                         | nothing changes. If the terminal is gone: as SIGTERM                              |
| SIGUSR2                 | replace all workers, one after another                                           |
| SIGKILL                 | the workers notice the end of their channels, stop accepting, drain and exit     |

A SIGHUP that was ignored at the start stays ignored, as under nohup(1).
"""

import logging
import logging.config
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType

from streamsvc.config.changes import OF_ALL_WORKERS, change_to
from streamsvc.config.load import Source
from streamsvc.config.settings import Settings
from streamsvc.errors import EXIT_CONFIG, ConfigError
from streamsvc.filewatch import FileWatch
from streamsvc.log_line import log
from streamsvc.server import descriptors
from streamsvc.server.changes import log_refused, log_waiting
from streamsvc.server.listening import bind
from streamsvc.server.logs import log_config, log_crashes
from streamsvc.server.shares import Shares
from streamsvc.server.terminal import Terminal
from streamsvc.server.workers.inheritance import SETTINGS, STARTED, Inheritance
from streamsvc.server.workers.pool import WorkerPool
from streamsvc.server.workers.process import WorkerProcess
from streamsvc.telemetry.place import make_directory

logger = logging.getLogger(__name__)

_SEATS_EACH = 3
"""How many processes of one number may live at a time: one that leaves, one that serves, one that starts."""


def _ignore_address(url: str) -> None:
    """Tell nobody: the log has it."""


def serve_workers(
    settings: Settings,
    source: Source,
    command: Sequence[str],
    environ: Mapping[str, str],
    on_running: Callable[[str], None] = _ignore_address,
) -> int:
    """Serve with `server.workers` workers until a signal; return the exit code.

    Args:
        settings: the whole configuration.
        source: where it comes from.
        command: starts a worker: a `streamsvc serve` with the same settings.
        environ: its environment.
        on_running: called with the address of the service, once all workers serve for the first time.
    """
    descriptors.keep_standard_streams()
    try:
        sockets = bind(settings.server.host, settings.server.port)
    except ConfigError as exc:
        print(exc, file=sys.stderr)  # noqa: T201  # as the command line does for other settings
        return EXIT_CONFIG
    logging.config.dictConfig(log_config(settings.server))
    log_crashes()
    with _signals() as signals:
        return _Supervisor(settings, source, sockets, command, environ, on_running).run(signals)


def _directory() -> str:
    """Return a directory for the sockets of workers; "" if there is no place for it."""
    try:
        return make_directory()
    except OSError as exc:
        log(
            logger,
            logging.WARNING,
            "workers.apart",
            "metrics show one worker only",
            errno=exc.errno,
        )
        return ""


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Yield a socket that gets a byte, its number, for each signal."""
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGCHLD]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, _ignore) for number in numbers}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # `cli` holds them
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: without a handler in Python, no byte would be written."""


class _Supervisor:
    """Starts workers, and passes signals and messages to the pool.

    Args:
        settings: see `serve_workers`.
        source: see `serve_workers`.
        sockets: the listening sockets.
        command: see `serve_workers`.
        environ: see `serve_workers`.
        on_running: see `serve_workers`.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        sockets: Sequence[socket.socket],
        command: Sequence[str],
        environ: Mapping[str, str],
        on_running: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._sockets = sockets
        self._command = command
        self._environ = environ
        self._on_running = on_running
        self._source = source
        self._terminal = Terminal()
        is_watched = settings.server.watch_config
        self._watch = FileWatch(source.path) if is_watched and source.path else None
        self._seats = settings.server.workers * _SEATS_EACH
        self._memory = Shares.create(self._seats)
        self._shares = Shares(self._memory, self._seats)
        self._directory = _directory()
        self._keep(SETTINGS, STARTED)
        self._starts = 0
        self._workers: dict[int, WorkerProcess] = {}  # by seat
        self._selector = selectors.DefaultSelector()
        self._pool = WorkerPool(settings.server.workers, self._spawn, self._announce)

    def run(self, signals: socket.socket) -> int:
        """Run until all workers have ended; return the exit code."""
        try:
            return self._run(signals)
        finally:
            if self._directory:
                shutil.rmtree(self._directory, ignore_errors=True)

    def _run(self, signals: socket.socket) -> int:
        self._selector.register(signals, selectors.EVENT_READ, partial(self._on_signals, signals))
        self._pool.start()
        while self._pool.exit_code is None:
            for key, _ in self._selector.select(self._seconds_to_next()):
                on_readable: Callable[[], None] = key.data
                on_readable()
            self._reap()
            self._pool.tick()
            if self._watch is not None and self._watch.look():
                self._reload()
        return self._pool.exit_code

    def _seconds_to_next(self) -> float | None:
        seconds = self._pool.seconds_to_next()
        if self._watch is None:
            return seconds
        return self._watch.seconds if seconds is None else min(seconds, self._watch.seconds)

    def _spawn(self, number: int) -> WorkerProcess:
        seat = next(seat for seat in range(self._seats) if seat not in self._workers)
        inheritance = Inheritance(
            number=number,
            channel=-1,
            shares=self._memory,
            seats=self._seats,
            seat=seat,
            sockets=tuple(listener.fileno() for listener in self._sockets),
            directory=self._directory,
            start=self._starts,
            workers=self._settings.server.workers,
        )
        self._starts += 1
        server = self._settings.server
        bounds = server.drain_seconds, float(server.close_seconds)
        worker = WorkerProcess(
            self._command, self._environ, inheritance, since=time.monotonic(), bounds=bounds
        )
        self._workers[seat] = worker
        self._selector.register(
            worker.channel.descriptor, selectors.EVENT_READ, partial(self._on_messages, worker)
        )
        return worker

    def _announce(self) -> None:
        """Log the line that uvicorn logs when it listens, once for all workers."""
        host = self._settings.server.host
        host = f"[{host}]" if ":" in host else host
        url = f"http://{host}:{self._sockets[0].getsockname()[1]}"
        logging.getLogger("uvicorn.error").info("Uvicorn running on %s (Press CTRL+C to quit)", url)
        self._on_running(url)

    def _on_signals(self, signals: socket.socket) -> None:
        with suppress(BlockingIOError):
            for number in signals.recv(4096):
                if number == signal.SIGUSR2:
                    self._restart()
                elif number == signal.SIGHUP and not self._terminal.has_hung_up:
                    self._reload()
                elif number != signal.SIGCHLD:
                    name = signal.Signals(number).name
                    log(
                        logger,
                        logging.INFO,
                        "workers.stopping",
                        signal=name,
                        workers=len(self._workers),
                    )
                    self._pool.stop()

    def _restart(self) -> None:
        """Replace the workers; the new ones have the settings as they are now, if there is no mistake in them."""
        try:
            change = change_to(self._settings, self._source.load(), kept=OF_ALL_WORKERS)
        except ConfigError as exc:
            log_refused(exc)
            return
        self._settings = change.settings
        self._keep(SETTINGS, STARTED)
        self._pool.restart()

    def _keep(self, *names: str) -> None:
        """Keep the text of the settings for workers that start later: the file may have a mistake by then."""
        if not self._directory or self._source.text is None:
            return
        for name in names:
            kept = Path(self._directory, name)
            try:
                kept.write_text(self._source.text, encoding="utf-8")
            except OSError:
                kept.unlink(missing_ok=True)  # then they read the file

    def _reload(self) -> None:
        """Check the settings, so that a mistake is one line, and have the workers read them again."""
        try:
            change = change_to(self._settings, self._source.load())
        except ConfigError as exc:
            log_refused(exc)
            return
        self._settings = change.settings
        self._keep(SETTINGS)
        log(logger, logging.INFO, "workers.reloading", workers=len(self._workers))
        log_waiting(change, has_workers=True)
        for worker in self._workers.values():
            worker.send("reload")

    def _on_messages(self, worker: WorkerProcess) -> None:
        messages = worker.channel.receive()
        if messages is None:
            self._close(worker)
            self._pool.on_silent(worker)
            return
        for message in messages:
            match message:
                case ["ready", drain, close]:
                    self._pool.on_ready(worker, (float(drain), float(close)))
                case _:
                    self._pool.on_leave(worker)

    def _reap(self) -> None:
        """Report the workers whose processes have ended."""
        for seat, worker in [*self._workers.items()]:
            if (code := worker.poll()) is not None:
                self._close(worker)
                del self._workers[seat]
                self._shares.close(seat)
                worker.place.remove()
                self._pool.on_exit(worker, code)

    def _close(self, worker: WorkerProcess) -> None:
        if not worker.channel.is_closed:
            self._selector.unregister(worker.channel.descriptor)
            worker.channel.close()
