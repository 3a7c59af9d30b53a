"""An idempotency key starts one generation, and leads back to it for as long as its log is kept."""

import anyio
import pytest

from streamsvc.engine.directory.memory import KEYS_AT_A_TIME
from streamsvc.engine.ids import scoped
from streamsvc.errors import InvalidField, Overloaded
from streamsvc.events import Text
from streamsvc.messages import GenerationRequest
from support.doubles import HOLD, PROMPT, ScriptedProvider, virtual_backends
from support.supervisors import KEEP, OTHER_REQUEST, REQUEST, STOP, Bench, supervising

anyio_backend = virtual_backends()


@pytest.mark.promise("resume:never-regenerate")
async def test_a_key_returns_its_generation_while_the_log_is_kept() -> None:
    provider = ScriptedProvider(1.0, Text("a"), STOP)
    async with Bench({"fake": provider}) as bench:
        first = await bench.create(REQUEST, key="k")
        assert await bench.create(REQUEST, key="k") == first
        await bench.done(first)
        await anyio.wait_all_tasks_blocked()
        assert await bench.create(REQUEST, key="k") == first
        assert provider.opened == 1


async def test_requests_without_a_common_key_are_separate() -> None:
    async with supervising(HOLD) as bench:
        keys = [None, None, "", "", "a", "b"]
        assert len({await bench.create(REQUEST, key=key) for key in keys}) == 6


@pytest.mark.promise("resume:never-regenerate")
async def test_a_known_key_attaches_even_at_the_limit_and_in_a_drain() -> None:
    """Attaching starts nothing, so no limit applies."""
    async with supervising(HOLD, room=1) as bench, anyio.create_task_group() as tasks:
        first = await bench.create(REQUEST, key="k")
        assert await bench.create(REQUEST, key="k") == first
        tasks.start_soon(bench.drain, 5.0)
        await anyio.wait_all_tasks_blocked()
        assert await bench.create(REQUEST, key="k") == first


@pytest.mark.promise("input:clear-error")
async def test_a_used_key_with_another_request_is_refused() -> None:
    """Every parameter counts, and the first generation continues undisturbed."""
    async with supervising(HOLD) as bench:
        first = await bench.create(REQUEST, key="k")
        others = [
            OTHER_REQUEST,
            GenerationRequest(prompt=PROMPT, provider="fake", grace_seconds=1),
            GenerationRequest(prompt=PROMPT, provider="fake", metadata={"a": "b"}),
        ]
        for order in others:
            with pytest.raises(InvalidField, match="used with a different request") as caught:
                await bench.create(order, key="k")
            assert caught.value.field == "Idempotency-Key"
        assert bench.running == 1
        assert await bench.create(REQUEST, key="k") == first


async def test_a_key_is_free_once_its_generation_is_dropped() -> None:
    async with supervising(Text("a"), STOP) as bench:
        first = await bench.create(REQUEST, key="k")
        await anyio.sleep(KEEP + 1)
        assert await bench.create(OTHER_REQUEST, key="k") != first


async def test_a_key_becomes_free_while_an_older_one_is_still_in_use() -> None:
    """An answer that takes an hour does not block newer keys."""
    providers = {"slow": ScriptedProvider(HOLD), "fake": ScriptedProvider(Text("a"), STOP)}
    async with Bench(providers) as bench, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.log.sweep)
        slow = await bench.create(GenerationRequest(prompt=PROMPT, provider="slow"), key="older")
        with bench.viewer(slow):
            first = await bench.create(REQUEST, key="k")
            await anyio.sleep(KEEP + 1)
            assert await bench.create(OTHER_REQUEST, key="k") != first
        tasks.cancel_scope.cancel()


@pytest.mark.promise("cancel:clean")
async def test_keys_of_dropped_generations_are_removed_in_small_steps() -> None:
    """Keys after one that is still in use go, too, and no request waits for many removals."""
    providers = {"slow": ScriptedProvider(HOLD), "fake": ScriptedProvider(Text("a"), STOP)}
    async with Bench(providers, room=200) as bench, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.log.sweep)
        slow = await bench.create(GenerationRequest(prompt=PROMPT, provider="slow"), key="slow")
        with bench.viewer(slow):
            for number in range(100):
                await bench.create(REQUEST, key=f"old{number}")
            assert bench.directory.keys == 101
            await anyio.sleep(KEEP + 1)
            for number in range(20):
                before = bench.directory.keys
                await bench.create(REQUEST, key=f"new{number}")
                assert before - bench.directory.keys < KEYS_AT_A_TIME
            assert bench.directory._keys.keys() == {
                scoped("", "slow"),
                *(scoped("", f"new{number}") for number in range(20)),
            }
            assert (
                await bench.create(GenerationRequest(prompt=PROMPT, provider="slow"), key="slow")
                == slow
            )
        tasks.cancel_scope.cancel()


async def test_the_key_of_a_refused_request_stays_free() -> None:
    async with supervising(HOLD, room=1) as bench:
        first = await bench.create(REQUEST)
        with pytest.raises(Overloaded):
            await bench.create(REQUEST, key="k")
        await bench.stop(first)
        await anyio.wait_all_tasks_blocked()
        await bench.create(OTHER_REQUEST, key="k")


@pytest.mark.promise("resume:never-regenerate")
async def test_concurrent_requests_with_one_key_share_a_generation() -> None:
    provider = ScriptedProvider(HOLD)
    async with Bench({"fake": provider}) as bench:
        ids: list[str] = []

        async def create() -> None:
            ids.append(await bench.create(REQUEST, key="k"))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(create)
        await anyio.wait_all_tasks_blocked()
        assert len(ids) == 5
        assert len(set(ids)) == provider.opened == 1
