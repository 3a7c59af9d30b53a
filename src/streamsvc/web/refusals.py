"""The log of refused requests: one line each, and no more than an operator can read.

A line contains nothing that a client can choose freely: no query, body or header, and only those segments of a
path that look like a name. A scanner cannot flood the log: the lines per time window are limited.
"""

import logging
import re
import time
from collections.abc import Callable

from starlette.types import Scope

from streamsvc.engine.ids import ID_PATTERN

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
"""The same line is written once per window of this length; the next window begins with how many were left out."""

MAX_LINES = 100
"""The maximum number of lines per window."""

_NAME = re.compile(r"[A-Za-z0-9._~:@+-]{0,38}", re.ASCII)
"""A path segment that may be shown: at most as long as the id of a generation; API keys are longer."""

_ID = re.compile(ID_PATTERN)
_MAX_PARTS = 8


class RefusalLog:
    """Writes a line for a refused request.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._written: set[str] = set()
        self._left_out = 0

    def note(self, scope: Scope, status: int, code: str, details: str = "") -> None:
        """Write a line for a refused request, unless there are too many.

        Args:
            scope: of the request.
            status: of the response.
            code: of the refusal.
            details: `name=value`, nothing of a prompt or a key; what they name is logged once.
        """
        method = scope["method"]
        method = method if method.isascii() and method.isalpha() else "*"
        line = f"status={status} code={code} method={method} path={shown_path(scope)}"
        if details:
            self._write(f"{line} {details}", about=details)
        else:
            self._write(line, about=line)

    def _write(self, line: str, *, about: str) -> None:
        now = self._clock()
        if now - self._since >= WINDOW_SECONDS:
            if self._left_out:
                logger.info("request.refused further=%d", self._left_out)
            self._since, self._left_out = now, 0
            self._written.clear()
        if about in self._written or len(self._written) >= MAX_LINES:
            self._left_out += 1
            return
        self._written.add(about)
        logger.info("request.refused %s", line)


def shown_path(scope: Scope) -> str:
    """Return the path of a request, with `*` for each segment that does not look like a name.

    Where a route matches, its parameter is `*`, too, unless it is the id of a generation: a chat's id is the client's.
    """
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    for value in scope.get("path_params", {}).values():
        if value and not _ID.fullmatch(value):
            before, _, after = path.rpartition(value)
            path = f"{before}*{after}"
    parts = path.split("/", _MAX_PARTS)
    return "/".join(part if _NAME.fullmatch(part) else "*" for part in parts)
