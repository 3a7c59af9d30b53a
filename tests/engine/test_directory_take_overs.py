"""The worker that runs a generation dies, stalls, is cut off, or leaves: another one can go on, and only one."""

import anyio
import anyio.lowlevel
import pytest

from streamsvc.engine.directory.base import TakenOver
from streamsvc.eventlog.base import EPOCH_SEQS, LogTakenOver
from streamsvc.events import Outcome, Text
from streamsvc.store.health import Trouble
from support.redis_proxy import redis_proxy
from support.redis_servers import RedisServer
from support.redis_workers import LEASE_SECONDS, worker
from support.sharing_workers import (
    GENERATION,
    OTHER,
    REQUEST,
    Running,
    Workers,
    begin,
    lapse,
    taken,
)


@pytest.mark.promise("scale:one-writer")
async def test_one_worker_takes_over_from_a_dead_one(workers: Workers) -> None:
    """It gets the request as it was, and goes on after the last record."""
    async with workers.start(3) as (owner, second, third):
        running = await begin(owner)
        await running.say("a", "b")
        assert await second.directory.take(GENERATION) is None
        await owner.kill()
        found = await taken(second)
        assert found == TakenOver(REQUEST, times=1)
        assert await third.directory.take(GENERATION) is None
        await second.log.adopt(GENERATION)
        successor = Running(second)
        await second.directory.enter(successor)
        await successor.say("c")
        records = await third.log.read(GENERATION, after=-1)
        assert [it.seq for it in records] == [0, 1, 2, EPOCH_SEQS]
        await second.kill()
        assert (await taken(third)).times == 2


async def test_viewers_count_for_who_takes_over(workers: Workers, valkey: RedisServer) -> None:
    """Those on its own worker at once, and those on others as one."""
    async with workers.start(3, lease_seconds=60) as (owner, taker, other):
        await begin(owner)
        audiences = [one.directory.audience(GENERATION) for one in (taker, taker, other)]
        for audience in audiences:
            assert audience is not None
            audience.join()
        with anyio.fail_after(10):
            while valkey.command("HLEN", owner.store.keys.viewers(GENERATION)) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        while await taker.directory.take(GENERATION) is None:
            lapse(valkey, owner)
        await taker.log.adopt(GENERATION)
        successor = Running(taker)
        await taker.directory.enter(successor)
        assert successor.viewers.moves == [1, 1]
        await taker.directory._beats.beat()
        assert successor.viewers.moves == [1, 1, 1]


async def test_what_has_ended_cannot_be_taken_over(workers: Workers) -> None:
    async with workers.start(2, lease_seconds=0.05) as (owner, other):
        running = await begin(owner)
        running.end()
        await running.wait_ended()
        await anyio.sleep(0.1)
        assert await other.directory.take(GENERATION) is None
        assert await other.directory.take(OTHER) is None


@pytest.mark.promise("scale:one-writer")
async def test_an_owner_that_stalled_is_fenced_off(workers: Workers, valkey: RedisServer) -> None:
    """Its generation is stopped, writes nothing more, and its viewers count for the new owner."""
    async with workers.start(2) as (owner, other):
        running = await begin(owner)
        audience = owner.directory.audience(GENERATION)
        assert audience is not None
        audience.join()
        while await other.directory.take(GENERATION) is None:
            lapse(valkey, owner)
        await other.log.adopt(GENERATION)
        successor = Running(other)
        await other.directory.enter(successor)
        with anyio.fail_after(10):
            await running.is_stopped.wait()
        assert running.stopped == [Outcome.UPSTREAM_LOST]
        with pytest.raises(LogTakenOver):
            await running.say("late")
        assert await owner.directory.hand_over(running)  # another one has it
        assert await owner.directory.take(GENERATION) is None
        owner.directory.leave(running)
        await successor.viewers.is_now(1)
        audience.leave()
        await successor.viewers.is_now(1, -1)
        assert await owner.directory.stop(GENERATION, Outcome.CLIENT_STOP)
        assert successor.stopped == [Outcome.CLIENT_STOP]
        assert len(owner.directory.running_here) == 0


