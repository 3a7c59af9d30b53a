"""Workers share one directory: what one of them notes, the others see, and nobody waits for a dead one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import hypothesis
import hypothesis.strategies as st
import pytest
from directory_conformance import answer_of
from typing_extensions import override

from streamsvc.engine.directory import base
from streamsvc.engine.directory.base import KeyUse, RunningGeneration, TakenOver
from streamsvc.engine.directory.notes import Notes
from streamsvc.errors import StoreUnavailable
from streamsvc.eventlog.base import EPOCH_SEQS, LogTakenOver
from streamsvc.events import Done, Outcome, Start, Status, Text
from streamsvc.messages import GenerationRequest, ImagePart, Prompt, TextPart, UserMessage
from streamsvc.store.health import Trouble
from support.redis_proxy import RedisProxy, redis_proxy
from support.redis_servers import RedisServer
from support.redis_workers import LEASE_SECONDS, Worker, worker

GENERATION = "gen_" + "q" * 32
OTHER = "gen_" + "7" * 32

REQUEST = GenerationRequest(
    prompt=Prompt(
        messages=(UserMessage((TextPart("look"), ImagePart(url="https://example.com/a.png"))),),
        stop=("x",),
        extra_body={"a": [1, None]},
    ),
    provider="fake",
    metadata={"k": "v"},
)


class Audience:
    """Notes what happens in it.

    Attributes:
        moves: +1 for each viewer that has joined, -1 for each that has left.
    """

    def __init__(self) -> None:
        self.moves: list[int] = []
        self._moved = anyio.Event()

    @property
    def size(self) -> int:
        return sum(self.moves)

    def join(self) -> None:
        self._move(1)

    def leave(self) -> None:
        self._move(-1)

    def _move(self, by: int) -> None:
        self.moves.append(by)
        self._moved.set()
        self._moved = anyio.Event()

    async def is_now(self, *moves: int) -> None:
        """Wait for exactly these moves, within a bound."""
        with anyio.move_on_after(10):
            while self.moves != list(moves):
                await self._moved.wait()
        assert self.moves == list(moves)


@dataclass
class Running(RunningGeneration):
    """A generation that writes its `Done` when it is stopped.

    Attributes:
        worker: runs it.
        name: its id.
        viewers: its audience.
        stopped: the reasons of its stops.
        is_stopped: set at the first one.
    """

    worker: Worker
    name: str = GENERATION
    viewers: Audience = field(default_factory=Audience)
    stopped: list[Outcome] = field(default_factory=list)
    is_stopped: anyio.Event = field(default_factory=anyio.Event)

    @property
    @override
    def id(self) -> str:
        return self.name

    @property
    @override
    def request(self) -> GenerationRequest:
        return REQUEST

    @property
    @override
    def audience(self) -> Audience:
        return self.viewers

    @override
    def stop(self, outcome: Outcome) -> None:
        self.stopped.append(outcome)
        if outcome is not Outcome.UPSTREAM_LOST:
            self.end(outcome)
        self.is_stopped.set()

    def end(self, outcome: Outcome = Outcome.COMPLETED) -> None:
        self.worker.log.append(
            self.name,
            Done(
                status=Status.COMPLETED,
                finish_reason="stop",
                outcome=outcome,
                provider="fake",
                model="words",
            ),
        )

    @override
    async def wait_ended(self) -> None:
        await self.worker.log.flush(self.name)

    async def say(self, *words: str) -> None:
        """Append words, and wait until they are stored."""
        for word in words:
            self.worker.log.append(self.name, Text(word))
        await self.worker.log.flush(self.name)


async def begin(one: Worker, name: str = GENERATION) -> Running:
    """Run a generation on a worker."""
    generation = Running(one, name)
    await one.directory.enter(generation)
    one.log.append(name, Start(generation=name, provider="fake", model="words", created=1))
    await one.log.flush(name)
    return generation


async def taken(by: Worker, name: str = GENERATION) -> TakenOver:
    """Wait until a worker has taken over a generation."""
    with anyio.fail_after(10):
        while (found := await by.directory.take(name)) is None:  # noqa: ASYNC110
            await anyio.sleep(0.01)  # its lease lasts: nothing tells when it lapses
    return found


def new_prefix() -> str:
    """Return a prefix that no other example uses."""
    return f"example{next(_PREFIXES)}"


_PREFIXES = count()


def lapse(server: RedisServer, owner: Worker) -> None:
    """Let the lease of a worker's generation lapse, as if the worker had stalled."""
    server.command("HSET", owner.store.keys.meta(GENERATION), "d", 0)


