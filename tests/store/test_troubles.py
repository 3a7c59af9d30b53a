"""What a server that takes no writes answers, by command and by script: its words differ by version."""

from collections.abc import AsyncIterator

import pytest

from streamsvc.config.settings import LogSettings
from streamsvc.errors import StoreUnavailable
from streamsvc.store import scripts
from streamsvc.store.client import Store
from streamsvc.store.health import Trouble
from support.redis_servers import RedisServer


@pytest.fixture
async def store(redis_server: RedisServer, key_prefix: str) -> AsyncIterator[Store]:
    store = Store(LogSettings(kind="redis", url=redis_server.url, prefix=key_prefix))
    yield store
    await store.close()


async def expect(store: Store, trouble: Trouble) -> None:
    """Check that a command and a script that write both find this trouble."""
    with pytest.raises(StoreUnavailable):
        await store.command("SET", store.keys.probe(store.worker), 1)
    assert store.health.trouble is trouble
    store.health.worked(0, wrote=True)
    with pytest.raises(StoreUnavailable):
        await store.run(scripts.NOTIFY, [store.keys.control(store.worker)], [1000, "w", 1])
    assert store.health.trouble is trouble
    assert store.health.reasons == (f"store_{trouble}",)


async def test_full_server_is_full(redis_server: RedisServer, store: Store) -> None:
    await store.command("PING")
    redis_server.command("CONFIG", "SET", "maxmemory", 1)
    try:
        await expect(store, Trouble.FULL)
    finally:
        redis_server.command("CONFIG", "SET", "maxmemory", 0)


async def test_replica_is_read_only(redis_server: RedisServer, store: Store) -> None:
    await store.command("PING")
    redis_server.command("REPLICAOF", "127.0.0.1", 1)
    try:
        await expect(store, Trouble.READ_ONLY)
    finally:
        redis_server.command("REPLICAOF", "NO", "ONE")
