"""What the store keeps of a generation only while it runs, deleted after its end."""

import anyio

from streamsvc.engine.directory.watching import by_partition
from streamsvc.errors import StoreUnavailable
from streamsvc.store import scripts
from streamsvc.store.client import Store

PAUSE_SECONDS = 0.5
"""How long after an end to delete; the ends of that time share the calls."""


class Leaving:
    """The generations of this process that have ended.

    Args:
        store: has their requests and viewers.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ended: set[str] = set()
        self._some = anyio.Event()

    def add(self, generation: str) -> None:
        """Delete what is kept of a generation while it runs, as soon as its log is closed."""
        self._ended.add(generation)
        self._some.set()

    async def run(self) -> None:
        """Delete; runs until it is cancelled."""
        while True:
            await self._some.wait()
            await anyio.sleep(PAUSE_SECONDS)
            self._some = anyio.Event()
            await self._tidy()
            if self._ended:
                await self._store.health.wait_usable()
                self._some.set()

    async def _tidy(self) -> None:
        keys = self._store.keys
        try:
            for some in by_partition(list(self._ended)):
                names = [f(it) for it in some for f in (keys.meta, keys.request, keys.viewers)]
                reply = await self._store.run(scripts.TIDY, names, ())
                for generation, has_ended in zip(some, reply, strict=True):
                    # Without a lease, its end is not on its way to the store: another process runs it.
                    if has_ended or self._store.leases.get(generation) is None:
                        self._ended.discard(generation)
        except StoreUnavailable:
            pass  # it is tried again, and everything expires
