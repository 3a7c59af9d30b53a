"""Copies of other processes' logs: what can only happen while something else does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from typing_extensions import override

from streamsvc.config.settings import LogSettings, Settings
from streamsvc.eventlog.base import BEFORE_FIRST, Reader
from streamsvc.eventlog.redis import RedisEventLog
from streamsvc.events import Record, Start, Text
from streamsvc.store.client import BlockingReads, Store
from support.logged import logged
from support.owned import own_tasks
from support.redis_servers import RedisServer

pytestmark = pytest.mark.needs("valkey")

GENERATION = f"gen_{'a' * 32}"

START = Start(generation=GENERATION, provider="fake", model="words", created=1)


@dataclass
class Viewer(Reader):
    """Keeps what it gets.

    Attributes:
        has_text: set when it has got a word.
        was_interrupted: set when it has to look elsewhere.
    """

    seqs: list[int] = field(default_factory=list)
    has_text: anyio.Event = field(default_factory=anyio.Event)
    was_interrupted: anyio.Event = field(default_factory=anyio.Event)

    @override
    def deliver(self, records: Sequence[Record]) -> int:
        self.seqs += [record.seq for record in records]
        if self.seqs[-1]:
            self.has_text.set()
        return len(records)

    @override
    def lost(self) -> None:
        raise AssertionError

    @override
    def interrupted(self) -> None:
        self.was_interrupted.set()


@asynccontextmanager
async def process(server: RedisServer, prefix: str) -> AsyncIterator[tuple[Store, RedisEventLog]]:
    """Run the store and the log of one process."""
    settings = Settings(log=LogSettings(kind="redis", url=server.url, prefix=prefix))
    store = Store(settings.log, logged())
    log = RedisEventLog(store, settings)
    async with own_tasks() as tasks:
        tasks.start_soon(store.run_background)
        tasks.start_soon(log.run)
        await anyio.wait_all_tasks_blocked()
        yield store, log
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def two_processes(
    server: RedisServer, prefix: str
) -> AsyncIterator[tuple[Store, RedisEventLog]]:
    """Let a process write an answer that does not end; yield the store and the log of another."""
    with anyio.fail_after(20):
        async with process(server, prefix) as (_, writer), process(server, prefix) as other:
            writer.append(GENERATION, START)
            writer.append(GENERATION, Text(text="word"))
            await writer.flush(GENERATION)
            yield other


@pytest.mark.promise("scale:any-worker")
async def test_copy_opened_while_the_last_one_closes_is_read(
    valkey: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_closing, may_close = anyio.Event(), anyio.Event()
    close = BlockingReads.close

    async def slow_close(reads: BlockingReads) -> None:
        is_closing.set()
        await may_close.wait()
        await close(reads)

    monkeypatch.setattr(BlockingReads, "close", slow_close)
    async with two_processes(valkey, key_prefix) as (_, log):
        for may_end in (False, True):
            viewer = Viewer()
            following = log.follow(GENERATION, after=BEFORE_FIRST, reader=viewer)
            if may_end:
                may_close.set()
            await viewer.has_text.wait()
            assert viewer.seqs == [0, 1]
            following.close()
            await is_closing.wait()


@pytest.mark.promise("drain:no-loss")
async def test_viewers_look_elsewhere_when_this_process_is_about_to_end(
    valkey: RedisServer, key_prefix: str
) -> None:
    """Else the only viewer of a dead process's answer would be where nobody takes over."""
    async with two_processes(valkey, key_prefix) as (store, log):
        before = Viewer()
        log.follow(GENERATION, after=BEFORE_FIRST, reader=before)
        await before.has_text.wait()
        with anyio.CancelScope() as noticing:
            noticing.cancel()
            async for _ in store.lapsed:
                pass
        await before.was_interrupted.wait()
        later = Viewer()
        log.follow(GENERATION, after=BEFORE_FIRST, reader=later)
        await later.was_interrupted.wait()
