"""Idempotency keys, each held by one request of all processes.

A claim is a lock with a random token, which expires soon after its process has died. The requests of one process wait
for each other without the store.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
import msgspec

from streamsvc.engine.directory.base import KeyClaim, KeyUse
from streamsvc.engine.directory.notes import Notes
from streamsvc.errors import GenerationNotFound, StoreUnavailable
from streamsvc.eventlog.base import EventLog
from streamsvc.store import scripts
from streamsvc.store.client import Store
from streamsvc.store.leases import new_token

FIRST_PAUSE_SECONDS = 0.005
"""The pause before the second attempt to get a key that another process holds; then each is twice as long."""

MOST_PAUSE_SECONDS = 0.1

HOLDS_A_LEASE = 4
"""How often a claim is prolonged while it would last; it lasts as long as a lease."""

RETRY_SECONDS = 1.0
"""The pause between two attempts to store what a key stands for."""


class Claims:
    """The idempotency keys.

    Args:
        store: has them.
        log: shows which generations of this process are still kept.
        ttl_ms: how long the store remembers a key at most.
        may_be_local: whether keys are claimed in this process alone while the store cannot be used.
        limit: how many keys are remembered here meanwhile.
    """

    def __init__(
        self, store: Store, log: EventLog, *, ttl_ms: int, may_be_local: bool, limit: int
    ) -> None:
        self._store = store
        self._log = log
        self._ttl_ms = ttl_ms
        self._may_be_local = may_be_local
        self._hold_ms = int(store.leases.seconds * 1000)
        self._held: dict[str, str] = {}
        self._unstored: Notes[KeyUse] = Notes(limit)
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def claim(self, key: str) -> AsyncIterator[KeyClaim]:
        """Hold a key; see `Directory.claim`."""
        with self._queue(key) as queue:
            async with queue.lock:
                token = self._held[key] = new_token()
                use = None
                claim = KeyClaim()
                try:
                    use = claim.use = await self._acquire(key, token)
                    yield claim
                except BaseException:
                    claim.use = use
                    raise
                finally:
                    del self._held[key]
                    await self._settle(key, token, None if claim.use == use else claim.use)

    async def run(self) -> None:
        """Prolong claims, and store what could not be stored at once; runs until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_holding)
            tasks.start_soon(self._keep_storing)

    @contextmanager
    def _queue(self, key: str) -> Iterator["_Queue"]:
        """Let the requests of this process take turns."""
        queue = self._queues.setdefault(key, _Queue())
        queue.length += 1
        try:
            yield queue
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[key]

    async def _acquire(self, key: str, token: str) -> KeyUse | None:
        """Wait until the key is free, hold it, and return what it stands for."""
        try:
            stored = await self._wait_for(key, token)
        except StoreUnavailable:
            if not self._may_be_local:
                raise
            stored = b""
        if use := self._unstored.get(key):
            return use if await self._is_here(use.generation) else None
        if not stored:
            return None
        use = msgspec.msgpack.decode(stored, type=KeyUse)
        return use if await self._is_stored(use.generation) else None

    async def _wait_for(self, key: str, token: str) -> bytes:
        pause = FIRST_PAUSE_SECONDS
        while True:
            reply: bytes | None = await self._store.run(
                scripts.CLAIM, self._names(key), [token, self._hold_ms]
            )
            if reply is not None:
                return reply
            await anyio.sleep(pause)
            pause = min(2 * pause, MOST_PAUSE_SECONDS)

    async def _is_here(self, generation: str) -> bool:
        try:
            await self._log.read(generation, after=0)
        except (GenerationNotFound, StoreUnavailable):
            return False
        return True

    async def _is_stored(self, generation: str) -> bool:
        reply = await self._store.run(scripts.LOOK, [self._store.keys.meta(generation)])
        return bool(reply[0])

    async def _settle(self, key: str, token: str, use: KeyUse | None) -> None:
        """End a claim, and store what the key stands for now; if that fails, remember it here."""
        value = b"" if use is None else msgspec.msgpack.encode(use)
        with anyio.CancelScope(shield=True):
            try:
                await self._store.run(
                    scripts.SETTLE, self._names(key), [token, value, self._ttl_ms]
                )
            except StoreUnavailable:
                if use is not None:
                    self._unstored.put(key, use)
            else:
                if use is not None:
                    self._unstored.pop(key, use)

    async def _keep_holding(self) -> None:
        while True:
            await anyio.sleep(self._store.leases.seconds / HOLDS_A_LEASE)
            for key, token in list(self._held.items()):
                with suppress(StoreUnavailable):
                    lock = self._store.keys.lock(key)
                    await self._store.run(scripts.HOLD, [lock], [token, self._hold_ms])

    async def _keep_storing(self) -> None:
        while True:
            await self._unstored.wait()
            await self._store.health.wait_usable()
            for key, use in self._unstored:
                await self._settle(key, new_token(), use)
            await anyio.sleep(RETRY_SECONDS)

    def _names(self, key: str) -> list[bytes]:
        return [self._store.keys.lock(key), self._store.keys.idempotency(key)]


class _Queue:
    """The requests of this process that want one key.

    Attributes:
        lock: held by one of them.
        length: how many they are.
    """

    __slots__ = ("length", "lock")

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.length = 0
