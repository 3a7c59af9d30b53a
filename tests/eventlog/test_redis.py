"""The event log in Redis passes the conformance suites on every server that is supported."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import anyio
import pytest
from takeover_conformance import TAKEOVERS, Subject
from takeover_conformance import Check as TakeoverCheck
from typing_extensions import override

from conformance import CONTRACT, Check, Distant
from streamsvc.eventlog.base import Following, Reader
from streamsvc.eventlog.redis import RedisEventLog
from streamsvc.events import Event, Record
from support.redis_logs import Process, process, take_over
from support.redis_servers import RedisServer, running_redis

each_check = pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisServer]:
    """A cluster of one node, which refuses a script whose keys are in several slots."""
    with running_redis(cluster=True) as server:
        yield server


class Pair(Distant):
    """One process writes, and another one reads.

    Args:
        writer: the one.
        reader: the other.
    """

    def __init__(self, writer: Process, reader: Process) -> None:
        self._writer = writer
        self._reader = reader

    @override
    def append(self, generation: str, event: Event) -> None:
        self._writer.log.append(generation, event)

    @override
    async def flush(self, generation: str) -> None:
        await self._writer.log.flush(generation)

    @override
    async def adopt(self, generation: str) -> None:
        await self._reader.log.adopt(generation)

    @override
    async def read(
        self, generation: str, *, after: int, wait_seconds: float = 0.0
    ) -> Sequence[Record]:
        return await self._reader.log.read(generation, after=after, wait_seconds=wait_seconds)

    @override
    def follow(self, generation: str, *, after: int, reader: Reader) -> Following:
        return self._reader.log.follow(generation, after=after, reader=reader)

    @override
    async def settle(self) -> None:
        with anyio.fail_after(10):
            streams = self._reader.log._memory._streams
            while not all(map(self._is_complete, list(streams))):  # noqa: ASYNC110  # nothing tells when
                await anyio.sleep(0.001)

    def _is_complete(self, generation: str) -> bool:
        """Whether the reader has what the writer has; a copy of what does not exist is dropped."""
        written, copy = self._writer.stream(generation), self._reader.stream(generation)
        return copy is None or (written is not None and copy.tail == written.tail)


@asynccontextmanager
async def pair(server: RedisServer, prefix: str) -> AsyncIterator[tuple[Process, Process]]:
    async with AsyncExitStack() as stack:
        new = partial(process, server.url, prefix)
        one, other = [await stack.enter_async_context(new()) for _ in range(2)]
        with anyio.fail_after(30):
            yield one, other


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:honest")
@each_check
async def test_a_process_that_writes_and_reads_conforms(
    check: Check, valkey: RedisServer, key_prefix: str
) -> None:
    async with process(valkey.url, key_prefix) as one:
        with anyio.fail_after(30):
            await check(one.log)


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:honest")
@pytest.mark.promise("scale:any-worker")
@each_check
async def test_what_one_process_writes_another_one_reads(
    check: Check, redis_server: RedisServer, key_prefix: str
) -> None:
    async with pair(redis_server, key_prefix) as (one, other):
        await check(Pair(one, other))


@pytest.mark.promise("scale:any-worker")
@each_check
async def test_a_cluster_accepts_every_script(
    check: Check, cluster: RedisServer, key_prefix: str
) -> None:
    async with pair(cluster, key_prefix) as (one, other):
        await check(Pair(one, other))


class Successor(Subject):
    """A process that takes over from another one."""

    def __init__(self, server: RedisServer, writer: Process, successor: Process) -> None:
        self._server = server
        self._writer = writer
        self._successor = successor

    @property
    @override
    def log(self) -> RedisEventLog:
        return self._successor.log

    @override
    async def other_writes(self, *events: Event) -> None:
        for event in events:
            self._writer.log.append("gen_a", event)
        await self._writer.log.flush("gen_a")

    @override
    async def take_over(self) -> None:
        await take_over(self._server, self._writer, self._successor)


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:honest")
@pytest.mark.promise("scale:one-writer")
@pytest.mark.parametrize("check", TAKEOVERS, ids=lambda check: check.__name__)
async def test_a_take_over_conforms(
    check: TakeoverCheck, redis_server: RedisServer, key_prefix: str
) -> None:
    async with pair(redis_server, key_prefix) as (one, other):
        await check(Successor(redis_server, one, other))