@pytest.fixture
def workers(valkey: RedisServer, key_prefix: str) -> "Workers":
    return Workers(valkey.url, key_prefix)


@dataclass
class Workers:
    """Starts workers that share keys."""

    url: str
    prefix: str

    @asynccontextmanager
    async def start(self, number: int, **log: Any) -> AsyncIterator[list[Worker]]:
        """Run some workers."""
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(worker(self.url, self.prefix, **log))
                for _ in range(number)
            ]

    def flush(self, server: RedisServer) -> None:
        """Delete all keys of these workers."""
        for key in server.command("KEYS", f"{self.prefix}:*"):
            server.command("DEL", key)

    def behind(self, proxy: RedisProxy, **log: Any) -> Any:
        """Return a worker whose way to the store is a proxy."""
        return worker(proxy.url, self.prefix, **log)


# ---- Stops


@pytest.mark.promise("cancel:stop")
async def test_a_stop_from_another_worker_ends_a_generation(workers: Workers) -> None:
    """It is over when the stop returns, long before the next beat."""
    async with workers.start(2, lease_seconds=60) as (owner, other):
        running = await begin(owner)
        with anyio.fail_after(5):
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
        await anyio.sleep(0.1)
        assert not other.directory._watching._elsewhere
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


# ---- The worker that runs a generation dies, stalls, or leaves


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


# ---- Idempotency keys and chats


@pytest.mark.promise("resume:never-regenerate")
async def test_one_key_starts_one_generation_on_all_workers(workers: Workers) -> None:
    async with workers.start(3) as all_workers, anyio.create_task_group() as tasks:
        seen: list[KeyUse | None] = []

        async def use(one: Worker, name: str) -> None:
            async with one.directory.claim("k") as claim:
                seen.append(claim.use)
                if claim.use is None:
                    await begin(one, name)
                    claim.use = KeyUse(b"print", name)

        for at, one in enumerate((*all_workers, *all_workers)):
            tasks.start_soon(use, one, f"gen_{at}")
    first, *others = seen
    assert first is None
    assert len(others) == 5
    assert len(set(others)) == 1
    assert None not in others


async def test_a_key_of_a_dead_worker_is_free_after_a_lease(workers: Workers) -> None:
    async with workers.start(2) as (dead, other), dead.directory.claim("k"):
        await anyio.sleep(2 * LEASE_SECONDS)  # it is prolonged while its worker lives
        with anyio.move_on_after(0.05):
            async with other.directory.claim("k"):
                raise AssertionError("two hold one key")
        await dead.kill()
        with anyio.fail_after(10):
            async with other.directory.claim("k") as claim:
                claim.use = KeyUse(b"print", "gen_x")


async def test_the_answer_of_a_chat_is_known_everywhere(
    workers: Workers, valkey: RedisServer
) -> None:
    async with workers.start(2) as (one, other):
        first, second = answer_of("gen_a"), answer_of("gen_b", grace_seconds=30)
        assert await one.directory.put_answer("chat", first) is None
        assert await other.directory.answer("chat") == first
        assert await other.directory.put_answer("chat", second) == "gen_a"
        one.directory.mark_sent("chat", first)
        one.directory.mark_sent("chat", second)
        found = await one.directory.answer("chat")
        assert found is not None
        assert found.was_sent
        found = await other.directory.answer("chat")
        assert found is not None
        assert found.was_sent
        assert 0 < valkey.command("PTTL", one.store.keys.chat("chat")) <= 30_000
        assert await other.directory.drop_answer("chat") == "gen_b"
        assert await one.directory.answer("chat") is None


# ---- The store is away


