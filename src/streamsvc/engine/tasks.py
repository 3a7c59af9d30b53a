"""The tasks in which generations run.

They are the event loop's own tasks. A task group of anyio gives each of its tasks a handle with a cancel scope and an
event, which costs 13 µs and 2 kB (4.16), and a generation needs neither: it is stopped through its own scope
(`stopping`). Nothing here cancels a task.
"""

import logging
from collections.abc import Awaitable, Callable

import anyio

from streamsvc.eventloop import spawner
from streamsvc.log_line import log
from streamsvc.traces import fields_of

logger = logging.getLogger(__name__)


class GenerationTasks:
    """Runs generations, each in a task of its own, and keeps the tasks until they have ended.

    An event loop keeps only weak references to its tasks.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, object] = {}
        self._is_empty = anyio.Event()

    def start(
        self, generation: str, run: Callable[[], Awaitable[None]], on_end: Callable[[], None]
    ) -> None:
        """Run a generation in a new task.

        An exception is a bug: it is logged, and affects no other task.

        Args:
            generation: its id, the name of the task.
            run: runs it to its end.
            on_end: called in the task's last step, whether it ends normally, with an exception or by a cancellation.
        """
        task = self._run(generation, run, on_end)
        self._tasks[generation] = spawner()(task, name=generation)

    async def _run(
        self, generation: str, run: Callable[[], Awaitable[None]], on_end: Callable[[], None]
    ) -> None:
        try:
            try:
                await run()
            finally:
                on_end()
        except Exception as exc:  # noqa: BLE001  # a bug must not end the others
            log(logger, logging.ERROR, "generation.crashed", id=generation, **fields_of(exc))
        finally:
            del self._tasks[generation]
            if not self._tasks:
                self._is_empty.set()

    async def wait_ended(self) -> None:
        """Wait until every task has ended."""
        while self._tasks:
            if self._is_empty.is_set():
                self._is_empty = anyio.Event()
            await self._is_empty.wait()
