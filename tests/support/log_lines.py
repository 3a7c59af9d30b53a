"""Waits for a line of the log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from typing_extensions import override


class LogLines(logging.Handler):
    """The lines that are logged.

    Attributes:
        lines: all of them so far.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._changed = anyio.Event()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._changed.set()

    async def wait(self, start: str, *, count: int = 1) -> list[str]:
        """Wait until as many lines begin with a text; return them. The caller sets the bound."""
        while len(found := [line for line in self.lines if line.startswith(start)]) < count:
            self._changed = anyio.Event()
            await self._changed.wait()
        return found


@contextmanager
def logged(name: str = "streamsvc") -> Iterator[LogLines]:
    """Collect the lines of a logger and those below it, at every level."""
    logger, handler = logging.getLogger(name), LogLines()
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
