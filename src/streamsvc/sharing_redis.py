"""The event log, the directory, the limiter and the tickets in Redis; imported only if `log.kind` is `redis`."""

from contextlib import suppress
from functools import partial

import msgspec

from streamsvc.config.settings import Settings
from streamsvc.engine.directory.redis import RedisDirectory
from streamsvc.errors import StoreUnavailable
from streamsvc.eventlog.redis import RedisEventLog
from streamsvc.guard.limits.redis import RedisLimiter
from streamsvc.guard.tickets.redis import RedisTickets
from streamsvc.hooks import Hooks, StoreState
from streamsvc.producers import DemoProducers
from streamsvc.sharing import Sharing
from streamsvc.store.client import Store
from streamsvc.store.inspect import log_server
from streamsvc.store.keys import partition_mark


async def log_when_usable(store: Store) -> None:
    """Log what kind of server the store is, as soon as it can be reached."""
    while True:
        try:
            return await log_server(store)
        except StoreUnavailable:
            await store.health.wait_usable()


async def try_once(store: Store) -> None:
    """Try the store, so that this process does not call itself ready before it knows."""
    with suppress(StoreUnavailable):
        await store.probe()


def in_redis(settings: Settings, hooks: Hooks, demo_worker: int | None = None) -> Sharing:
    """Return what one of many processes needs.

    Args:
        settings: where the store is, and how it is used.
        hooks: get a report when the store is lost, back, slow or fast.
        demo_worker: the number of this worker, if it is one of a demo.
    """
    store = Store(settings.log, hooks)
    log = RedisEventLog(store, settings)
    directory = RedisDirectory(store, log, settings)
    limiter = RedisLimiter(store, settings)
    tickets = RedisTickets(store, settings)

    def use(changed: Settings) -> None:
        tickets.use(changed)
        limiter.use(changed.limits)

    refuses = settings.log.on_outage == "refuse"
    sharing = Sharing(
        log=log,
        directory=directory,
        limiter=limiter,
        tickets=tickets,
        background=(
            partial(log_when_usable, store),
            store.run_background,
            log.run,
            directory.run,
            limiter.run,
        ),
        use=use,
        prepare=partial(try_once, store),
        finish=limiter.finish,
        id_mark=partial(partition_mark, store.home),
        troubles=lambda: store.health.reasons,
        is_refusing=lambda: refuses and store.health.trouble is not None,
        log_bytes=lambda: log.size_bytes,
        store=lambda: StoreState(store.health.trouble is None, store.health.latest_seconds),
    )
    if demo_worker is None:
        return sharing
    producers = DemoProducers(store, demo_worker)
    background = (*sharing.background, producers.run)
    return msgspec.structs.replace(sharing, producers=producers, background=background)
