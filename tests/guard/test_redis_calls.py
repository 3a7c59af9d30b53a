"""The limiter's calls to Redis: what shares one, and that nothing ends twice, is lost, or waits for ever."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from streamsvc.errors import RateLimited, StoreUnavailable
from streamsvc.guard.limits import calls
from streamsvc.principals import Principal
from streamsvc.store import client
from streamsvc.store.client import Store
from streamsvc.store.scripts import ADMISSION, Script
from support.limiters import Process, in_redis, principal
from support.redis_proxy import redis_proxy
from support.redis_servers import RedisServer

pytestmark = pytest.mark.promise("door:bounded")

NEVER = 1000.0


@dataclass
class Calls:
    """The calls that were made.

    Attributes:
        sizes: how many keys each had.
        times: how often each is made; the reply to the last time counts, as if the others had been lost.
    """

    sizes: list[int] = field(default_factory=list)
    times: int = 1


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Calls:
    made, run = Calls(), Store.run_packed

    async def counted(
        store: Store, script: Script, keys: Sequence[bytes], *rest: Any, count: int, **kept: Any
    ) -> Any:
        if script is ADMISSION:
            made.sizes.append(count)
        for _ in range(made.times - 1):
            await run(store, script, keys, *rest, count=count, **kept)
        return await run(store, script, keys, *rest, count=count, **kept)

    monkeypatch.setattr(Store, "run_packed", counted)
    return made


async def test_an_end_is_carried_by_the_next_admission(
    valkey: RedisServer, key_prefix: str, made: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "END_SECONDS", NEVER)
    caller = principal(max_generations=1, tokens_per_minute=100)
    async with in_redis(valkey.url, key_prefix) as process:
        for _ in range(5):
            process.limiter.settle(await process.admit(caller, tokens=100), 0)
    assert made.sizes == [4, 7, 7, 7, 7]


async def test_ends_go_together_when_nothing_is_admitted(
    valkey: RedisServer, key_prefix: str, made: Calls
) -> None:
    caller = principal(max_generations=3)
    async with (
        in_redis(valkey.url, key_prefix) as one,
        in_redis(valkey.url, key_prefix) as other,
    ):
        generations = [await one.admit(caller) for _ in range(3)]
        await other.refusal(caller)
        made.sizes.clear()
        for generation in generations:
            one.limiter.settle(generation, 5)
        with anyio.fail_after(10):
            while await other.admitted(principal(max_generations=1), most=1) == 0:  # noqa: ASYNC110
                await anyio.sleep(0.01)  # what has ended tells no other process
        assert 10 in made.sizes


async def test_simultaneous_requests_share_a_call(
    valkey: RedisServer, key_prefix: str, made: Calls
) -> None:
    caller = principal(requests_per_minute=30, max_generations=100)
    admitted: list[str] = []

    async def ask(process: Process) -> None:
        with suppress(RateLimited):
            admitted.append(await process.admit(caller))

    async with in_redis(valkey.url, key_prefix) as process:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(ask, process)
        assert len(admitted) == 30
        assert len(made.sizes) <= 2


async def test_more_than_a_call_holds_takes_several(
    valkey: RedisServer, key_prefix: str, made: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that has ended is free before the next one is admitted."""
    monkeypatch.setattr(calls, "CALL_ADMISSIONS", 10)
    monkeypatch.setattr(calls, "END_SECONDS", NEVER)
    caller = principal(max_generations=25)
    async with in_redis(valkey.url, key_prefix) as process:
        for _ in range(2):
            generations: list[str] = []

            async def ask(generations: list[str] = generations) -> None:
                generations.append(await process.admit(caller))

            async with anyio.create_task_group() as tasks:
                for _ in range(25):
                    tasks.start_soon(ask)
            await process.refusal(caller)
            for generation in generations:
                process.limiter.settle(generation, 5)
        assert max(made.sizes) <= 1 + 3 * 20


async def test_a_lost_reply_neither_admits_nor_ends_twice(
    valkey: RedisServer, key_prefix: str, made: Calls
) -> None:
    made.times = 2
    caller = principal(tokens_per_minute=100, requests_per_minute=5, max_generations=4)
    async with in_redis(valkey.url, key_prefix) as process:
        one, other = await process.admit(caller, tokens=40), await process.admit(caller, tokens=40)
        process.limiter.settle(one, 10)
        process.limiter.cancel(other)
        await process.settled()
        assert await process.admitted(caller, tokens=29) == 3
        assert await process.admitted(caller, tokens=3) == 1


