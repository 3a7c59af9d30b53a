"""What the event log in Redis does when its server forgets, refuses or is away, and when another process takes over."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from takeover_conformance import Watched, numbered

from conformance import DONE, START, settled
from streamsvc.errors import CursorReplaced, GenerationNotFound, StoreUnavailable
from streamsvc.eventlog import redis as redis_log
from streamsvc.eventlog.base import BEFORE_FIRST, EPOCH_SEQS, LogClosed, LogTakenOver
from streamsvc.events import Record, Text
from streamsvc.store import client
from streamsvc.store.health import Trouble
from support.redis_logs import Process, let_lapse, process, take_over
from support.redis_proxy import RedisProxy, redis_proxy
from support.redis_servers import RedisServer

pytestmark = [pytest.mark.needs("valkey"), pytest.mark.promise("scale:one-writer")]

LOST_TAIL = [Text("never"), Text("stored")]


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PROBE_SECONDS", 0.01)


def watch(one: Process, after: int = BEFORE_FIRST) -> Watched:
    reader = Watched()
    one.log.follow("gen_a", after=after, reader=reader)
    return reader


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nothing tells."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.001)


def replicate(server: RedisServer, one: Process) -> dict[bytes, bytes]:
    """Return what a replica has of a generation."""
    names = (one.store.keys.meta("gen_a"), one.store.keys.log("gen_a"))
    return {name: server.command("DUMP", name) for name in names}


def fail_over(server: RedisServer, replica: dict[bytes, bytes]) -> None:
    """Replace a generation by what a replica had of it."""
    for name, value in replica.items():
        server.command("RESTORE", name, 60_000, value, "REPLACE")


@asynccontextmanager
async def behind_proxy(
    server: RedisServer, prefix: str
) -> AsyncIterator[tuple[Process, RedisProxy]]:
    """Run a process whose way to Redis can be cut."""
    async with redis_proxy(server) as proxy, process(proxy.url, prefix) as one:
        yield one, proxy


async def test_a_process_that_was_replaced_changes_nothing(
    valkey: RedisServer, key_prefix: str
) -> None:
    """It learns that with its next write; its viewers go on from what is stored."""
    async with process(valkey.url, key_prefix) as old, process(valkey.url, key_prefix) as new:
        await old.write(START, Text("a"))
        await take_over(valkey, old, new)
        await new.write(Text("b"))
        viewer = watch(old)
        for text in LOST_TAIL:
            old.log.append("gen_a", text)
        with pytest.raises(LogTakenOver):
            await old.log.flush("gen_a")
        for event in (Text("late"), DONE, START):
            with pytest.raises(LogTakenOver):
                old.log.append("gen_a", event)
        with pytest.raises(LogTakenOver):
            await old.log.flush("gen_a")
        ahead = watch(old, after=3)
        await new.write(DONE)
        await viewer.until(lambda it: it.is_interrupted)
        await ahead.until(lambda it: it.is_interrupted)
        assert viewer.taken == numbered(START, Text("a"), *LOST_TAIL)
        written = numbered(START, Text("a")) + numbered(Text("b"), DONE, first=EPOCH_SEQS)
        for one in (old, new):
            assert await one.stored() == written
            with pytest.raises(CursorReplaced):
                await one.log.read("gen_a", after=2)


async def test_viewers_of_a_replaced_process_with_stored_cursors_stay(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with process(valkey.url, key_prefix) as old, process(valkey.url, key_prefix) as new:
        await old.write(START, Text("a"))
        viewer = watch(old)
        await viewer.until(lambda it: len(it.taken) == 2)
        viewer.takes = 0
        await take_over(valkey, old, new)
        await new.write(Text("b"))
        with suppress(LogTakenOver):
            await old.write(DONE)
        viewer.takes = 100
        await new.write(DONE)
        await viewer.until(lambda it: len(it.taken) == 4)
        assert viewer.taken[2:] == numbered(Text("b"), DONE, first=EPOCH_SEQS)


async def test_a_process_takes_a_generation_back(valkey: RedisServer, key_prefix: str) -> None:
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await one.write(START, Text("a"))
        for epoch, (old, new) in enumerate([(one, other), (other, one)], 1):
            await take_over(valkey, old, new)
            with pytest.raises(LogTakenOver):
                await old.write(Text("x"))
            await new.write(Text(str(epoch)))
        assert not await other.take()
        await one.write(DONE)
        assert [record.seq for record in await other.stored()] == [
            *(0, 1, EPOCH_SEQS, 2 * EPOCH_SEQS, 2 * EPOCH_SEQS + 1)
        ]


async def test_a_reader_elsewhere_learns_that_its_record_was_never_stored(
    valkey: RedisServer, key_prefix: str
) -> None:
    """At once after a take-over, even before there are new words; one who waits for words learns it, too."""
    async with (
        process(valkey.url, key_prefix) as old,
        process(valkey.url, key_prefix) as new,
        process(valkey.url, key_prefix) as third,
    ):
        await old.write(START, Text("a"))
        answers: list[type[Exception]] = []

        async def wait() -> None:
            with pytest.raises(CursorReplaced) as replaced:
                await third.log.read("gen_a", after=3, wait_seconds=1000)
            answers.append(replaced.type)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(lambda: third.stream() is not None)
            await take_over(valkey, old, new)
            with pytest.raises(CursorReplaced):
                await third.log.read("gen_a", after=2)
            assert await third.log.read("gen_a", after=1) == []
            await new.write(Text("b"))
        assert answers == [CursorReplaced]
        for after in (2, 57):
            with pytest.raises(CursorReplaced):
                await third.log.read("gen_a", after=after)


async def test_a_read_that_waits_for_a_lost_answer_ends(
    valkey: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamsvc.eventlog.copies.BLOCK_SECONDS", 0.02)
    async with (
        process(valkey.url, key_prefix) as one,
        process(valkey.url, key_prefix, lease_seconds=0.1) as other,
    ):
        await one.write(START)

        async def wait() -> None:
            with pytest.raises(GenerationNotFound):
                await other.log.read("gen_a", after=0, wait_seconds=1000)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await until(lambda: other.stream() is not None)
                valkey.command("DEL", one.store.keys.meta("gen_a"), one.store.keys.log("gen_a"))


@pytest.mark.promise("resume:no-gap")
async def test_a_flushed_server_gets_the_whole_answer_again(
    valkey: RedisServer, key_prefix: str
) -> None:
    texts = [Text(str(number)) for number in range(600)]
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await one.write(START, *texts)
        viewer = watch(other)
        await viewer.until(lambda it: len(it.taken) == 601)
        await until(lambda: other.log._copies._tails[0].copies["gen_a"].was_kept)
        for name in (one.store.keys.meta("gen_a"), one.store.keys.log("gen_a")):
            valkey.command("DEL", name)
        await one.write(Text("more"), DONE)
        written = numbered(START, *texts, Text("more"), DONE)
        await viewer.until(lambda it: len(it.taken) == 603)
        assert viewer.taken == written
        assert await other.stored() == written


@pytest.mark.parametrize("kind", ["meta", "log"])
async def test_a_deleted_key_ends_no_process(
    kind: str, valkey: RedisServer, key_prefix: str
) -> None:
    """A server that evicts keys may take any. Without its meta, a log is written again; a log with a hole is lost."""
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await one.write(START, Text("a"))
        viewer = watch(other)
        await viewer.until(lambda it: len(it.taken) == 2)
        valkey.command("DEL", getattr(one.store.keys, kind)("gen_a"))
        await one.write(Text("b"))
        late = watch(other)
        await one.write(Text("c"), DONE)
        written = numbered(START, Text("a"), Text("b"), Text("c"), DONE)
        await viewer.until(lambda it: len(it.taken) == 5)
        if kind == "meta":
            assert await other.stored() == written
        else:
            await late.until(lambda it: it.is_lost or len(it.taken) == 5)
        assert viewer.taken == written
        assert one.store.health.trouble is None


@pytest.mark.promise("end:exactly-one")
async def test_a_log_with_a_hole_is_lost_and_never_looks_whole(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await one.write(START, Text("a"), Text("b"), DONE)
        valkey.command("XDEL", one.store.keys.log("gen_a"), "1-0")
        viewer = watch(other)
        await viewer.until(lambda it: it.is_lost)
        with pytest.raises(GenerationNotFound):
            await other.log.read("gen_a", after=BEFORE_FIRST)
        assert await one.stored() == numbered(START, Text("a"), Text("b"), DONE)


async def test_a_record_of_a_later_version_is_lost_to_an_earlier_one(
    valkey: RedisServer, key_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """During an upgrade both run; other answers are not affected."""
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await one.write(START)
        viewer = watch(other)
        await viewer.until(lambda it: len(it.taken) == 1)
        later = 'e{"type":"of_a_later_version","text":"the-secret"}'
        valkey.command("XADD", one.store.keys.log("gen_a"), "1-0", "e", later)
        await viewer.until(lambda it: it.is_lost)
        one.log.append("gen_ab", START)
        await one.log.flush("gen_ab")
        assert await other.stored("gen_ab") == [Record("gen_ab", 0, START)]
    assert "log.unreadable id=gen_a after=0 cause=ValidationError" in caplog.text
    assert "the-secret" not in caplog.text


@pytest.mark.promise("resume:no-gap")
async def test_records_that_a_failover_lost_are_stored_again(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await one.write(START, Text("a"))
        replica = replicate(valkey, one)
        await one.write(Text("b"))
        fail_over(valkey, replica)
        await one.write(Text("c"), DONE)
        assert await other.stored() == numbered(START, *map(Text, "abc"), DONE)


async def test_words_that_a_failover_lost_are_not_followed_by_others(
    valkey: RedisServer, key_prefix: str
) -> None:
    """Their process dies with it. Who has seen them replays the answer; all others go on."""
    async with (
        process(valkey.url, key_prefix) as one,
        process(valkey.url, key_prefix) as new,
        process(valkey.url, key_prefix) as third,
    ):
        await one.write(START, Text("a"))
        replica = replicate(valkey, one)
        await one.write(Text("b"))
        ahead, slow = watch(third), Watched(takes=0)
        following = third.log.follow("gen_a", after=1, reader=slow)
        await ahead.until(lambda it: len(it.taken) == 3)
        fail_over(valkey, replica)
        await take_over(valkey, one, new)
        await new.write(Text("c"), DONE)
        await ahead.until(lambda it: it.is_interrupted)
        slow.takes = 100
        following.resume()
        await slow.until(lambda it: len(it.taken) == 2)
        assert slow.taken == numbered(Text("c"), DONE, first=EPOCH_SEQS)
        late = watch(third)
        await late.until(lambda it: len(it.taken) == 4)
        assert late.taken == numbered(START, Text("a")) + numbered(
            Text("c"), DONE, first=EPOCH_SEQS
        )
        assert ahead.taken == numbered(START, Text("a"), Text("b"))


async def test_viewers_of_a_take_over_that_failed_have_a_copy(
    valkey: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is lost between the lease and the log. Another process goes on, or this one with its next attempt."""
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await one.write(START, Text("a"))
        let_lapse(valkey, one)

        async def unavailable(*_: object) -> None:
            raise StoreUnavailable(Trouble.SILENT)

        with monkeypatch.context() as patch:
            patch.setattr(other.log, "_load", unavailable)
            with pytest.raises(StoreUnavailable):
                await other.take()
        viewer = watch(other)
        with pytest.raises(LogTakenOver):
            await one.write(Text("late"))
        await take_over(valkey, one, one)
        await one.write(Text("b"), DONE)
        await viewer.until(lambda it: len(it.taken) == 4)
        rest = numbered(Text("b"), DONE, first=2 * EPOCH_SEQS)
        assert viewer.taken == numbered(START, Text("a")) + rest


