"""What a worker has of the shared service, several in one process: the store, the event log and the directory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from streamsvc.config.settings import GenerationSettings, LogSettings, Settings
from streamsvc.engine.directory.redis import RedisDirectory
from streamsvc.eventlog.redis import RedisEventLog
from streamsvc.store.client import Store
from streamsvc.store.health import Trouble
from support.logged import logged

LEASE_SECONDS = 0.4
"""Of a worker, unless a test asks for another."""


@dataclass
class Worker:
    """A worker.

    Attributes:
        store: its connections.
        log: its event log.
        directory: its directory.
    """

    store: Store
    log: RedisEventLog
    directory: RedisDirectory
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _has_ended: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> None:
        """Run its background tasks until it is killed."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                for work in (self.store.run_background, self.log.run, self.directory.run):
                    tasks.start_soon(work)
        self._has_ended.set()

    async def kill(self) -> None:
        """End it as SIGKILL does: it says no last words to the store."""
        self.store.health.trouble = Trouble.UNREACHABLE
        self._scope.cancel()
        await self._has_ended.wait()


@asynccontextmanager
async def worker(
    url: str, prefix: str, *, keep_seconds: float = 60, **log: Any
) -> AsyncIterator[Worker]:
    """Run a worker.

    Args:
        url: the server's.
        prefix: begins all keys.
        keep_seconds: how long logs are kept.
        log: settings of `[log]`; the lease is short by default.
    """
    log.setdefault("lease_seconds", LEASE_SECONDS)
    settings = Settings(
        log=LogSettings(kind="redis", url=url, prefix=prefix, **log),
        generations=GenerationSettings(keep_finished_seconds=keep_seconds),
    )
    store = Store(settings.log, logged())
    events = RedisEventLog(store, settings)
    one = Worker(store, events, RedisDirectory(store, events, settings))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        yield one
        tasks.cancel_scope.cancel()
