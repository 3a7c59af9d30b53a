"""The producers of a demo, found and ended through the store that its workers share.

No process kills another: process ids are used again. A worker that reads in a stream that the producer of a
generation must die kills itself, if it is that producer. The message names the epoch, so a late one hits nobody.
"""

import os
import signal
from collections.abc import Callable, Sequence

import msgspec
from typing_extensions import override

from streamsvc.errors import GenerationNotFound
from streamsvc.store import scripts
from streamsvc.store.client import Store
from streamsvc.store.messages import Message, take_messages
from streamsvc.web.demo import Producer, Producers

MESSAGES_TTL_MS = 60_000
"""How long a message is kept after the latest one."""


class _Worker(msgspec.Struct, frozen=True):
    """What the store knows of a worker of the demo; nothing before it has introduced itself."""

    number: int | None = None
    process: int | None = None


def die() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


class DemoProducers(Producers):
    """The workers of a demo, as one of them sees them.

    Args:
        store: the demo's.
        number: of this worker.
        end: ends this process.
    """

    def __init__(self, store: Store, number: int, end: Callable[[], None] = die) -> None:
        self._store = store
        self._number = number
        self._end = end

    @override
    async def find(self, generation: str) -> Producer:
        keys = self._store.keys
        fields = ("w", "e", "s")  # see `lua/append.lua`
        known = await self._store.command("HMGET", keys.meta(generation), *fields)
        name, epoch, is_closed = known
        if name is None:
            raise GenerationNotFound
        packed = await self._store.command("HGET", keys.demo_workers(), name)
        worker = msgspec.json.decode(packed or b"{}", type=_Worker)
        return Producer(
            generation=generation,
            running=is_closed is None,
            epoch=int(epoch),
            worker=worker.number,
            process=worker.process,
        )

    @override
    async def kill(self, producer: Producer) -> None:
        message = ("generation", producer.generation, "epoch", producer.epoch)
        key = self._store.keys.demo_kills()
        await self._store.run(scripts.NOTIFY, [key], [MESSAGES_TTL_MS, *message])

    async def run(self) -> None:
        """Introduce this worker, and end it when it must die; runs until it is cancelled."""
        key = self._store.keys.demo_kills()
        await take_messages(self._store, key, self._take, prepare=self._introduce)

    async def _introduce(self) -> None:
        """Note in the store which process this worker is: at each read, so that a flushed store has it again."""
        packed = msgspec.json.encode(_Worker(self._number, os.getpid()))
        key = self._store.keys.demo_workers()
        await self._store.command("HSET", key, self._store.worker, packed)

    async def _take(self, messages: Sequence[Message]) -> None:
        """End this process if a message names what it runs; an old one names an epoch that is over."""
        for _, generation, _, epoch in messages:
            lease = self._store.leases.get(generation.decode())
            if lease is not None and lease.epoch == int(epoch):
                self._end()
