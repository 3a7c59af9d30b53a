"""Idempotency keys and the answers of chats are the same on all workers."""

import anyio
import anyio.lowlevel
import pytest
from directory_conformance import answer_of

from streamsvc.engine.directory.base import KeyUse
from support.redis_servers import RedisServer
from support.redis_workers import LEASE_SECONDS, Worker
from support.sharing_workers import Workers, begin


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
