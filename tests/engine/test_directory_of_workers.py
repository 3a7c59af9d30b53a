"""Stops and viewers reach a generation from any worker."""

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import hypothesis
import hypothesis.strategies as st
import pytest

from streamsvc.engine.directory import base
from streamsvc.errors import StoreUnavailable
from streamsvc.eventlog.base import BEFORE_FIRST
from streamsvc.events import Outcome
from streamsvc.store.client import Argument
from streamsvc.store.scripts import Script
from support.redis_servers import RedisServer
from support.redis_workers import LEASE_SECONDS
from support.sharing_workers import (
    GENERATION,
    OTHER,
    REQUEST,
    Workers,
    begin,
    new_prefix,
    taken,
)

# ---- Stops


@pytest.mark.promise("cancel:stop")
async def test_a_stop_from_another_worker_ends_a_generation(workers: Workers) -> None:
    """It is over when the stop returns, long before the next beat."""
    async with workers.start(2, lease_seconds=60) as (owner, other):
        running = await begin(owner)
        with anyio.fail_after(10):
            assert await other.directory.stop(GENERATION, Outcome.CLIENT_STOP)
        assert running.stopped == [Outcome.CLIENT_STOP]
        owner.directory.leave(running)
        assert not await other.directory.stop(GENERATION, Outcome.CLIENT_STOP)
        assert not await other.directory.stop(OTHER, Outcome.CLIENT_STOP)


@pytest.mark.promise("cancel:stop")
async def test_a_stop_whose_client_leaves_still_stops(workers: Workers) -> None:
    async with workers.start(2) as (owner, other), anyio.create_task_group() as tasks:
        running = await begin(owner)
        tasks.start_soon(other.directory.stop, GENERATION, Outcome.CLIENT_STOP)
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), anyio.fail_after(10):
            await running.is_stopped.wait()


async def test_a_stop_whose_message_is_lost_arrives_with_the_beat(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(*_: object) -> None:
        raise StoreUnavailable("unreachable")

    monkeypatch.setattr("streamsvc.engine.directory.redis.tell", lose)
    async with workers.start(2) as (owner, other):
        running = await begin(owner)
        with anyio.fail_after(10):
            assert await other.directory.stop(GENERATION, Outcome.CLIENT_STOP)
        assert Outcome.CLIENT_STOP in running.stopped


async def test_a_stop_of_a_lapsed_generation_waits_for_who_takes_it_over(workers: Workers) -> None:
    """The stop has the generation taken over, with its reason."""
    async with workers.start(3) as (owner, taker, other):
        await begin(owner)
        await owner.kill()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other.directory.stop, GENERATION, Outcome.CLIENT_STOP)
            with anyio.fail_after(10):
                assert await anext(other.directory.lapsed()) == GENERATION
            found = await taken(taker)
            assert found.stop is Outcome.CLIENT_STOP
            tasks.cancel_scope.cancel()


async def test_a_stop_does_not_wait_forever_for_a_dead_worker(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "STOP_SECONDS", 0.05)
    async with workers.start(2) as (owner, other):
        await begin(owner)
        await owner.kill()
        with anyio.fail_after(10):
            assert await other.directory.stop(GENERATION, Outcome.CLIENT_STOP)


# ---- Viewers


@pytest.mark.promise("cancel:disconnect")
async def test_viewers_on_other_workers_count_as_one(workers: Workers, valkey: RedisServer) -> None:
    """The owner learns at once when the first one comes and the last one leaves."""
    async with workers.start(3, lease_seconds=60) as (owner, second, third):
        running = await begin(owner)
        audiences = [one.directory.audience(GENERATION) for one in (second, second, third)]
        first, *others = [it for it in audiences if it is not None]
        first.join()
        await running.viewers.is_now(1)
        for audience in others:
            audience.join()
        with anyio.fail_after(10):
            while valkey.command("HLEN", owner.store.keys.viewers(GENERATION)) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.001)  # the audience does not change: nothing else tells
        first.leave()
        others[0].leave()
        await owner.directory._beats.beat()
        await running.viewers.is_now(1)
        others[1].leave()
        await running.viewers.is_now(1, -1)


@pytest.mark.promise("cancel:disconnect")
async def test_a_viewer_that_comes_and_leaves_at_once_is_noticed(workers: Workers) -> None:
    """Otherwise a generation without grace would go on for nobody."""
    async with workers.start(2, lease_seconds=60) as (owner, other):
        running = await begin(owner)
        audience = other.directory.audience(GENERATION)
        assert audience is not None
        audience.join()
        audience.leave()
        await running.viewers.is_now(1, -1)
        audience.join()
        await running.viewers.is_now(1, -1, 1)
        audience.leave()
        audience.join()
        audience.leave()
        await running.viewers.is_now(1, -1, 1, -1)


async def test_viewers_on_the_owners_worker_count_at_once(workers: Workers) -> None:
    async with workers.start(1) as (owner,):
        running = await begin(owner)
        audience = owner.directory.audience(GENERATION)
        assert audience is not None
        audience.join()
        audience.join()
        audience.leave()
        assert running.viewers.moves == [1, 1, -1]


