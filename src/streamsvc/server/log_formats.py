"""What a log record looks like: a line of text, or a JSON object in one line.

The text of an exception may contain a prompt or a key, even if a library logs it, so an exception becomes its class and
its frames (`traces.fields_of`).
"""

import json
import logging
import math
import time
from datetime import UTC, datetime
from functools import lru_cache

from typing_extensions import override

from streamsvc.log_line import LogLine, Value
from streamsvc.traces import describe, fields_of

LINE_BYTES = 4096
"""The maximum length of a line, with its end: `PIPE_BUF` of Linux, up to which a write to a pipe is atomic (pipe(7))."""

_TEXT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


class TextFormatter(logging.Formatter):
    """Formats a record as a line of text.

    Args:
        fmt: as in `logging.Formatter`.
        worker: if given, the number that ends each line: several workers write to the same stream.
    """

    def __init__(self, fmt: str = _TEXT, *, worker: int | None = None) -> None:
        super().__init__(fmt)
        self._end = "" if worker is None else f" worker={worker}"

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = self._line(record)
        if record.exc_info and record.exc_info[1] is not None:
            line = f"{line.rstrip()} {describe(record.exc_info[1])}"
        line = line.rstrip() + self._end
        if line.isprintable():
            return line
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)

    def _line(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = f"{_to_the_second(int(record.created))},{int(record.msecs):03d}"
        return self.formatMessage(record)


class JSONFormatter(logging.Formatter):
    """Formats a record as a JSON object (RFC 8259) in one line of ASCII, of less than `LINE_BYTES`.

    | name               | value                                                                |
    | ------------------ | -------------------------------------------------------------------- |
    | `time`             | in UTC, with milliseconds (RFC 3339)                                 |
    | `level`            | `debug`, `info`, `warning`, `error` or `critical`                    |
    | `logger`           | the module                                                           |
    | `event`            | what happened, in a line of this service                             |
    | its fields, `note` | as in the line of text, with their types                             |
    | `message`          | the text of a library's line                                         |
    | `exception` …      | as `traces.fields_of` has them, if a library logs an exception       |
    | `worker`           | the number of the worker, if there are several                       |

    Args:
        worker: see `TextFormatter`.
    """

    def __init__(self, *, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields = self._fields(record)
        line = json.dumps(fields)
        most = LINE_BYTES
        while len(line) >= LINE_BYTES and (most := most // 2):
            line = json.dumps({name: _cut(value, most) for name, value in fields.items()})
        return line

    def _fields(self, record: logging.LogRecord) -> dict[str, Value]:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, Value] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if isinstance(record.msg, LogLine):
            fields |= {"event": record.msg.event}
            fields |= {name: _typed(value) for name, value in record.msg.fields.items()}
            fields |= {"note": record.msg.note} if record.msg.note else {}
        else:
            fields |= {"message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields |= fields_of(record.exc_info[1])
        return fields if self._worker is None else {**fields, "worker": self._worker}


@lru_cache(maxsize=1)
def _to_the_second(at: int) -> str:
    """Return a local time, made once for all lines of a second; *at* is in seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _typed(value: Value) -> Value:
    """Return a value that exists in JSON, with as many decimals as in text."""
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else str(value)
    return value


def _cut(value: Value, most: int) -> Value:
    return f"{value[:most]}…" if isinstance(value, str) and len(value) > most else value