async def test_new_generations_are_refused_without_the_store(
    workers: Workers, valkey: RedisServer
) -> None:
    async with redis_proxy(valkey) as proxy, workers.behind(proxy) as one:
        await proxy.refuse()
        for _ in range(2):
            generation = Running(one)
            with pytest.raises(StoreUnavailable):
                await one.directory.enter(generation)
            one.directory.leave(generation)
        with pytest.raises(StoreUnavailable):
            async with one.directory.claim("k"):
                raise AssertionError
        with pytest.raises(StoreUnavailable):
            await one.directory.answer("chat")
        with pytest.raises(StoreUnavailable):
            await one.directory.drop_answer("chat")
        with pytest.raises(StoreUnavailable):
            await one.directory.stop(GENERATION, Outcome.CLIENT_STOP)


async def test_the_answer_that_runs_here_is_known_without_the_store(
    workers: Workers, valkey: RedisServer
) -> None:
    """A page that has lost its connection finds it, and can stop it."""
    async with redis_proxy(valkey) as proxy, workers.behind(proxy) as one:
        running = await begin(one)
        answer = answer_of(GENERATION)
        await one.directory.put_answer("chat", answer)
        await proxy.refuse()
        assert await one.directory.answer("chat") == answer
        assert await one.directory.drop_answer("chat") == GENERATION
        one.directory.leave(running)
        with pytest.raises(StoreUnavailable):
            await one.directory.answer("chat")


async def test_a_chat_is_known_without_the_store_until_its_latest_answer_ends(
    workers: Workers, valkey: RedisServer
) -> None:
    async with redis_proxy(valkey) as proxy, workers.behind(proxy) as one:
        first, second = await begin(one), await begin(one, OTHER)
        await one.directory.put_answer("chat", answer_of(GENERATION))
        await one.directory.put_answer("chat", answer_of(OTHER))
        one.directory.leave(first)
        await proxy.refuse()
        found = await one.directory.answer("chat")
        assert found is not None
        assert found.generation == OTHER
        one.directory.leave(second)
        with pytest.raises(StoreUnavailable):
            await one.directory.answer("chat")


async def test_an_answer_of_an_outage_can_be_dropped_after_it(
    workers: Workers, valkey: RedisServer
) -> None:
    """Even before it has been stored; and a later one of its chat replaces it."""
    async with redis_proxy(valkey) as proxy, workers.behind(proxy, on_outage="local") as one:
        await one.directory.put_answer("chat", answer_of("gen_a"))
        await one.directory.put_answer("other", answer_of("gen_a"))
        await proxy.refuse()
        await one.directory.put_answer("chat", answer_of("gen_b"))
        await one.directory.put_answer("other", answer_of("gen_b"))
        late = one.directory._chats._unstored.get("chat")
        await proxy.accept()
        with anyio.fail_after(10):
            await one.store.health.wait_usable()
        assert await one.directory.drop_answer("chat") == "gen_b"
        assert await one.directory.put_answer("other", answer_of("gen_c")) == "gen_b"
        assert await one.directory.answer("chat") is None
        assert late is not None
        await one.directory._chats._store_later("chat", late)  # it was about to be stored
        assert await one.directory.answer("chat") is None