@pytest.mark.promise("scale:one-writer")
async def test_a_worker_that_hears_nothing_for_a_lease_stops(
    workers: Workers, valkey: RedisServer
) -> None:
    """Others may reach the store, and have taken over."""
    async with redis_proxy(valkey) as proxy, workers.behind(proxy, timeout_seconds=0.1) as owner:
        running = await begin(owner)
        proxy.pause()
        with anyio.fail_after(10):
            await running.is_stopped.wait()
        assert running.stopped == [Outcome.UPSTREAM_LOST]
        assert owner.store.health.trouble is Trouble.SILENT
        proxy.resume()


async def test_a_worker_with_patience_stops_after_a_lease_nevertheless(
    workers: Workers, valkey: RedisServer
) -> None:
    """A command may take longer than a lease; others may have taken over before it fails."""
    async with (
        redis_proxy(valkey) as proxy,
        worker(proxy.url, workers.prefix, timeout_seconds=60) as owner,
    ):
        running = await begin(owner)
        proxy.pause()
        with anyio.fail_after(20):
            await running.is_stopped.wait()
        assert running.stopped == [Outcome.UPSTREAM_LOST]
        proxy.resume()


async def test_a_silent_generation_is_kept_as_long_as_it_runs(
    workers: Workers, valkey: RedisServer
) -> None:
    async with workers.start(2, lease_seconds=0.1, keep_seconds=0) as (owner, other):
        await begin(owner)
        audience = other.directory.audience(GENERATION)
        assert audience is not None
        audience.join()
        await anyio.sleep(0.5)  # more than twice the time to live
        keys = owner.store.keys
        kept = (keys.meta, keys.log, keys.request, keys.viewers)
        assert valkey.command("EXISTS", *(key(GENERATION) for key in kept)) == 4


async def test_a_worker_whose_store_refuses_goes_on(workers: Workers, valkey: RedisServer) -> None:
    """Nobody else reaches it either. When it is back, everything is as it was."""
    async with redis_proxy(valkey) as proxy, workers.behind(proxy) as owner:
        running = await begin(owner)
        await proxy.refuse()
        with anyio.fail_after(10):
            while owner.store.health.trouble is None:
                await owner.store.health.wait_changed()
        await anyio.sleep(2 * LEASE_SECONDS)
        assert running.stopped == []
        assert await owner.directory.stop(GENERATION, Outcome.CLIENT_STOP)
        await proxy.accept()
        with anyio.fail_after(10):
            await owner.store.health.wait_usable()
            await running.wait_ended()
        assert running.stopped == [Outcome.CLIENT_STOP]


async def test_a_generation_is_handed_over(workers: Workers) -> None:
    """Another worker need not wait for the lease."""
    async with workers.start(2, lease_seconds=60) as (owner, other):
        running = await begin(owner)
        await running.say("a")
        assert await owner.directory.hand_over(running)
        assert owner.store.leases.get(GENERATION) is None
        found = await other.directory.take(GENERATION)
        assert found == TakenOver(REQUEST, times=0)
        assert await owner.directory.hand_over(running)  # it has no say any more
        owner.directory.leave(running)


async def test_a_worker_with_viewers_learns_at_once_what_is_handed_over(workers: Workers) -> None:
    async with workers.start(2, lease_seconds=60) as (owner, other):
        running = await begin(owner)
        audience = other.directory.audience(GENERATION)
        assert audience is not None
        audience.join()
        await running.viewers.is_now(1)
        assert await owner.directory.hand_over(running)
        with anyio.fail_after(10):
            assert await anext(other.directory.lapsed()) == GENERATION


async def test_what_another_worker_has_taken_need_not_be_handed_over(
    workers: Workers, valkey: RedisServer
) -> None:
    """Its owner learns that only now."""
    async with workers.start(2, lease_seconds=60) as (owner, other):
        running = await begin(owner)
        lapse(valkey, owner)
        assert await other.directory.take(GENERATION) is not None
        owner.log.append(GENERATION, Text("late"))
        assert await owner.directory.hand_over(running)
        assert running.stopped == [Outcome.UPSTREAM_LOST]


