"""The event log in Redis, several in one process as if each had a process of its own, without a directory.

Nothing renews a lease here but a write, so that a test decides when one lapses.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel

from streamsvc.config.settings import GenerationSettings, LogSettings, Settings
from streamsvc.eventlog.redis import RedisEventLog
from streamsvc.eventlog.stream import Stream
from streamsvc.events import Event, Record
from streamsvc.store import scripts
from streamsvc.store.client import Store
from streamsvc.store.leases import new_token
from support.logged import logged
from support.redis_servers import RedisServer
from support.stored import stored_records

TTL_MS = 60_000


@dataclass
class Process:
    """A process that shares a log.

    Attributes:
        store: its connections.
        log: its event log.
    """

    store: Store
    log: RedisEventLog

    def stream(self, generation: str = "gen_a") -> Stream | None:
        """Return what it has of a generation in memory."""
        return self.log._memory.stream(generation)

    async def take(self, generation: str = "gen_a") -> bool:
        """Take over a generation if its lease has lapsed; return whether it had."""
        keys, token = self.store.keys, new_token()
        reply = await self.store.run(
            scripts.TAKE,
            [keys.meta(generation), keys.log(generation), keys.request(generation)],
            [token, self.store.worker, int(self.store.leases.seconds * 1000), TTL_MS],
        )
        if reply is None:
            return False
        self.store.leases.begin(generation, token=token, epoch=reply[0], stored=reply[1])
        await self.log.adopt(generation)
        return True

    async def write(self, *events: Event) -> None:
        """Append events to the generation, and wait until they are stored."""
        for event in events:
            self.log.append("gen_a", event)
        await self.log.flush("gen_a")

    async def stored(self, generation: str = "gen_a") -> list[Record]:
        """Return all stored records of a generation."""
        return [record async for record in stored_records(self.log, generation)]


async def take_over(
    server: RedisServer, old: Process, new: Process, generation: str = "gen_a"
) -> None:
    """Let a process take over a generation of another, as if that had been silent for a lease."""
    let_lapse(server, old, generation)
    assert await new.take(generation)


def let_lapse(server: RedisServer, one: Process, generation: str = "gen_a") -> None:
    """End the lease of a generation, as time would."""
    server.command("HSET", one.store.keys.meta(generation), "d", 0)


@asynccontextmanager
async def process(
    url: str, prefix: str, *, store: type[Store] = Store, limits: Any = None, **log: Any
) -> AsyncIterator[Process]:
    """Run a process.

    Args:
        url: the server's.
        prefix: begins all keys.
        store: the class of its store.
        limits: settings of `[generations]`, as a dictionary.
        log: settings of `[log]`.
    """
    settings = Settings(
        log=LogSettings(
            kind="redis", url=url, prefix=prefix, **{"write_ms": 5, "read_ms": 1, **log}
        ),
        generations=GenerationSettings(**(limits or {})),
    )
    its_store = store(settings.log, logged())
    its_log = RedisEventLog(its_store, settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(its_store.run_background)
        tasks.start_soon(its_log.run)
        await anyio.lowlevel.checkpoint()
        yield Process(its_store, its_log)
        tasks.cancel_scope.cancel()
