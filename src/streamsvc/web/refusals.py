"""The log of refused requests: one line each, and no more than an operator can read.

A line holds nothing that a client is free to write: no query, no body, no header, and of a path only
what looks like a name. The log of a service that is scanned stays as short as that of another one.
"""

import logging
import re
import time
from collections.abc import Callable

from starlette.types import Scope

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
"""The same line is written once in this time."""

MAX_LINES = 100
"""And so many lines in all."""

_NAME = re.compile(r"[A-Za-z0-9._~:@+-]{0,38}", re.ASCII)
"""A part of an address: an id of ours is as long, and keys are longer."""

_MAX_PARTS = 8


class RefusalLog:
    """Writes what is refused.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._lines: set[str] = set()
        self._left_out = 0

    def note(self, scope: Scope, status: int, code: str, details: str = "") -> None:
        """Write a line for a request that is refused, unless there are too many.

        Args:
            scope: of the request.
            status: of the answer.
            code: of the refusal.
            details: `name=value`, nothing of a prompt or a key.
        """
        method = scope["method"]
        parts = [
            f"status={status} code={code}",
            f"method={method if method.isascii() and method.isalpha() else '*'}",
            f"path={shown_path(scope)}",
            details,
        ]
        self._write(" ".join(filter(None, parts)))

    def _write(self, line: str) -> None:
        now = self._clock()
        if now - self._since >= WINDOW_SECONDS:
            if self._left_out:
                logger.info("request.refused further=%d", self._left_out)
            self._since, self._left_out = now, 0
            self._lines.clear()
        if line in self._lines or len(self._lines) >= MAX_LINES:
            self._left_out += 1
            return
        self._lines.add(line)
        logger.info("request.refused %s", line)


def shown_path(scope: Scope) -> str:
    """Return the path of a request as far as it holds names; `*` is what it holds besides."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    parts = path.split("/", _MAX_PARTS)
    return "/".join(part if _NAME.fullmatch(part) else "*" for part in parts)