async def test_nothing_is_left_unended_when_a_process_finishes(
    valkey: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CALL_ADMISSIONS", 10)
    monkeypatch.setattr(calls, "END_SECONDS", NEVER)
    caller = principal(max_generations=35, max_viewers=35)
    async with in_redis(valkey.url, key_prefix) as process:
        for _ in range(35):
            seat = await process.limiter.viewer(caller)
            assert seat
            process.limiter.settle(await process.admit(caller), 5)
            seat.leave()
        await process.settled()
        assert not valkey.command("KEYS", f"{key_prefix}:*:admission:*")


async def test_a_request_that_is_cancelled_holds_nothing(
    valkey: RedisServer, key_prefix: str, made: Calls
) -> None:
    """Neither one whose call is under way, nor one that waits for the next call."""
    caller = principal(max_generations=2)
    async with (
        redis_proxy(valkey) as proxy,
        in_redis(proxy.url, key_prefix) as process,
        in_redis(valkey.url, key_prefix) as other,
    ):
        process.limiter.cancel(await process.admit(caller))
        await process.settled()
        made.sizes.clear()
        proxy.pause()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(process.admit, caller)
            while not made.sizes:
                await anyio.lowlevel.checkpoint()
            tasks.start_soon(process.admit, caller)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        proxy.resume()
        await process.settled()
        assert made.sizes == [4, 4]  # the second call is the end of the first one
        assert await other.admitted(caller, most=3) == 2


async def test_all_who_wait_learn_that_the_store_is_lost(
    valkey: RedisServer, key_prefix: str, made: Calls
) -> None:
    caller = principal(requests_per_minute=10)
    refused: list[StoreUnavailable] = []

    async def ask(process: Process) -> None:
        try:
            await process.admit(caller)
        except StoreUnavailable as exc:
            refused.append(exc)

    async with (
        redis_proxy(valkey) as proxy,
        in_redis(proxy.url, key_prefix) as process,
        in_redis(valkey.url, key_prefix) as other,
    ):
        await process.admit(caller)
        made.sizes.clear()
        proxy.pause()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, process)
            while not made.sizes:
                await anyio.lowlevel.checkpoint()
            tasks.start_soon(ask, process)  # waits for the next call
            await anyio.wait_all_tasks_blocked()
            proxy.resume()
            await proxy.refuse()
        assert [exc.log_details for exc in refused] == [{"reason": "unreachable"}] * 2
        await proxy.accept()
        with anyio.fail_after(10):
            while len(valkey.command("KEYS", f"{key_prefix}:*:admission:*")) > 1:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        assert await other.admitted(caller) == 9


async def test_nobody_waits_for_a_process_that_ends(
    valkey: RedisServer, key_prefix: str, made: Calls
) -> None:
    caller = principal(requests_per_minute=10)

    async def is_refused(process: Process) -> None:
        with pytest.raises(StoreUnavailable):
            await process.admit(caller)

    async with redis_proxy(valkey) as proxy, in_redis(proxy.url, key_prefix) as process:
        await process.admit(caller)
        made.sizes.clear()
        proxy.pause()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(is_refused, process)
                while not made.sizes:
                    await anyio.lowlevel.checkpoint()
                process.kill()
            await is_refused(process)
        proxy.resume()


async def test_calls_share_a_connection_until_it_is_closed(
    valkey: RedisServer, key_prefix: str
) -> None:
    """A call whose connection the server has closed meanwhile is made again over another one."""
    caller = principal(requests_per_minute=10)
    async with redis_proxy(valkey) as proxy, in_redis(proxy.url, key_prefix) as process:
        for _ in range(4):
            await process.admit(caller)
        assert proxy.accepted == 1
        await proxy.cut()
        for _ in range(4):
            await process.admit(caller)
        assert proxy.accepted == 2
        assert await process.admitted(caller) == 2


async def test_a_late_reply_answers_no_other_call(
    valkey: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PROBE_SECONDS", 0.01)
    caller = principal(requests_per_minute=1)
    async with (
        redis_proxy(valkey) as proxy,
        in_redis(proxy.url, key_prefix, timeout_seconds=0.2) as process,
    ):
        process.limiter.cancel(await process.admit(caller))
        proxy.pause()
        with pytest.raises(StoreUnavailable):
            await process.admit(caller)
        proxy.resume()
        with anyio.fail_after(10):
            while not await is_admitted(process, caller):  # noqa: ASYNC110
                await anyio.sleep(0.05)
        await process.refusal(caller)


async def is_admitted(process: Process, caller: Principal) -> bool:
    """Return whether a generation is admitted; not while the store is lost."""
    with suppress(StoreUnavailable):
        await process.admit(caller)
        return True
    return False
