"""Two processes write the same generations as badly as they can, and nobody ever sees two events under one id."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, ClassVar

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from typing_extensions import override

from conformance import DONE, Following
from streamsvc.errors import CursorLost, GenerationNotFound, StoreUnavailable
from streamsvc.eventlog.base import (
    BEFORE_FIRST,
    EPOCH_SEQS,
    LogClosed,
    LogEnded,
    LogTakenOver,
)
from streamsvc.events import Done, Event, Record, Start, Text
from streamsvc.store import client, scripts
from streamsvc.store.client import Argument, Store
from streamsvc.store.health import Trouble
from streamsvc.store.scripts import Script
from support.redis_logs import TTL_MS, Process, let_lapse, process
from support.redis_servers import RedisServer, running_redis

PICKS = st.integers(0, 5)
"""Picks one of those that a rule is about."""


CURSORS = st.integers(0, 11)


class Flaky(Store):
    """A store whose next replies may be lost.

    Attributes:
        fates: what happens to the next calls that write: "repeated" makes them twice, "lost" makes them, and reports
            a failure.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.fates: list[str] = []

    @override
    async def run(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument] = ()
    ) -> Any:
        run = super().run
        return await self._suffer(lambda: run(script, keys, arguments))

    @override
    async def run_packed(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes], **others: Any
    ) -> Any:
        run = super().run_packed
        return await self._suffer(lambda: run(script, keys, arguments, **others))

    async def _suffer(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        fate = self.fates.pop() if self.fates else ""
        reply = await call()
        if fate == "repeated":
            return await call()
        if fate == "lost":
            self.health.failed(Trouble.SILENT, "Test")
            raise StoreUnavailable(str(Trouble.SILENT))
        return reply


class Viewer(Following):
    """A reader with the cursor at which it began."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    @property
    def has_left(self) -> bool:
        return self.is_lost or self.is_interrupted


def assert_follows(after: int, records: Sequence[Record]) -> None:
    """Within an epoch no number is left out; only a take-over begins another one."""
    for record in records:
        begins_epoch = record.seq % EPOCH_SEQS == 0 and record.seq > after
        assert record.seq == after + 1 or begins_epoch, (after, record.seq)
        after = record.seq


class TwoProducers(RuleBasedStateMachine):
    """Two processes write and read; a third one only reads.

    When a generation has ended, the next one begins.
    """

    server: ClassVar[RedisServer]
    runs: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        TwoProducers.runs += 1
        prefix = f"machine{self.runs}"
        self._stack = ExitStack()
        self._portal: BlockingPortal = self._stack.enter_context(start_blocking_portal("asyncio"))
        self._all: list[Process] = [
            self._stack.enter_context(
                self._portal.wrap_async_context_manager(
                    process(self.server.url, prefix, store=Flaky, write_ms=1, read_ms=0)
                )
            )
            for _ in range(3)
        ]
        self._number = 0
        self._words = 0
        self._seen: dict[tuple[str, int], Event] = {}
        self._viewers: list[Viewer] = []
        self._was_flushed = False
        self._begin()

    @property
    def _generation(self) -> str:
        return f"gen_a{self._number}"

    def _call(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Await in the event loop of the processes, where nothing may hang."""

        async def bounded() -> Any:
            with anyio.fail_after(20):
                return await call()

        return self._portal.call(bounded)

    def _writers(self) -> list[Process]:
        """Return the processes that write, or think so."""
        return [it for it in self._all if it.log._writer.find(self._generation) is not None]

    def _writer(self, pick: int) -> Process | None:
        writers = self._writers()
        return writers[pick % len(writers)] if writers else None

    def _others(self) -> list[Process]:
        writers = self._writers()
        return [it for it in self._all[:2] if it not in writers]

    def _begin(self) -> None:
        self._number += 1
        self._viewers.clear()
        self._was_flushed = False
        one = self._all[self._number % 2]
        self._append(one, Start(generation=self._generation, provider="p", model="m", created=1))
        self._flush(one)

    def _append(self, one: Process, *events: Event) -> None:
        async def append() -> None:
            for event in events:
                one.log.append(self._generation, event)

        with suppress(LogTakenOver, LogClosed, GenerationNotFound):
            self._call(append)

    def _flush(self, one: Process) -> None:
        with suppress(LogTakenOver, StoreUnavailable):
            self._call(lambda: one.log.flush(self._generation))

    def _take(self, one: Process) -> None:
        with suppress(LogTakenOver, GenerationNotFound, StoreUnavailable):
            self._call(lambda: one.take(self._generation))

    @rule(pick=PICKS, words=st.sampled_from([1, 1, 3, 300]), is_stored=st.booleans())
    def append(self, pick: int, words: int, *, is_stored: bool) -> None:
        """A process that writes, or thinks so, has words; they are stored now or later."""
        one = self._writer(pick)
        if one is None:
            return
        texts = [Text(f"{one.store.worker}:{self._words + number}") for number in range(words)]
        self._words += words
        self._append(one, *texts)
        if is_stored:
            self._flush(one)

    @rule(pick=PICKS)
    def close(self, pick: int) -> None:
        if one := self._writer(pick):
            self._append(one, DONE)
            self._flush(one)
            self._compare()

    @rule(pick=PICKS, has_lapsed=st.sampled_from([True, True, False]))
    def take(self, pick: int, *, has_lapsed: bool) -> None:
        """A process takes over, whatever the others think."""
        if has_lapsed and self.server.command("EXISTS", self._meta):
            let_lapse(self.server, self._all[0], self._generation)
        if others := self._others():
            self._take(others[pick % len(others)])

    @property
    def _meta(self) -> bytes:
        return self._all[0].store.keys.meta(self._generation)

    @rule(pick=PICKS)
    def renew(self, pick: int) -> None:
        """A process renews its lease, even if it has lapsed: nobody has taken it."""
        one = self._writer(pick)
        lease = one.store.leases.get(self._generation) if one is not None else None
        if one is None or lease is None:
            return
        store = one.store
        make = (store.keys.meta, store.keys.log, store.keys.request, store.keys.viewers)
        names = [key(self._generation) for key in make]
        arguments: list[Argument] = [4000, TTL_MS, store.worker, lease.token, lease.epoch]
        with suppress(StoreUnavailable):
            self._call(lambda: store.run(scripts.BEAT, names, arguments))

    @rule(pick=PICKS)
    def release(self, pick: int) -> None:
        """A process hands a generation over."""
        one = self._writer(pick)
        if one is None:
            return

        async def release() -> None:
            await one.log.flush(self._generation)
            if lease := one.store.leases.get(self._generation):
                await one.store.run(scripts.RELEASE, [lease.meta], [lease.token])
                lease.is_released = True
                one.store.leases.lose(lease)

        with suppress(LogTakenOver, StoreUnavailable):
            self._call(release)

    @rule()
    def empty(self) -> None:
        """The server loses everything."""
        if not self._was_flushed:
            self._was_flushed = True
            self.server.flush()

    @rule(pick=PICKS, fate=st.sampled_from(["repeated", "lost"]))
    def lose_reply(self, pick: int, fate: str) -> None:
        store = self._all[pick % 2].store
        assert isinstance(store, Flaky)
        store.fates.append(fate)

    @rule(pick=PICKS, cursor=CURSORS)
    def read(self, pick: int, cursor: int) -> None:
        """A reader gets the records after its cursor, or learns that it is lost."""
        after = self._cursor(cursor)
        log = self._all[pick % 3].log
        records: Sequence[Record] = []
        with suppress(CursorLost, GenerationNotFound, LogEnded, StoreUnavailable):
            records = self._call(lambda: log.read(self._generation, after=after))
        assert_follows(after, records)
        self._see(records)

    @rule(pick=PICKS, cursor=CURSORS)
    def follow(self, pick: int, cursor: int) -> None:
        viewer = Viewer(self._cursor(cursor))
        self._viewers.append(viewer)

        async def follow() -> None:
            log = self._all[pick % 3].log
            log.follow(self._generation, after=viewer.after, reader=viewer)

        self._call(follow)

    def _cursor(self, number: int) -> int:
        """Return a cursor that somebody may have, or nobody has."""
        known = [seq for name, seq in self._seen if name == self._generation]
        cursors = [BEFORE_FIRST, 0, 5, EPOCH_SEQS + 1, *known[-8:]]
        return cursors[number % len(cursors)]

    def _see(self, records: Sequence[Record]) -> None:
        for record in records:
            known = self._seen.setdefault((record.generation, record.seq), record.event)
            assert known == record.event

    @invariant()
    def viewers_see_one_log(self) -> None:
        """Every id has one event, nothing is left out within an epoch, and nothing follows the end."""
        for viewer in self._viewers:
            self._see(viewer.taken)
            assert_follows(viewer.after, viewer.taken)
            assert not any(isinstance(record.event, Done) for record in viewer.taken[:-1])

    @override
    def teardown(self) -> None:
        try:
            for one in self._all[:2]:
                assert isinstance(one.store, Flaky)
                one.store.fates.clear()
            self._call(self._until_usable)
            self.take(0, has_lapsed=True) if self._others() else None
            for number in range(len(self._writers())):
                self.close(number)
        finally:
            self._stack.close()

    async def _until_usable(self) -> None:
        for one in self._all:
            await one.store.health.wait_usable()

    def _compare(self) -> None:
        """Once an answer has ended, every viewer has exactly what is stored, or knows that it has not."""
        if self.server.command("HGET", self._meta, "s") is None or self._writers():
            return
        stored: list[Record] = self._call(self._stored)
        assert_follows(BEFORE_FIRST, stored)
        self._see(stored)
        assert [isinstance(it.event, Done) for it in stored].index(True) == len(stored) - 1
        for viewer in self._viewers:
            self._call(partial(self._until_it_ends, viewer, stored[-1].seq))
            if viewer.has_left:
                continue
            if viewer.taken and viewer.taken[-1].seq != stored[-1].seq:
                # After the server had lost everything, a process that had been replaced before stored its own end.
                assert self._was_flushed
            else:
                assert viewer.taken == [it for it in stored if it.seq > viewer.after]
        self._begin()

    async def _stored(self) -> list[Record]:
        records: list[Record] = []
        with suppress(LogEnded):
            while True:
                after = records[-1].seq if records else BEFORE_FIRST
                records += await self._all[2].log.read(self._generation, after=after)
        return records

    async def _until_it_ends(self, viewer: Viewer, last: int) -> None:
        while not viewer.has_left and viewer.after != last:
            if viewer.taken and isinstance(viewer.taken[-1].event, Done):
                return
            await anyio.sleep(0.001)  # a copy is on its way


def check(kind: str, monkeypatch: pytest.MonkeyPatch, examples: int) -> None:
    monkeypatch.setattr(client, "PROBE_SECONDS", 0.001)
    bounds = settings(
        max_examples=examples,
        stateful_step_count=30,
        suppress_health_check=list(HealthCheck),
        database=None,  # when something is stored is not in hypothesis's hands
    )
    with running_redis(kind) as server:
        run_machine(type("Machine", (TwoProducers,), {"server": server}), settings=bounds)


@pytest.mark.promise("scale:one-writer")
@pytest.mark.promise("resume:no-gap")
@pytest.mark.needs("valkey")
def test_no_interleaving_shows_two_events_under_one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    check("valkey", monkeypatch, settings().max_examples)


@pytest.mark.promise("scale:one-writer")
@pytest.mark.needs("redis-6.2")
def test_nor_does_the_oldest_server(monkeypatch: pytest.MonkeyPatch) -> None:
    check("redis-6.2", monkeypatch, 5)
