"""Limits of several processes that share a Redis server."""

from contextlib import suppress

import anyio
import pytest

from streamsvc.errors import RateLimited, StoreUnavailable
from support.limiters import Process, in_redis, principal
from support.redis_proxy import redis_proxy
from support.redis_servers import RedisServer

pytestmark = pytest.mark.promise("door:bounded")

LEASE_SECONDS = 0.4
"""Of generations; that of an admission is 2.5 times as long."""


async def test_processes_count_together(valkey: RedisServer, key_prefix: str) -> None:
    caller = principal(requests_per_minute=7, tokens_per_minute=10_000, max_viewers=2)
    async with (
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as one,
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as other,
    ):
        for process in (one, other, one, other, one, other, one):
            await process.admit(caller)
        for process in (one, other):
            assert (await process.refusal(caller)).wait_seconds
        assert await one.limiter.viewer(caller)
        assert await other.limiter.viewer(caller)
        with pytest.raises(RateLimited):
            await one.limiter.viewer(caller)


async def test_simultaneous_requests_do_not_exceed_a_limit(
    valkey: RedisServer, key_prefix: str
) -> None:
    caller = principal(requests_per_minute=10, max_generations=20)
    admitted: list[str] = []

    async def ask(process: Process) -> None:
        with suppress(RateLimited):
            admitted.append(await process.admit(caller))

    async with (
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as one,
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as other,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(40):
            tasks.start_soon(ask, one)
            tasks.start_soon(ask, other)
    assert len(admitted) == 10


async def test_what_a_killed_process_held_is_free_after_its_lease(
    valkey: RedisServer, key_prefix: str
) -> None:
    """But not earlier: the leases of a process that lives last as long as it holds them."""
    caller = principal(max_generations=2, max_viewers=1)
    async with (
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as killed,
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as alive,
    ):
        await killed.admit(caller)
        assert await killed.limiter.viewer(caller)
        await alive.admit(caller)
        await anyio.sleep(2.6 * LEASE_SECONDS)  # longer than a lease: it is prolonged
        await alive.refusal(caller)
        with pytest.raises(RateLimited):
            await alive.limiter.viewer(caller)
        killed.kill()
        with anyio.fail_after(2.5 * LEASE_SECONDS + 2):
            while await alive.admitted(caller, most=1) == 0:  # noqa: ASYNC110
                await anyio.sleep(0.05)  # a lapsing lease tells nobody
        assert await alive.limiter.viewer(caller)
        await alive.refusal(caller)  # its own lease still holds


async def test_a_take_over_holds_and_settles_what_was_charged(
    valkey: RedisServer, key_prefix: str
) -> None:
    caller = principal(tokens_per_minute=100, max_generations=1)
    async with (
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as killed,
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as heir,
    ):
        generation = await killed.admit(caller, tokens=90)
        killed.kill()
        heir.limiter.resume(generation, caller.name)
        await anyio.sleep(3 * LEASE_SECONDS)  # longer than a lease
        assert "max_generations" in (await heir.refusal(caller, tokens=1)).log_details["limit"]
        heir.limiter.settle(generation, 0)
        heir.limiter.settle(generation, 0)
        await heir.settled()
        assert await heir.admitted(caller, tokens=100, most=1) == 1


async def test_a_handed_over_generation_is_settled_once(
    valkey: RedisServer, key_prefix: str
) -> None:
    caller = principal(tokens_per_minute=100, max_generations=2)
    async with (
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as old,
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as new,
    ):
        generation = await old.admit(caller, tokens=50)
        old.limiter.hand_over(generation)
        new.limiter.resume(generation, caller.name)
        old.limiter.settle(generation, 0)  # it does not hold it any more
        await old.settled()
        assert await new.admitted(caller, tokens=60) == 0
        new.limiter.settle(generation, 100)
        await new.settled()
        assert await new.admitted(caller, tokens=10) == 0


async def test_a_generation_without_limits_takes_no_lease_when_resumed(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as process:
        process.limiter.resume("gen_free", "one")
        await anyio.sleep(LEASE_SECONDS)
        assert await process.admitted(principal(max_generations=1), most=2) == 1
        process.limiter.settle("gen_free", 1000)
        await process.settled()


async def test_nothing_is_left_in_redis(valkey: RedisServer, key_prefix: str) -> None:
    caller = principal(
        requests_per_minute=60_000, tokens_per_minute=10**7, max_generations=5, max_viewers=5
    )
    async with in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as process:
        for _ in range(3):
            generation = await process.admit(caller)
            seat = await process.limiter.viewer(caller)
            assert seat
            seat.leave()
            process.limiter.settle(generation, 10)
        await process.settled()
        with anyio.fail_after(10):
            while left := keys_of(valkey, key_prefix):
                assert all(valkey.command("PTTL", key) != -1 for key in left)
                await anyio.sleep(0.05)  # buckets expire when they are empty


def keys_of(valkey: RedisServer, prefix: str) -> list[str]:
    """Return the keys of the limiters; the store has some of its own."""
    keys = (key.decode() for key in valkey.command("KEYS", f"{prefix}:*"))
    return [key for key in keys if ":probe:" not in key]


async def test_key_names_do_not_tell_who_the_principals_are(
    valkey: RedisServer, key_prefix: str
) -> None:
    caller = principal("alice@example.com", requests_per_minute=1, max_generations=1, max_viewers=1)
    async with in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as process:
        await process.admit(caller)
        await process.limiter.viewer(caller)
        keys = keys_of(valkey, key_prefix)
        assert len(keys) == 5
        assert not any("alice" in key for key in keys)


@pytest.mark.parametrize("on_outage", ["refuse", "local"])
async def test_while_redis_is_lost(valkey: RedisServer, key_prefix: str, on_outage: str) -> None:
    caller = principal(requests_per_minute=3, max_generations=10, max_viewers=1)
    async with (
        redis_proxy(valkey) as proxy,
        in_redis(proxy.url, key_prefix, on_outage=on_outage) as process,
        in_redis(valkey.url, key_prefix, lease_seconds=LEASE_SECONDS) as other,
    ):
        generation = await process.admit(caller)
        seat = await process.limiter.viewer(caller)
        assert seat
        await proxy.refuse()
        if on_outage == "refuse":
            for _ in range(2):  # the first one finds out
                with pytest.raises(StoreUnavailable):
                    await process.admit(caller)
        else:
            local = [await process.admit(caller) for _ in range(3)]
            await process.refusal(caller)
            process.limiter.hand_over(local[0])
            process.limiter.settle(local[1], 10)
            process.limiter.cancel(local[2])
            assert await process.admitted(caller) == 1
        own = await process.limiter.viewer(caller)  # viewers are counted here
        assert own
        with pytest.raises(RateLimited):
            await process.limiter.viewer(caller)
        process.limiter.cancel(generation)  # which is done when the server is back
        seat.leave()
        own.leave()
        await process.settled()
        await proxy.accept()
        with anyio.fail_after(10):
            while names := admissions(valkey, key_prefix):
                assert names
                await anyio.sleep(0.05)
        assert await other.admitted(caller) == 3
        assert await other.limiter.viewer(caller)


def admissions(valkey: RedisServer, prefix: str) -> list[str]:
    return [key for key in keys_of(valkey, prefix) if ":admission:" in key]
