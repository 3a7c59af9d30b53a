"""What the log says about the server at the start."""

from typing import Any

import pytest

from streamsvc.config.settings import LogSettings
from streamsvc.errors import StoreUnavailable
from streamsvc.store.client import Store
from streamsvc.store.inspect import log_server
from support.logged import logged
from support.redis_servers import RedisServer


async def inspected(store: Store, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level("INFO"):
        await log_server(store)
    return [message.partition(" version=")[0] for message in caplog.messages]


async def test_the_server_is_named_and_a_policy_that_drops_keys_is_a_warning(
    redis_server: RedisServer, key_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(LogSettings(kind="redis", url=redis_server.url, prefix=key_prefix), logged())
    kind = "valkey" if b"valkey" in redis_server.program.encode() else "redis"
    assert await inspected(store, caplog) == [f"store.connected kind={kind}"]
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        found = await inspected(store, caplog)
    finally:
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert len(found) == 2
    assert found[1].startswith("store.evicts policy=allkeys-lru (")
    await store.close()


@pytest.mark.parametrize(
    ("version", "is_too_old"),
    [("6.0.16", True), ("6.2.0", False), ("10.1", False), ("", False), ("dev", False)],
)
async def test_a_server_that_is_too_old_is_a_warning(
    version: str,
    is_too_old: bool,  # noqa: FBT001  # a parameter of the test
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def info(_store: Store, _section: str) -> dict[str, Any]:
        return {"redis_version": version} if version else {}

    monkeypatch.setattr(Store, "info", info)
    store = Store(LogSettings(kind="redis"), logged())
    found = await inspected(store, caplog)
    assert ("store.too_old" in found) is is_too_old
    await store.close()


async def test_user_that_may_not_ask_can_use_the_store(
    redis_server: RedisServer, key_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`-@dangerous`, which many servers give to applications, takes INFO away; Redis 6.2 counts all of CLIENT to it."""
    user = ("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-@dangerous", "+client|setname")
    redis_server.command(*user)
    url = redis_server.url.replace("redis://", "redis://app:pw@")
    store = Store(LogSettings(kind="redis", url=url, prefix=key_prefix), logged())
    assert await inspected(store, caplog) == ["store.connected kind=unknown"]
    await store.probe()
    store.health.check()
    redis_server.command(*user, "-@scripting")
    with pytest.raises(StoreUnavailable):
        await store.probe()
    assert [it.code for it in store.health.reasons] == ["store_misconfigured"]
    redis_server.command("ACL", "DELUSER", "app")
    await store.close()
