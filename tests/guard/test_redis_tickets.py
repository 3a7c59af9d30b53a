"""The tickets in Redis pass the conformance suite on every server that is supported."""

from functools import partial

import anyio
import msgspec
import pytest
from ticket_conformance import CONTRACT, GENERATION, OPENER, Check, Subject, ticket_of

from streamsvc.config.settings import LogSettings, Settings
from streamsvc.errors import RequestTooLarge, StoreUnavailable
from streamsvc.guard.tickets.base import Ticket, hash_of
from streamsvc.guard.tickets.redis import RedisTickets
from streamsvc.principals import Principal
from streamsvc.store.client import Store
from support.logged import logged
from support.redis_servers import RedisServer, running_redis


def settings_of(server: RedisServer, prefix: str, max_request_bytes: int = 1_000_000) -> Settings:
    log = LogSettings(
        kind="redis", url=server.url, prefix=prefix, max_request_bytes=max_request_bytes
    )
    return Settings(log=log)


async def age(server: RedisServer, prefix: str, seconds: float) -> None:
    """Let time pass for everything with a time to live, without waiting."""
    for key in server.command("KEYS", f"{prefix}:*"):
        left = server.command("PTTL", key) - int(seconds * 1000)
        server.command("PEXPIRE", key, max(left, 0))


@pytest.mark.promise("door:browser")
@pytest.mark.promise("scale:any-worker")
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_tickets_in_redis_conform(
    check: Check, redis_server: RedisServer, key_prefix: str
) -> None:
    settings = settings_of(redis_server, key_prefix)
    here, there = Store(settings.log, logged()), Store(settings.log, logged())
    try:
        with anyio.fail_after(20):
            await check(
                Subject(
                    RedisTickets(here, settings),
                    RedisTickets(there, settings),
                    partial(age, redis_server, key_prefix),
                )
            )
    finally:
        await here.close()
        await there.close()


@pytest.mark.promise("secret:kept")
async def test_redis_has_a_hash_and_not_the_ticket(valkey: RedisServer, key_prefix: str) -> None:
    settings = settings_of(valkey, key_prefix)
    store = Store(settings.log, logged())
    tickets = RedisTickets(store, settings)
    text = await tickets.mint(ticket_of())
    [key] = valkey.command("KEYS", f"{key_prefix}:*")
    stored = key + b"".join(valkey.command("HVALS", key))
    assert b"hello" in stored
    assert text.encode() not in stored
    assert text.removeprefix("tkt_").encode() not in stored
    assert b"{" in key  # the partition's tag
    assert valkey.command("PTTL", key) > 0
    await store.close()


async def test_ticket_of_another_version_is_unknown(valkey: RedisServer, key_prefix: str) -> None:
    settings = settings_of(valkey, key_prefix)
    store = Store(settings.log, logged())
    tickets = RedisTickets(store, settings)
    text = await tickets.mint(ticket_of())
    key = store.keys.ticket(str(hash_of(text)))
    for stored in (b"\xc1", msgspec.msgpack.encode({"principal": 1})):
        valkey.command("HSET", key, "t", stored)
        assert await tickets.find(text) is None
    await store.close()


async def test_large_request_is_refused_by_the_setting(
    valkey: RedisServer, key_prefix: str
) -> None:
    """A ticket for a generation has no request, so it is always small enough."""
    settings = settings_of(valkey, key_prefix, max_request_bytes=0)
    store = Store(settings.log, logged())
    tickets = RedisTickets(store, settings)
    with pytest.raises(RequestTooLarge, match=r"log\.max_request_bytes"):
        await tickets.mint(ticket_of())
    assert await tickets.mint(Ticket(principal=Principal(), generation=GENERATION))
    await store.close()


async def test_lost_redis_is_said(key_prefix: str) -> None:
    with running_redis("valkey") as server:
        settings = settings_of(server, key_prefix)
        store = Store(settings.log, logged())
        tickets = RedisTickets(store, settings)
        text = await tickets.mint(ticket_of())
        server.kill()
        for _ in range(2):  # the second time it is known
            with pytest.raises(StoreUnavailable):
                await tickets.find(text)
            with pytest.raises(StoreUnavailable):
                await tickets.spend(text, ticket_of().spent(GENERATION), OPENER)
            with pytest.raises(StoreUnavailable):
                await tickets.mint(ticket_of())
        await store.close()
