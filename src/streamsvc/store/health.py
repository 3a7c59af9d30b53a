"""Whether the store can be used, and since when it cannot."""

from collections.abc import Sequence
from enum import StrEnum

import anyio

from streamsvc.errors import StoreUnavailable
from streamsvc.eventloop import now
from streamsvc.hooks import Hooks, StoreChanged, StoreReason

SLOW_SECONDS = 0.25
"""A command that takes longer than this makes the store slow."""

SLOW_FOR_SECONDS = 5.0
"""How long it stays slow after the last of them: in a burst, slow and fast commands alternate."""


class Trouble(StrEnum):
    """Why the store cannot be used."""

    UNREACHABLE = "unreachable"  # it refuses connections, or closes them: nobody can use it
    SILENT = "silent"  # it does not answer in time: perhaps only to this process
    FULL = "full"  # it has reached its `maxmemory`
    READ_ONLY = "read_only"  # a replica, or a server that cannot save
    MISCONFIGURED = "misconfigured"  # wrong password, missing permission, wrong kind of server


_DOWN = frozenset({Trouble.UNREACHABLE, Trouble.SILENT, Trouble.MISCONFIGURED})


ADVICE = {
    Trouble.UNREACHABLE: "does the server in log.url run?",
    Trouble.SILENT: "look at the network from this worker to the server, TLS on only one side, and the server's load",
    Trouble.FULL: "raise the server's maxmemory, or lower generations.keep_finished_seconds",
    Trouble.READ_ONLY: "log.url leads to a replica, or to a server that cannot save",
    Trouble.MISCONFIGURED: "check user, password, database and TLS in log.url, and the user's permissions",
}
"""What an operator can do."""


class Health:
    """The state of the store, as the latest commands found it.

    Args:
        hooks: get one report of each change.

    Attributes:
        trouble: why it cannot be used; None if it can.
        since: when that began, on the event loop's clock.
        latest_seconds: how long the latest command took that succeeded; None: there was none.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self.trouble: Trouble | None = None
        self.since = 0.0
        self.latest_seconds: float | None = None
        self._is_slow = False
        self._slow_until = 0.0
        self._slow_seconds = 0.0
        self._changed = anyio.Event()

    @property
    def is_down(self) -> bool:
        """Whether not even reading works."""
        return self.trouble in _DOWN

    @property
    def is_slow(self) -> bool:
        """Whether commands take long, or did until a moment ago."""
        return now() < self._slow_until  # an idle process finds no command that is fast

    @property
    def reasons(self) -> Sequence[StoreReason]:
        """What `/readyz` says about it; empty if all is well."""
        if self.trouble is not None:
            return (StoreReason(code=f"store_{self.trouble}", seconds=now() - self.since),)
        slow = StoreReason(code="store_slow", ms=round(self._slow_seconds * 1000))
        return (slow,) if self.is_slow else ()

    def check(self) -> None:
        """Refuse what needs the store while it cannot be used.

        Raises:
            StoreUnavailable: it cannot be used.
        """
        if self.trouble is not None:
            raise StoreUnavailable(str(self.trouble))

    def worked(self, seconds: float, *, wrote: bool) -> None:
        """Note that a command succeeded.

        Args:
            seconds: how long it took.
            wrote: whether it could have failed because the store accepts no writes.
        """
        self.latest_seconds = seconds
        if self.trouble is not None and (wrote or self.is_down):
            self._hooks.notify(
                StoreChanged(state="back", reason=self.trouble, seconds=now() - self.since)
            )
            self._set(None)
        if seconds > SLOW_SECONDS:
            self._slow_until = now() + SLOW_FOR_SECONDS
            self._slow_seconds = seconds
            if not self._is_slow:
                self._is_slow = True
                self._hooks.notify(StoreChanged(state="slow", seconds=seconds))
        elif self._is_slow and now() >= self._slow_until:
            self._is_slow = False
            self._hooks.notify(StoreChanged(state="fast", seconds=seconds))

    def failed(self, trouble: Trouble, cause: str) -> None:
        """Note that a command failed.

        Args:
            trouble: why.
            cause: the classes of its causes, without any value.
        """
        if trouble is not self.trouble:
            if self.trouble is None:
                self.since = now()
            advice = ADVICE[trouble]
            self._hooks.notify(
                StoreChanged(state="lost", reason=trouble, cause=cause, advice=advice)
            )
            self._set(trouble)

    async def wait_changed(self) -> None:
        """Wait for the next change of `trouble`."""
        await self._changed.wait()

    async def wait_usable(self) -> None:
        """Wait until it can be used."""
        while self.trouble is not None:
            await self.wait_changed()

    def _set(self, trouble: Trouble | None) -> None:
        self.trouble = trouble
        self._changed.set()
        self._changed = anyio.Event()
