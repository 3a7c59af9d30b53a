"""What is generated, stored while it is, so that another process can ask the provider again."""

from collections.abc import Mapping

import anyio
import msgspec

from streamsvc.config.settings import LogSettings
from streamsvc.engine.directory.base import RunningGeneration
from streamsvc.engine.directory.watching import by_partition
from streamsvc.errors import StoreUnavailable
from streamsvc.messages import GenerationRequest
from streamsvc.store import scripts
from streamsvc.store.client import Store
from streamsvc.store.leases import Lease

PAUSE_SECONDS = 0.5
"""How long after an end to delete what is stored; the ends of that time share the calls."""


class Requests:
    """The requests of the generations of this process.

    Args:
        store: has them.
        running: the generations that run here.
        settings: how large they may be, and whether they may be missing while the store cannot be used.
        ttl_ms: how long they live without a beat.
    """

    def __init__(
        self,
        store: Store,
        running: Mapping[str, RunningGeneration],
        settings: LogSettings,
        *,
        ttl_ms: int,
    ) -> None:
        self._store = store
        self._running = running
        self._max_bytes = settings.max_request_bytes
        self._may_be_missing = settings.on_outage == "local"
        self._ttl_ms = ttl_ms
        self._gone: set[str] = set()
        self._ended: set[str] = set()
        self._some = anyio.Event()
        store.leases.on_gone(self._restore)

    async def keep(self, generation: RunningGeneration) -> None:
        """Store the request of a generation, unless it is too large.

        Raises:
            StoreUnavailable: it could not be stored, and may not be missing.
        """
        try:
            self._store.health.check()
            await self._put(generation.id, generation.request)
        except StoreUnavailable:
            if not self._may_be_missing:
                raise

    def forget(self, generation: str) -> None:
        """Delete what is stored of a generation only while it runs, as soon as its log is closed."""
        self._ended.add(generation)
        self._some.set()

    async def is_kept(self, generation: str) -> bool:
        """Return whether the request of a generation is stored.

        Raises:
            StoreUnavailable: nobody knows.
        """
        key = self._store.keys.request(generation)
        return bool(await self._store.command("EXISTS", key))

    async def run(self) -> None:
        """Store again what a flushed server has lost, and delete what has ended; runs until it is cancelled."""
        while True:
            await self._some.wait()
            await anyio.sleep(PAUSE_SECONDS)
            self._some = anyio.Event()
            try:
                await self._put_again()
                await self._tidy()
            except StoreUnavailable:
                await self._store.health.wait_usable()
            if self._gone or self._ended:
                self._some.set()

    def _restore(self, lease: Lease) -> None:
        self._gone.add(lease.generation)
        self._some.set()

    async def _put(self, name: str, request: GenerationRequest) -> None:
        data = msgspec.msgpack.encode(request)
        if len(data) <= self._max_bytes:
            key = self._store.keys.request(name)
            await self._store.command("SET", key, data, "PX", self._ttl_ms)

    async def _put_again(self) -> None:
        for name in list(self._gone):
            # A generation that is ending has forgotten its request.
            request = getattr(self._running.get(name), "request", None)
            if request is not None:
                await self._put(name, request)
            self._gone.discard(name)

    async def _tidy(self) -> None:
        keys = self._store.keys
        for some in by_partition(list(self._ended)):
            names = [f(it) for it in some for f in (keys.meta, keys.request, keys.viewers)]
            reply = await self._store.run(scripts.TIDY, names, ())
            for generation, has_ended in zip(some, reply, strict=True):
                # Without a lease, its end is not on its way to the store: another process runs it.
                if has_ended or self._store.leases.get(generation) is None:
                    self._ended.discard(generation)
