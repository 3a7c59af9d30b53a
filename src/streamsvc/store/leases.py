"""What this process owns: the generations that it alone may write, and those that nobody does."""

import os
from collections.abc import AsyncIterator, Callable, Iterator

import anyio

from streamsvc.eventloop import now
from streamsvc.store.keys import Keys, partition_of

_TOKEN_BYTES = 12


class Lease:
    """The right to write one generation.

    Attributes:
        generation: its id.
        partition: its partition.
        token: random for each acquisition: a process that acquires a generation twice has two tokens.
        epoch: how often it has been taken over.
        stored: the number of the last record that is known to be in the store.
        until: when the lease lapses unless it is renewed, on the event loop's clock, estimated to our disadvantage.
        meta: the key of its meta.
        keys: the keys of its meta and its log, packed for `Store.run_packed`.
        is_released: whether this process has given it up, for another one to take.
    """

    __slots__ = (
        *("epoch", "generation", "is_released", "keys", "meta", "partition", "stored", "token"),
        "until",
    )

    def __init__(
        self, generation: str, keys: Keys, *, token: str, epoch: int, stored: int, until: float
    ) -> None:
        self.generation = generation
        self.partition = partition_of(generation)
        self.token = token
        self.epoch = epoch
        self.stored = stored
        self.until = until
        self.meta = keys.meta(generation)
        self.keys = packed(self.meta) + packed(keys.log(generation))
        self.is_released = False


class Leases:
    """All leases of this process.

    Args:
        keys: makes the names of keys.
        seconds: how long a lease lasts without renewal.
    """

    def __init__(self, keys: Keys, seconds: float) -> None:
        self.seconds = seconds
        self._keys = keys
        self._leases: dict[str, Lease] = {}
        self._on_lost: list[Callable[[Lease], None]] = []
        self._on_gone: list[Callable[[Lease], None]] = []

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._leases.values()))

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, generation: str) -> Lease | None:
        """Return the lease of a generation, if this process owns it."""
        return self._leases.get(generation)

    def begin(
        self, generation: str, *, token: str | None = None, epoch: int = 0, stored: int = -1
    ) -> Lease:
        """Return the lease of a generation that this process makes, or has just taken over."""
        lease = Lease(
            generation,
            self._keys,
            token=token or new_token(),
            epoch=epoch,
            stored=stored,
            until=now() + self.seconds,
        )
        self._leases[generation] = lease
        return lease

    def renew(self, lease: Lease, asked_at: float) -> None:
        """Note that the store renewed a lease with a command that was sent at a time of the event loop's clock."""
        lease.until = asked_at + self.seconds

    def end(self, generation: str) -> None:
        """Forget a lease that is not needed any more."""
        self._leases.pop(generation, None)

    def on_lost(self, call: Callable[[Lease], None]) -> None:
        """Have a function called with each lease that another process has taken; it must not raise."""
        self._on_lost.append(call)

    def lose(self, lease: Lease) -> None:
        """Note that another process has taken, or may have taken, a generation; does nothing the second time."""
        if self._leases.get(lease.generation) is lease:
            del self._leases[lease.generation]
            for call in self._on_lost:
                call(lease)

    def on_gone(self, call: Callable[[Lease], None]) -> None:
        """Have a function called with each lease whose generation the store has lost; it must not raise."""
        self._on_gone.append(call)

    def gone(self, lease: Lease) -> None:
        """Note that the store was flushed: what it had of a generation must be stored again."""
        lease.stored = -1
        for call in self._on_gone:
            call(lease)


class Lapsed:
    """The generations that nobody runs any more, as they are noticed.

    Attributes:
        is_over: whether this process takes over nothing more, because it is about to end.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._noted: dict[str, None] = {}
        self._changed = anyio.Event()

    def note(self, generation: str) -> None:
        """Add one, unless it is already waiting."""
        self._noted[generation] = None
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[str]:
        """Iterate over them for ever; when that is cancelled, this process takes over nothing more."""
        try:
            while True:
                while self._noted:
                    generation = next(iter(self._noted))
                    del self._noted[generation]
                    yield generation
                self._changed = anyio.Event()
                await self._changed.wait()
        finally:
            self.is_over = True


def packed(argument: bytes) -> bytes:
    """Return an argument of a command as it is sent (RESP, "Bulk strings")."""
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


def new_token() -> str:
    """Return a random token for one acquisition."""
    return os.urandom(_TOKEN_BYTES).hex()
