"""Log lines: one for each record, without the text of exceptions, written by a separate thread.

The program that reads standard error may stop reading, and then a write blocks forever. So the event loop only
puts lines into a queue. When the queue is full, lines are dropped and counted, and the count is logged as soon as
there is room.

Several workers may write to the same pipe. Each write has whole lines and at most `LINE_BYTES`, so the kernel does
not mix it with others, and longer lines are cut.
"""

import logging
import os
import queue
import select
import sys
import threading
from collections.abc import Iterator
from typing import Any

from typing_extensions import override

from streamsvc.config.settings import ServerSettings
from streamsvc.log_line import LogLine, Value, log
from streamsvc.server.log_formats import LINE_BYTES, JSONFormatter, TextFormatter
from streamsvc.traces import fields_of

_logger = logging.getLogger(__name__)

QUEUE_LINES = 10_000
"""How many lines may wait for a slow reader: a few MB."""

_BATCH_LINES = 100
"""How many lines are taken from the queue at once."""

GATHER_SECONDS = 0.02
"""How long the writer lets lines gather after a write. To wake it for each line of a busy service costs more than the
line: the writer and the event loop take the interpreter's lock from each other several times."""

FLUSH_SECONDS = 1.0
"""How long the process waits for lines to be written when it exits."""


def log_config(settings: ServerSettings, worker: int | None = None) -> dict[str, Any]:
    """Return the logging set-up, for `logging.config.dictConfig`.

    Our own lines are logged at `log_level`, other libraries' at WARNING: some log prompts and answers below that.

    Args:
        settings: the format of lines, and the level of our own.
        worker: if given, the number that each line has: several workers write to the same stream.
    """
    formatter = JSONFormatter if settings.log_format == "json" else TextFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter, "worker": worker}},
        "handlers": {"stderr": {"()": BackgroundHandler, "formatter": "line"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "streamsvc": {"level": settings.log_level.upper()},
            "uvicorn.error": {"level": "INFO"},
        },
    }


class BackgroundHandler(logging.Handler):
    """Writes lines to a descriptor in a thread; logging never waits for the write.

    The thread is a daemon, so that it does not delay the exit of the process if it is stuck in a write. It writes to
    the descriptor and not to `sys.stderr`: stuck in a write, it would hold that stream's lock, and the interpreter
    aborts if it cannot take the lock at exit (CPython 3.11).

    Args:
        descriptor: where to write.
        lines: how many may wait to be written.
    """

    def __init__(self, descriptor: int = 2, *, lines: int = QUEUE_LINES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._most = lines
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0  # in total; counted by the threads that log
        self._unwritten = 0  # in total; counted by the writer
        self._reported = 0
        self._is_closing = threading.Event()
        self._has_ended = threading.Event()
        threading.Thread(target=self._write_all, name="log writer", daemon=True).start()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= self._most:
            self._dropped += 1
            return
        try:
            line = self.format(record)
        except Exception as exc:  # noqa: BLE001  # a wrong logging call, whose values stay out of the log
            line = self.format(_record(logging.ERROR, "log.crashed", **fields_of(exc)))
        self._lines.put(line)

    @override
    def handle(self, record: logging.LogRecord) -> bool:
        """Emit without the base class's lock: the queue has its own, and a signal handler may interrupt this and log."""
        if passed := self.filter(record):
            self.emit(record)
        return bool(passed)

    @override
    def flush(self) -> None:
        """Do nothing: logging never waits."""

    @override
    def close(self) -> None:
        """Wait until all lines are written, for at most `FLUSH_SECONDS`."""
        if not self._has_ended.is_set():
            self._lines.put(None)
            self._is_closing.set()
            self._has_ended.wait(FLUSH_SECONDS)
        super().close()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            batch = [line]
            while len(batch) < _BATCH_LINES and not self._lines.empty():
                if (line := self._lines.get()) is None:
                    self._lines.put(None)  # the end, after this batch
                    break
                batch.append(line)
            self._write(batch)
            if len(batch) < _BATCH_LINES:
                self._is_closing.wait(GATHER_SECONDS)
        self._has_ended.set()

    def _write(self, lines: list[str]) -> None:
        lost = self._dropped + self._unwritten
        if missing := lost - self._reported:
            lines = [*lines, self.format(_record(logging.WARNING, "log.dropped", lines=missing))]
        try:
            for data in _pieces(lines):
                self._write_bytes(data)
        except OSError:  # the reader has gone, or the disk is full
            self._unwritten += len(lines) - bool(missing)
        else:
            self._reported = lost

    def _write_bytes(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another process shares the descriptor, and made it so
                select.select([], [self._descriptor], [])


def _record(level: int, event: str, **fields: Value) -> logging.LogRecord:
    return logging.LogRecord(__name__, level, __file__, 0, LogLine(event, fields), None, None)


def _pieces(lines: list[str]) -> Iterator[bytes]:
    """Yield whole lines, together at most `LINE_BYTES`; a line that is longer is cut."""
    piece = b""
    for line in lines:
        data = line.encode(errors="backslashreplace")
        if len(data) >= LINE_BYTES:
            data = data[: LINE_BYTES - 4].decode(errors="ignore").encode() + "…".encode()
        if len(piece) + len(data) >= LINE_BYTES:
            yield piece
            piece = b""
        piece += data + b"\n"
    yield piece


def log_crashes() -> None:
    """Log uncaught exceptions of threads and finalizers as one line each.

    By default, Python writes them to standard error, with their text, and blocks if nobody reads it. Its warnings
    become lines, too.
    """
    logging.captureWarnings(True)  # the library's
    sys.unraisablehook = _unraisable
    threading.excepthook = _in_thread


def log_loop_error(_loop: object, context: dict[str, Any]) -> None:
    """Log an error of a callback or task; see `asyncio.loop.set_exception_handler`."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        log(_logger, logging.ERROR, "loop.crashed", **fields_of(error))
    else:
        log(_logger, logging.ERROR, "loop.complained", str(context.get("message")))


def _unraisable(unraisable: Any) -> None:
    if unraisable.exc_value is not None:
        log(_logger, logging.ERROR, "finalizer.crashed", **fields_of(unraisable.exc_value))


def _in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        log(_logger, logging.ERROR, "thread.crashed", **fields_of(args.exc_value))
