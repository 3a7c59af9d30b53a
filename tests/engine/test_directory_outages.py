"""What a worker knows of the directory while the store is away, and what the others learn after that."""

import anyio
import anyio.lowlevel
import pytest
from directory_conformance import answer_of

from streamsvc.engine.directory.base import KeyUse
from streamsvc.engine.directory.notes import Notes
from streamsvc.errors import StoreUnavailable
from streamsvc.events import Outcome
from support.redis_proxy import redis_proxy
from support.redis_servers import RedisServer
from support.sharing_workers import (
    GENERATION,
    OTHER,
    Running,
    Workers,
    begin,
)


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
        late = await one.directory.answer("chat")
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
            claims, chats = one.directory._claims, one.directory._chats
            # A key stands for an answer only once the answer's log is stored, too.
            while [*claims._unstored, *chats._unstored] or not await claims._is_stored(GENERATION):  # noqa: ASYNC110
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