async def test_what_ends_in_an_outage_is_deleted_after_it(
    workers: Workers, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamsvc.engine.directory.requests.PAUSE_SECONDS", 0.01)
    async with redis_proxy(valkey) as proxy, workers.behind(proxy) as one:
        running = await begin(one)
        key = one.store.keys.request(GENERATION)
        assert valkey.command("EXISTS", key)
        await proxy.refuse()
        running.end()
        await running.wait_ended()
        one.directory.leave(running)
        await anyio.sleep(0.05)
        await proxy.accept()
        with anyio.fail_after(10):
            while valkey.command("EXISTS", key):  # noqa: ASYNC110
                await anyio.sleep(0.01)


async def test_what_could_not_be_stored_is_stored_later(
    workers: Workers, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `on_outage = "local"`, a service without its store works like one process."""
    monkeypatch.setattr("streamsvc.engine.directory.claims.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("streamsvc.engine.directory.chats.RETRY_SECONDS", 0.01)
    async with (
        redis_proxy(valkey) as proxy,
        workers.behind(proxy, on_outage="local") as one,
        workers.start(1) as (other,),
    ):
        await proxy.refuse()
        async with one.directory.claim("k") as claim:
            await begin(one)
            claim.use = KeyUse(b"print", GENERATION)
        async with one.directory.claim("k") as claim:
            assert claim.use == KeyUse(b"print", GENERATION)
        earlier, answer = answer_of(OTHER), answer_of(GENERATION)
        assert await one.directory.put_answer("chat", earlier) is None
        assert await one.directory.put_answer("chat", answer) == OTHER
        one.directory.mark_sent("chat", earlier)
        one.directory.mark_sent("chat", answer)
        await proxy.accept()
        with anyio.fail_after(10):
            await one.store.health.wait_usable()
            while [*one.directory._claims._unstored, *one.directory._chats._unstored]:  # noqa: ASYNC110
                await anyio.sleep(0.01)  # nothing tells when they are stored
        async with other.directory.claim("k") as claim:
            assert claim.use == KeyUse(b"print", GENERATION)
        found = await one.directory.answer("chat")
        assert found is not None
        assert (found.generation, found.was_sent) == (GENERATION, True)
        assert await other.directory.answer("chat") == found


async def test_who_came_and_left_during_an_outage_is_noticed_after_it(
    workers: Workers, valkey: RedisServer
) -> None:
    """So is whoever came before it and left during it."""
    async with (
        workers.start(1, lease_seconds=60) as (owner,),
        redis_proxy(valkey) as proxy,
        workers.behind(proxy, lease_seconds=60) as other,
    ):
        running = await begin(owner)
        audience = other.directory.audience(GENERATION)
        assert audience is not None
        audience.join()
        await running.viewers.is_now(1)
        await proxy.refuse()
        audience.leave()
        with anyio.fail_after(10):
            while other.store.health.trouble is None:
                await other.store.health.wait_changed()
        await proxy.accept()
        await running.viewers.is_now(1, -1)


async def test_an_answer_that_was_sent_during_an_outage_is_marked_after_it(
    workers: Workers, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamsvc.engine.directory.chats.RETRY_SECONDS", 0.01)
    async with (
        redis_proxy(valkey) as proxy,
        workers.behind(proxy) as one,
        workers.start(1) as (other,),
    ):
        answer = answer_of(GENERATION)
        await one.directory.put_answer("chat", answer)
        await proxy.refuse()
        one.directory.mark_sent("chat", answer)
        with anyio.fail_after(10):
            while one.store.health.trouble is None:
                await one.store.health.wait_changed()
            await proxy.accept()
            while not (found := await other.directory.answer("chat")) or not found.was_sent:  # noqa: ASYNC110
                await anyio.sleep(0.01)


async def test_a_key_of_an_outage_is_free_when_its_log_is_dropped(
    workers: Workers, valkey: RedisServer
) -> None:
    async with redis_proxy(valkey) as proxy, workers.behind(proxy, on_outage="local") as one:
        await proxy.refuse()
        async with one.directory.claim("k") as claim:
            claim.use = KeyUse(b"print", GENERATION)
        async with one.directory.claim("k") as claim:
            assert claim.use is None
            running = await begin(one)
            running.end()
            claim.use = KeyUse(b"other", GENERATION)
        async with one.directory.claim("k") as claim:
            assert claim.use == KeyUse(b"other", GENERATION)


async def test_a_claim_does_not_hide_what_failed_within(workers: Workers) -> None:
    async with workers.start(1) as (one,):

        async def fail() -> None:
            async with one.directory.claim("k") as claim:
                claim.use = KeyUse(b"print", GENERATION)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        async with one.directory.claim("k") as claim:
            assert claim.use is None


def test_notes_forget_the_oldest() -> None:
    notes: Notes[str] = Notes(2)
    for name in ("a", "b", "a", "c"):
        notes.put(name, name)
    assert [*notes] == [("a", "a"), ("c", "c")]
    assert notes.pop("a", "other") is None
    assert notes.pop("a") == "a"