@pytest.mark.promise("drain:no-loss")
async def test_viewers_that_a_restart_cuts_have_time_to_come_back(workers: Workers) -> None:
    """Without grace, the answer would stop at once. They count until their entry lapses, as those of a dead worker."""
    async with workers.start(2, lease_seconds=60) as (owner, restarting):
        running, other = await begin(owner), await begin(owner, OTHER)
        audiences = [restarting.directory.audience(name) for name in (GENERATION, OTHER)]
        first, second = [it for it in audiences if it is not None]
        first.join()
        await running.viewers.is_now(1)
        restarting.directory.retire()
        first.leave()
        second.join()
        await other.viewers.is_now(1)  # so everything before that has been noted
        await owner.directory._beats.beat()
        assert running.viewers.moves == [1]


@pytest.mark.promise("cancel:disconnect")
async def test_viewers_of_a_dead_worker_leave_after_a_lease(workers: Workers) -> None:
    async with workers.start(2) as (owner, other):
        running = await begin(owner)
        audience = other.directory.audience(GENERATION)
        assert audience is not None
        audience.join()
        await running.viewers.is_now(1)
        await anyio.sleep(2 * LEASE_SECONDS)
        await running.viewers.is_now(1)
        await other.kill()
        await running.viewers.is_now(1, -1)


async def test_viewers_of_an_ended_generation_cost_no_beats(
    workers: Workers, valkey: RedisServer
) -> None:
    async with workers.start(2, lease_seconds=0.1) as (owner, other):
        running = await begin(owner)
        running.end()
        await running.wait_ended()
        owner.directory.leave(running)
        audience = other.directory.audience(GENERATION)
        assert audience is not None
        audience.join()
        with anyio.fail_after(10):
            while other.directory._watching._elsewhere:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert not valkey.command("EXISTS", other.store.keys.viewers(GENERATION))
        audience.leave()
        assert not other.directory._watching._visits


async def test_a_flushed_server_does_not_send_viewers_away(
    workers: Workers, valkey: RedisServer
) -> None:
    """Their entries come back with the next beats, and the owner waits for that."""
    async with workers.start(2) as (owner, other):
        running = await begin(owner)
        audience = other.directory.audience(GENERATION)
        assert audience is not None
        audience.join()
        await running.viewers.is_now(1)
        workers.flush(valkey)
        await owner.directory._beats.beat()
        await anyio.sleep(2 * LEASE_SECONDS)
        await running.viewers.is_now(1)
        audience.leave()
        await running.viewers.is_now(1, -1)


async def test_a_flushed_server_gets_everything_again(
    workers: Workers, valkey: RedisServer
) -> None:
    """The beat notices, even if the provider says nothing; the generation can still be taken over."""
    async with workers.start(2) as (owner, other):
        running = await begin(owner)
        await running.say("a")
        workers.flush(valkey)
        with anyio.fail_after(10):
            while not valkey.command("EXISTS", owner.store.keys.request(GENERATION)):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert len(await other.log.read(GENERATION, after=-1)) == 2
        await owner.kill()
        assert (await taken(other)).request == REQUEST


async def test_what_is_stored_first_during_a_beat_is_not_taken_for_lost(
    workers: Workers, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store may answer before it has the first record, and the beat may read that after it."""
    async with workers.start(1, lease_seconds=60) as (owner,):
        await begin(owner)
        beats = owner.directory._beats
        lease = beats._store.leases.get(GENERATION)
        assert lease
        workers.flush(valkey)
        lease.stored = BEFORE_FIRST
        run = beats._store.run

        async def run_slowly(
            script: Script, names: Sequence[bytes], arguments: Sequence[Argument]
        ) -> list[Any]:
            reply: list[Any] = await run(script, names, arguments)
            lease.stored = 3
            return reply

        monkeypatch.setattr(beats._store, "run", run_slowly)
        await beats.beat()
        assert lease.stored == 3


@hypothesis.settings(max_examples=8, deadline=None)
@hypothesis.given(moves=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=12))
@pytest.mark.promise("cancel:disconnect")
async def test_the_owner_knows_in_the_end_who_watches(
    valkey: RedisServer, moves: list[tuple[int, bool]]
) -> None:
    """Whatever order viewers come and leave in, and whether or not there is time in between."""
    async with Workers(valkey.url, new_prefix()).start(3, lease_seconds=60) as all_workers:
        running = await begin(all_workers[0])
        sizes = [0, 0, 0]
        for at, is_quick in moves:
            audience = all_workers[at].directory.audience(GENERATION)
            assert audience is not None
            if sizes[at] and not is_quick:
                audience.leave()
                sizes[at] -= 1
            else:
                audience.join()
                sizes[at] += 1
            if not is_quick:
                await anyio.sleep(0.001)
        expected = sizes[0] + (1 if sizes[1] + sizes[2] else 0)
        for one in all_workers:
            await one.directory._watching._write(one.directory._watching._visits)
        await all_workers[0].directory._beats.beat()
        assert running.viewers.size == expected, running.viewers.moves