async def test_what_nobody_could_go_on_with_is_not_handed_over(workers: Workers) -> None:
    """Its request is too long to be stored."""
    async with workers.start(1, max_request_bytes=10) as (owner,):
        running = await begin(owner)
        assert not await owner.directory.hand_over(running)
        assert owner.store.leases.get(GENERATION) is not None
        assert not await owner.directory.hand_over(Running(owner, OTHER))


async def test_without_the_store_nothing_is_handed_over(
    workers: Workers, valkey: RedisServer
) -> None:
    async with redis_proxy(valkey) as proxy, workers.behind(proxy) as owner:
        running = await begin(owner)
        await proxy.refuse()
        assert not await owner.directory.hand_over(running)
        assert owner.store.leases.get(GENERATION) is not None


async def test_a_lost_generation_that_ends_late_does_not_leave_for_its_successor(
    workers: Workers,
) -> None:
    """A worker may take over again what it has lost, while the first task is still ending."""
    async with workers.start(1) as (owner,):
        first = await begin(owner)
        second = Running(owner)
        await owner.directory.enter(second)
        owner.directory.leave(first)
        assert [*owner.directory.running_here] == [second]


async def test_a_request_of_another_version_is_not_known(
    workers: Workers, valkey: RedisServer
) -> None:
    async with workers.start(2) as (owner, other):
        await begin(owner)
        valkey.command("SET", owner.store.keys.request(GENERATION), b"\x93\x01\x02\x03")
        await owner.kill()
        assert (await taken(other)).request is None


async def test_a_request_is_kept_until_the_end_is_stored(
    workers: Workers, valkey: RedisServer
) -> None:
    """Its worker may die before that."""
    async with workers.start(1) as (owner,):
        running = await begin(owner)
        owner.directory.leave(running)
        await owner.directory._requests._tidy()
        assert valkey.command("EXISTS", owner.store.keys.request(GENERATION))
        workers.flush(valkey)
        await owner.directory._beats.beat()  # what has left is stored again, but not its request
        await owner.directory._requests._put_again()
        assert not valkey.command("EXISTS", owner.store.keys.request(GENERATION))
        running.end()
        await running.wait_ended()
        await owner.directory._requests._tidy()
        assert not owner.directory._requests._ended


async def test_requests_are_kept_only_while_they_run(workers: Workers, valkey: RedisServer) -> None:
    async with workers.start(2) as (owner, other):
        running = await begin(owner)
        key = owner.store.keys.request(GENERATION)
        audience = other.directory.audience(GENERATION)
        assert audience is not None
        audience.join()
        await running.viewers.is_now(1)
        assert valkey.command("PTTL", key) > 0
        running.end()
        await running.wait_ended()
        owner.directory.leave(running)
        await owner.directory._requests._tidy()
        assert not valkey.command("EXISTS", key, owner.store.keys.viewers(GENERATION))
        assert not owner.directory._requests._ended


async def test_what_cannot_go_on_after_a_take_over_lapses_again(workers: Workers) -> None:
    """Its lease is not renewed, and its viewers there look elsewhere."""
    async with workers.start(3) as (owner, second, third):
        running = await begin(owner)
        await running.say("a")
        await owner.kill()
        await taken(second)
        await second.log.adopt(GENERATION)
        second.directory.abandon(GENERATION)
        second.directory.abandon(OTHER)
        assert second.store.leases.get(GENERATION) is None
        assert (await taken(third)).times == 2


async def test_reason_of_another_version_stops_an_owner(
    workers: Workers, valkey: RedisServer
) -> None:
    async with workers.start(1, lease_seconds=60) as (owner,):
        running = await begin(owner)
        valkey.command("HSET", owner.store.keys.meta(GENERATION), "x", "novel_reason")
        await owner.directory._beats.beat()
        assert running.stopped == [Outcome.CLIENT_STOP]


async def test_reason_of_another_version_is_taken_over(
    workers: Workers, valkey: RedisServer
) -> None:
    async with workers.start(2) as (owner, other):
        await begin(owner)
        await owner.kill()
        valkey.command("HSET", owner.store.keys.meta(GENERATION), "x", "novel_reason")
        assert (await taken(other)).stop is Outcome.CLIENT_STOP
