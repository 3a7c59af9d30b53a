"""What processes share, as one choice: event log, directory, limiter and tickets belong together."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from streamsvc.config.settings import Settings
from streamsvc.engine.admission import Limiter
from streamsvc.engine.directory.base import Directory
from streamsvc.engine.directory.memory import MemoryDirectory
from streamsvc.eventlog.base import EventLog
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.guard.limits.memory import MemoryLimiter
from streamsvc.guard.tickets.base import Tickets
from streamsvc.guard.tickets.memory import MemoryTickets
from streamsvc.hooks import StoreReason, StoreState
from streamsvc.web.demo import Producers


async def _nothing() -> None:
    """Prepare or finish nothing."""


class Sharing(msgspec.Struct, frozen=True, kw_only=True):
    """What this process shares with others, if there are any.

    Attributes:
        log: the event log.
        directory: the directory.
        tickets: the tickets of browsers.
        limiter: the limiter.
        background: what must run while the service does, each until it is cancelled.
        use: takes over what other settings say of limits and times.
        prepare: awaited before the first request, while that runs: finds out whether the shared store can be used.
        finish: awaited after the last generation has ended, while that still runs; takes a few seconds at most.
        id_mark: returns how the random part of a new id must begin.
        troubles: returns what is wrong with the shared store, for operators.
        is_refusing: returns whether new generations are refused because of that.
        producers: finds and ends the producers of a demo; None if this is not a demo.
        log_bytes: returns how much memory logs take in this process.
        store: returns the state of the shared store; None: there is none.
    """

    log: EventLog
    directory: Directory
    tickets: Tickets
    limiter: Limiter
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]]
    use: Callable[[Settings], None]
    prepare: Callable[[], Coroutine[Any, Any, None]] = _nothing
    finish: Callable[[], Coroutine[Any, Any, None]] = _nothing
    id_mark: Callable[[], str] = str
    troubles: Callable[[], Sequence[StoreReason]] = tuple
    is_refusing: Callable[[], bool] = bool
    producers: Producers | None = None
    log_bytes: Callable[[], int] = int
    store: Callable[[], StoreState] | None = None


def in_memory(settings: Settings) -> Sharing:
    """Return what a service of one process needs."""
    log = MemoryEventLog(settings.generations)
    tickets, limiter = MemoryTickets(settings), MemoryLimiter(settings.limits)

    def use(changed: Settings) -> None:
        tickets.use(changed)
        limiter.use(changed.limits)

    return Sharing(
        log=log,
        directory=MemoryDirectory(log, settings),
        tickets=tickets,
        limiter=limiter,
        background=(log.sweep,),
        use=use,
        log_bytes=lambda: log.size_bytes,
    )
