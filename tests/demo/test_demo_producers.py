"""The producers of a demo, in the shared store: which process is found, and which one ends."""

import os

import anyio
import pytest

from streamsvc.errors import GenerationNotFound
from streamsvc.producers import DemoProducers
from streamsvc.web.demo import Producer
from support.events import GENERATION, START
from support.redis_proxy import redis_proxy
from support.redis_servers import RedisServer
from support.redis_workers import worker


async def test_only_the_producer_of_the_named_epoch_ends(
    valkey: RedisServer, key_prefix: str
) -> None:
    """A message that comes after a take-over ends nobody, and neither does one to another worker."""
    async with (
        worker(valkey.url, key_prefix) as one,
        worker(valkey.url, key_prefix) as other,
        anyio.create_task_group() as tasks,
    ):
        ended: list[int] = []
        end = anyio.Event()
        first = DemoProducers(one.store, 1, end.set)
        second = DemoProducers(other.store, 2, lambda: ended.append(2))
        with anyio.fail_after(20):
            with pytest.raises(GenerationNotFound):
                await first.find(GENERATION)
            one.log.append(GENERATION, START)
            await one.log.flush(GENERATION)
            before = await second.find(GENERATION)
            assert before == Producer(generation=GENERATION, running=True, epoch=0)
            for producers in (first, second):
                tasks.start_soon(producers.run)
            while (found := await second.find(GENERATION)).process is None:
                pass
            assert (found.worker, found.process, found.epoch) == (1, os.getpid(), 0)
            await second.kill(Producer(generation=GENERATION, running=True, epoch=1))
            await second.kill(found)
            await end.wait()
            assert ended == []
        tasks.cancel_scope.cancel()


async def test_a_worker_that_lost_the_store_still_ends(
    valkey: RedisServer, key_prefix: str
) -> None:
    """The outage is shorter than its lease: a worker that has lost that, too, runs the generation no more."""
    async with (
        redis_proxy(valkey) as proxy,
        worker(proxy.url, key_prefix, lease_seconds=60) as one,
        anyio.create_task_group() as tasks,
    ):
        end = anyio.Event()
        producers = DemoProducers(one.store, 1, end.set)
        with anyio.fail_after(20):
            one.log.append(GENERATION, START)
            await one.log.flush(GENERATION)
            tasks.start_soon(producers.run)
            while (await producers.find(GENERATION)).process is None:
                pass
            await proxy.refuse()
            while one.store.health.trouble is None:
                await one.store.health.wait_changed()
            await proxy.accept()
            await one.store.health.wait_usable()
            await producers.kill(await producers.find(GENERATION))
            await end.wait()
        tasks.cancel_scope.cancel()
