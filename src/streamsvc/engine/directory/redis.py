"""The directory in Redis, for any number of processes.

What runs here is known here: stops and viewers of this process reach it without the store. The rest is in parts:
`watching` tells other processes of viewers here, `beats` keeps what runs here and learns of viewers and stops
elsewhere, `claims` has the idempotency keys and `chats` the answers of chats.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, suppress

import anyio
import msgspec
from typing_extensions import override

from streamsvc.config.settings import Settings
from streamsvc.engine.audience import Count
from streamsvc.engine.directory import base
from streamsvc.engine.directory.base import (
    ChatAnswer,
    Directory,
    KeyClaim,
    RunningGeneration,
    TakenOver,
)
from streamsvc.engine.directory.beats import Beats, reason_of
from streamsvc.engine.directory.chats import UNSENT_SECONDS, Chats
from streamsvc.engine.directory.claims import Claims
from streamsvc.engine.directory.requests import Requests
from streamsvc.engine.directory.watching import Watching, tell
from streamsvc.errors import StoreUnavailable
from streamsvc.eventlog.base import BEFORE_FIRST, EventLog, LogTakenOver
from streamsvc.eventloop import now
from streamsvc.events import Outcome
from streamsvc.messages import GenerationRequest
from streamsvc.store import scripts
from streamsvc.store.client import Store
from streamsvc.store.leases import Lease, new_token

FIRST_PAUSE_SECONDS = 0.005
"""How long after a stop to look for the end for the first time; then each pause is twice as long."""

MOST_PAUSE_SECONDS = 0.1


class RedisDirectory(Directory):
    """The directory of all processes that share a store.

    Args:
        store: the store.
        log: shows which generations of this process are still kept.
        settings: what is stored, for how long, and what happens while the store cannot be used.
    """

    def __init__(self, store: Store, log: EventLog, settings: Settings) -> None:
        self._store = store
        self._log = log
        self._lease_ms = int(settings.log.lease_seconds * 1000)
        self._ttl_ms = store.running_ttl_ms(settings.generations)
        self._running: dict[str, RunningGeneration] = {}
        self._lost: set[str] = set()
        limit = settings.limits.max_generations + settings.generations.keep_count
        self._watching = Watching(store, self._running, ttl_ms=self._ttl_ms)
        self._beats = Beats(store, self._running, self._watching, ttl_ms=self._ttl_ms)
        self._requests = Requests(store, self._running, settings.log, ttl_ms=self._ttl_ms)
        self._claims = Claims(
            store,
            log,
            ttl_ms=UNSENT_SECONDS * 1000 + self._ttl_ms,
            may_be_local=settings.log.on_outage == "local",
            limit=limit,
        )
        self._chats = Chats(store, self._running, limit=limit)
        store.leases.on_lost(self._lose)

    async def run(self) -> None:
        """Keep this process's part of the directory; runs until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._beats.run, name="directory beats")
            tasks.start_soon(self._beats.run_control, name="directory control")
            tasks.start_soon(self._watching.run, name="directory viewers")
            tasks.start_soon(self._requests.run, name="directory requests")
            tasks.start_soon(self._claims.run, name="directory keys")
            tasks.start_soon(self._chats.run, name="directory chats")

    @property
    @override
    def running_here(self) -> Collection[RunningGeneration]:
        return self._running.values()

    @override
    async def enter(self, generation: RunningGeneration) -> None:
        self._running[generation.id] = generation
        self._watching.came_here(generation)
        if self._store.leases.get(generation.id) is None:  # else it was taken over: it is stored
            await self._requests.keep(generation)

    @override
    def leave(self, generation: RunningGeneration) -> None:
        name = generation.id
        if self._running.get(name) is not generation:
            return  # this process lost it, and has taken it over again
        del self._running[name]
        self._beats.forget(name)
        self._chats.ended(name)
        if name in self._lost:
            self._lost.discard(name)
            self._watching.went_elsewhere(name)
        else:
            self._requests.forget(name)

    def _lose(self, lease: Lease) -> None:
        """Another process runs a generation now, or may: it ends here, and writes nothing more."""
        if running := self._running.get(lease.generation):
            self._lost.add(lease.generation)
            running.stop(Outcome.UPSTREAM_LOST)

    @override
    def lapsed(self) -> AsyncIterator[str]:
        return aiter(self._store.lapsed)

    @override
    async def take(self, generation: str) -> TakenOver | None:
        if generation in self._running:
            return None  # it is still ending here
        keys, token, asked_at = self._store.keys, new_token(), now()
        names = [keys.meta(generation), keys.log(generation), keys.request(generation)]
        reply = await self._store.run(
            scripts.TAKE, names, [token, self._store.worker, self._lease_ms, self._ttl_ms]
        )
        if reply is None:
            return None
        epoch, last, stop, request, released = reply
        leases = self._store.leases
        lease = leases.begin(generation, token=token, epoch=epoch, stored=last)
        leases.renew(lease, asked_at)
        reason = reason_of(stop) if stop else None
        return TakenOver(_decoded(request), stop=reason, times=epoch - released)

    @override
    def abandon(self, generation: str) -> None:
        lease = self._store.leases.get(generation)
        if lease is not None and generation not in self._running:
            lease.is_released = True
            self._store.leases.lose(lease)

    @override
    async def hand_over(self, generation: RunningGeneration) -> bool:
        lease = self._store.leases.get(generation.id)
        if lease is None:
            return generation.id in self._lost
        try:
            await self._log.flush(generation.id)
            if lease.stored == BEFORE_FIRST or not await self._requests.is_kept(generation.id):
                return False
            await self._store.run(scripts.RELEASE, [lease.meta], [lease.token])
        except LogTakenOver:
            return True
        except StoreUnavailable:
            return False
        lease.is_released = True
        self._store.leases.lose(lease)
        with suppress(StoreUnavailable):  # they find out within a second
            viewers = self._store.keys.viewers(generation.id)
            for worker in await self._store.command("HKEYS", viewers):
                await tell(self._store, worker.decode(), [generation.id])
        return True

    @override
    def retire(self) -> None:
        self._watching.retire()

    @override
    async def stop(self, generation: str, outcome: Outcome) -> bool:
        running = self._running.get(generation)
        if running is not None and generation not in self._lost:
            running.stop(outcome)
            with anyio.move_on_after(base.STOP_SECONDS):
                await running.wait_ended()
            return True
        with anyio.CancelScope(shield=True):  # its client may leave; it is stopped nevertheless
            if not await self._note_stop(generation, outcome):
                return False
        with anyio.move_on_after(base.STOP_SECONDS), suppress(StoreUnavailable):
            await self._wait_ended(generation)
        return True

    async def _note_stop(self, generation: str, outcome: Outcome) -> bool:
        """Have the process that runs a generation stop it; return False if it does not run."""
        meta = self._store.keys.meta(generation)
        worker: bytes | None = await self._store.run(scripts.STOP, [meta], [outcome])
        if worker is None:
            return False
        with suppress(StoreUnavailable):  # it is stopped at the next beat
            await tell(self._store, worker.decode(), [generation])
        return True

    async def _wait_ended(self, generation: str) -> None:
        meta, pause = self._store.keys.meta(generation), FIRST_PAUSE_SECONDS
        while True:
            await anyio.sleep(pause)
            pause = min(2 * pause, MOST_PAUSE_SECONDS)
            is_kept, is_closed, _, _, lease_ms = await self._store.run(scripts.LOOK, [meta])
            if is_closed or not is_kept:
                return
            if lease_ms <= 0:
                self._store.note_lapsed(generation)  # the worker that takes it over ends it

    @override
    def audience(self, generation: str) -> Count | None:
        return self._watching.audience(generation)

    @override
    def claim(self, key: str) -> AbstractAsyncContextManager[KeyClaim]:
        return self._claims.claim(key)

    @override
    async def put_answer(self, chat: str, answer: ChatAnswer) -> str | None:
        return await self._chats.put(chat, answer)

    @override
    async def answer(self, chat: str) -> ChatAnswer | None:
        return await self._chats.get(chat)

    @override
    async def drop_answer(self, chat: str) -> str | None:
        return await self._chats.drop(chat)

    @override
    def mark_sent(self, chat: str, answer: ChatAnswer) -> None:
        self._chats.mark_sent(chat, answer)


def _decoded(request: bytes) -> GenerationRequest | None:
    """Return a stored request; None if there is none, or another version has stored it."""
    with suppress(msgspec.MsgspecError):
        return msgspec.msgpack.decode(request, type=GenerationRequest)
    return None