async def test_what_has_lost_records_cannot_be_taken_over(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await one.write(START, Text("a"), Text("b"))
        valkey.command("XDEL", one.store.keys.log("gen_a"), "2-0")
        viewer = watch(other)
        await viewer.until(lambda it: len(it.taken) == 2)
        let_lapse(valkey, one)
        with pytest.raises(GenerationNotFound):
            await other.take()
        await viewer.until(lambda it: it.is_lost)
        with pytest.raises(LogTakenOver):
            await other.log.adopt("gen_a")


@pytest.mark.promise("end:exactly-one")
async def test_an_end_during_an_outage_is_told_here_and_stored_later(
    valkey: RedisServer, key_prefix: str
) -> None:
    """A second end is refused, before and after the store is back."""
    async with (
        behind_proxy(valkey, key_prefix) as (one, proxy),
        process(valkey.url, key_prefix) as other,
    ):
        await one.write(START, Text("a"))
        viewer, elsewhere = watch(one), watch(other)
        await proxy.refuse()
        await one.write(Text("b"))
        await one.write(DONE)
        await viewer.until(lambda it: len(it.taken) == 4)
        with pytest.raises(LogClosed):
            one.log.append("gen_a", DONE)
        await proxy.accept()
        await one.store.health.wait_usable()
        with pytest.raises(LogClosed):
            one.log.append("gen_a", DONE)
        await elsewhere.until(lambda it: len(it.taken) == 4)
        assert viewer.taken == elsewhere.taken == numbered(START, Text("a"), Text("b"), DONE)


async def test_an_end_that_cannot_be_stored_waits_for_nobody(
    valkey: RedisServer, key_prefix: str
) -> None:
    """The store is lost between the `Done` and its flush."""
    async with behind_proxy(valkey, key_prefix) as (one, proxy):
        await one.write(START)
        viewer = watch(one)
        await proxy.refuse()
        one.log.append("gen_a", DONE)
        with pytest.raises(LogClosed):
            one.log.append("gen_a", Text("late"))
        await one.log.flush("gen_a")
        await viewer.until(lambda it: len(it.taken) == 2)


async def test_without_its_store_a_process_refuses_new_answers(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with behind_proxy(valkey, key_prefix) as (one, proxy):
        await proxy.refuse()
        for _ in range(2):  # the first one finds out
            with pytest.raises(StoreUnavailable):
                await one.write(START)
            assert one.stream() is None
            assert len(one.store.leases) == 0
        await proxy.accept()
        await one.store.health.wait_usable()
        await one.write(START, DONE)


async def test_a_process_that_may_goes_on_alone_and_stores_it_later(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with (
        redis_proxy(valkey) as proxy,
        process(proxy.url, key_prefix, on_outage="local") as one,
        process(valkey.url, key_prefix) as other,
    ):
        await proxy.refuse()
        await one.write(START, Text("a"))
        assert await one.stored() == numbered(START, Text("a"))
        with pytest.raises(GenerationNotFound):
            await other.log.read("gen_a", after=BEFORE_FIRST)
        await proxy.accept()
        await one.store.health.wait_usable()
        await one.write(DONE)
        assert await other.stored() == numbered(START, Text("a"), DONE)


async def test_during_a_long_outage_viewers_of_others_look_elsewhere(
    valkey: RedisServer, key_prefix: str
) -> None:
    """The process that runs their answer may still have it."""
    async with (
        redis_proxy(valkey) as proxy,
        process(proxy.url, key_prefix, lease_seconds=0.2) as one,
        process(valkey.url, key_prefix) as other,
    ):
        await other.write(START)
        viewer = watch(one)
        await viewer.until(lambda it: len(it.taken) == 1)
        await proxy.refuse()
        await viewer.until(lambda it: it.is_interrupted)
        assert not viewer.is_lost
        with pytest.raises(StoreUnavailable):
            await one.log.read("gen_a", after=0)


@pytest.mark.parametrize("is_stored_again", [True, False])
async def test_viewers_wait_a_lease_for_what_a_flushed_server_lost(
    valkey: RedisServer, key_prefix: str, *, is_stored_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamsvc.eventlog.copies.BLOCK_SECONDS", 0.02)
    async with (
        process(valkey.url, key_prefix) as one,
        process(valkey.url, key_prefix, lease_seconds=0.3) as other,
    ):
        await one.write(START)
        viewer = watch(other)
        copies = other.log._copies._tails
        await until(lambda: copies and copies[0].copies["gen_a"].was_kept)
        copy = copies[0].copies["gen_a"]
        for name in (one.store.keys.meta("gen_a"), one.store.keys.log("gen_a")):
            valkey.command("DEL", name)
        await until(lambda: copy.missing_since is not None)
        if is_stored_again:
            await one.write(Text("a"))
            await viewer.until(lambda it: len(it.taken) == 2)
            await until(lambda: copy.missing_since is None)
        else:
            await viewer.until(lambda it: it.is_lost)


async def test_who_reads_a_generation_that_nobody_runs_reports_it(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await one.write(START)
        let_lapse(valkey, one)
        assert await other.log.read("gen_a", after=0) == []
        with anyio.fail_after(10):
            assert await anext(aiter(other.store.lapsed)) == "gen_a"
        watch(other)
        with anyio.fail_after(10):
            assert await anext(aiter(other.store.lapsed)) == "gen_a"


async def test_viewers_of_what_nobody_can_take_over_look_elsewhere(
    valkey: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full server can be read, but nobody can write that it is theirs."""
    monkeypatch.setattr(
        "streamsvc.store.client.PROBE_SECONDS", 60.0
    )  # the server is not really full
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await one.write(START)
        let_lapse(valkey, one)
        other.store.health.failed(Trouble.FULL, "none")
        viewer = watch(other)
        await viewer.until(lambda it: it.is_interrupted)


async def test_a_process_without_memory_for_copies_goes_on(
    valkey: RedisServer, key_prefix: str
) -> None:
    """It can neither follow others' answers, nor keep viewers of one that it lost; its own end as they should."""
    limits = {"max_total_log_bytes": 4096}
    async with (
        process(valkey.url, key_prefix, limits=limits) as small,
        process(valkey.url, key_prefix) as other,
    ):
        await small.write(START)
        viewer = watch(small)
        small.log.append("gen_ab", START)
        await small.log.flush("gen_ab")
        small.log._memory._size_bytes += 4096  # as if running answers had filled it
        await take_over(valkey, small, other)
        with pytest.raises(LogTakenOver):
            await small.write(DONE)
        await viewer.until(lambda it: it.is_interrupted)
        lost = watch(small)
        await lost.until(lambda it: it.is_lost)
        small.log.append("gen_ab", DONE)
        await small.log.flush("gen_ab")
        assert (await other.stored("gen_ab"))[-1].event == DONE


async def test_a_released_generation_is_interrupted_and_dropped_here(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with process(valkey.url, key_prefix) as one:
        await one.write(START)
        viewer = watch(one)
        lease = one.store.leases.get("gen_a")
        assert lease is not None
        lease.is_released = True
        for _ in range(2):
            one.store.leases.lose(lease)
        await settled()
        assert viewer.is_interrupted
        assert one.stream() is None


async def test_few_lost_generations_are_remembered(
    valkey: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_log, "LOST_GENERATIONS", 2)
    async with process(valkey.url, key_prefix) as one:
        for number in range(5):
            lease = one.store.leases.begin(f"gen_a{number}")
            one.store.leases.lose(lease)
        assert [*one.log._lost] == ["gen_a3", "gen_a4"]


async def test_an_end_waits_no_longer_when_a_silent_store_is_gone(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with (
        redis_proxy(valkey) as proxy,
        process(proxy.url, key_prefix, timeout_seconds=0.2) as one,
    ):
        await one.write(START)
        viewer = watch(one)
        proxy.pause()
        one.log.append("gen_a", DONE)
        await until(lambda: one.store.health.trouble is Trouble.SILENT)
        await settled()
        assert viewer.taken == numbered(START)
        await proxy.refuse()
        await viewer.until(lambda it: len(it.taken) == 2)
        proxy.resume()
        await proxy.accept()
        await until(lambda: one.log._writer.find("gen_a") is None)


@pytest.mark.parametrize("ends_in_silence", [True, False])
async def test_in_silence_an_end_waits_for_the_store(
    valkey: RedisServer, key_prefix: str, *, ends_in_silence: bool
) -> None:
    """A store that is silent here may answer others: another process may write another end."""
    async with (
        redis_proxy(valkey) as proxy,
        process(proxy.url, key_prefix, timeout_seconds=0.2) as slow,
        process(valkey.url, key_prefix) as other,
    ):
        await slow.write(START, Text("a"))
        viewer = watch(slow)
        await viewer.until(lambda it: len(it.taken) == 2)
        proxy.pause()
        slow.log.append("gen_a", Text("b"))
        if not ends_in_silence:
            slow.log.append("gen_a", DONE)
        await until(lambda: slow.store.health.trouble is Trouble.SILENT)
        if ends_in_silence:
            slow.log.append("gen_a", DONE)
        await slow.log.flush("gen_a")  # the generation's task does not wait for ever
        await settled()
        assert viewer.taken == numbered(START, Text("a"), Text("b"))
        await take_over(valkey, slow, other)
        await other.write(Text("c"), DONE)
        proxy.resume()
        await viewer.until(lambda it: it.is_interrupted)
        again = watch(slow)
        await again.until(lambda it: len(it.taken) == 4)
    rest = numbered(Text("c"), DONE, first=EPOCH_SEQS)
    assert again.taken == numbered(START, Text("a")) + rest
    assert viewer.taken == numbered(START, Text("a"), Text("b"))
