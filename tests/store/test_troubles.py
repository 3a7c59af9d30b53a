"""What the answers of a store say about it; the words of a server that takes no writes differ by version."""

import errno
import socket
from collections.abc import AsyncIterator

import anyio
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from streamsvc.config.settings import LogSettings
from streamsvc.errors import StoreUnavailable
from streamsvc.store import health, scripts
from streamsvc.store.client import Store, trouble_of
from streamsvc.store.health import Trouble
from support.logged import logged
from support.redis_servers import RedisServer


class Clock:
    """A clock that a test sets."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def store(redis_server: RedisServer, key_prefix: str) -> AsyncIterator[Store]:
    store = Store(LogSettings(kind="redis", url=redis_server.url, prefix=key_prefix), logged())
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
    assert [it.code for it in store.health.reasons] == [f"store_{trouble}"]


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "now", clock)
    return clock


def test_slow_and_fast_commands_in_turn_are_one_slowness(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    state = health.Health(logged())
    for _ in range(10):
        clock.seconds += 0.3
        state.worked(0.3, wrote=True)
        state.worked(0.001, wrote=True)
    assert [it.code for it in state.reasons] == ["store_slow"]
    assert [record.message for record in caplog.records] == ["store.slow seconds=0.300"]
    clock.seconds += health.SLOW_FOR_SECONDS
    assert not state.reasons
    state.worked(0.001, wrote=True)
    assert caplog.records[-1].message == "store.fast seconds=0.001"
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("cause", "trouble"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), Trouble.UNREACHABLE),
        (OSError(errno.EHOSTUNREACH, ""), Trouble.SILENT),
        (socket.gaierror(), Trouble.SILENT),
        (TimeoutError(), Trouble.SILENT),  # no connection of the pool was free in time
    ],
)
def test_what_only_this_process_may_see_is_silence(cause: OSError, trouble: Trouble) -> None:
    failure = RedisConnectionError("lost")
    failure.__cause__ = cause
    assert trouble_of(failure) is trouble


async def test_store_that_does_not_answer_a_probe_is_silent(
    redis_server: RedisServer, key_prefix: str
) -> None:
    url = redis_server.url
    store = Store(
        LogSettings(kind="redis", url=url, prefix=key_prefix, timeout_seconds=0.001), logged()
    )
    store._attempt = lambda *_, **__: anyio.sleep_forever()  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await store.probe()
    assert store.health.trouble is Trouble.SILENT
    await store.close()
