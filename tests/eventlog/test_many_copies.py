"""Answers of other processes: many at a time, long ones, and what they cost in memory."""

from collections.abc import Sequence

import anyio
import pytest
from takeover_conformance import Watched

from conformance import DONE, START
from streamsvc.eventlog.base import BEFORE_FIRST
from streamsvc.events import Done, Event, Text
from support.redis_logs import Process, process
from support.redis_servers import RedisServer
from support.steps import counted

pytestmark = [pytest.mark.needs("valkey"), pytest.mark.promise("scale:any-worker")]

GENERATIONS = 500
SHORT, LONG = 5_000, 20_000


def has_ended(viewer: Watched) -> bool:
    return bool(viewer.taken) and isinstance(viewer.taken[-1].event, Done)


def append_all(one: Process, names: Sequence[str], event: Event) -> None:
    for name in names:
        one.log.append(name, event)


async def test_one_read_serves_all_copies_of_a_partition(
    valkey: RedisServer, key_prefix: str
) -> None:
    """500 answers that another process writes: every word arrives, over one more connection."""
    names = [f"gen_aa{number}" for number in range(GENERATIONS)]
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        append_all(one, names, START)
        for name in names:
            await one.log.flush(name)
        viewers = [Watched() for _ in names]
        for name, viewer in zip(names, viewers, strict=True):
            other.log.follow(name, after=BEFORE_FIRST, reader=viewer)
        for viewer in viewers:
            await viewer.until(lambda it: it.taken)
        valkey.command("CONFIG", "RESETSTAT")
        for text in "abc":
            append_all(one, names, Text(text))
            await one.log.flush(names[-1])
        append_all(one, names, DONE)
        for viewer in viewers:
            await viewer.until(has_ended)
        assert {len(viewer.taken) for viewer in viewers} == {5}
        commands = valkey.commandstats()
        assert commands["evalsha"] + commands["xread"] < GENERATIONS
        assert len(other.log._copies._tails) <= 1
    assert other.store.health.trouble is None


async def write(one: Process, name: str, words: int) -> None:
    one.log.append(name, START)
    for number in range(words):
        one.log.append(name, Text(f"{number} "))
        if number % 1000 == 0:
            await one.log.flush(name)
    one.log.append(name, DONE)
    await one.log.flush(name)


async def longest_step(writer: Process, reader: Process, words: int) -> int:
    """Return how many calls the longest step takes while a process reads another one's answer."""
    name = f"gen_a{words}"
    await write(writer, name, words)
    viewer = Watched()
    with counted() as steps:
        reader.log.follow(name, after=BEFORE_FIRST, reader=viewer)
        await viewer.until(has_ended)
    assert [record.seq for record in viewer.taken] == [*range(words + 2)]
    return steps.longest


async def test_a_long_answer_of_another_process_is_read_in_steps(
    valkey: RedisServer, key_prefix: str
) -> None:
    """Viewers of other answers do not wait for it."""
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        await longest_step(one, other, SHORT // 2)  # fills caches
        short, long = [await longest_step(one, other, words) for words in (SHORT, LONG)]
    assert long < 1.3 * short


async def test_a_copy_takes_memory_only_while_it_is_followed(
    valkey: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamsvc.eventlog.copies.BLOCK_SECONDS", 0.05)
    async with process(valkey.url, key_prefix) as one, process(valkey.url, key_prefix) as other:
        memory = other.log._memory
        one.log.append("gen_a", START)
        one.log.append("gen_a", Text("x" * 10_000))
        await one.log.flush("gen_a")
        for _ in range(2):
            viewer = Watched()
            following = other.log.follow("gen_a", after=BEFORE_FIRST, reader=viewer)
            await viewer.until(lambda it: len(it.taken) == 2)
            assert 10_000 < memory.size_bytes < 11_000
            following.close()
            with anyio.fail_after(10):
                while len(memory):  # noqa: ASYNC110  # nothing tells when it is dropped
                    await anyio.sleep(0.001)
            assert memory.size_bytes == 0
    assert other.log._copies._tails == {}


async def test_an_ended_copy_is_kept_like_an_ended_log(
    valkey: RedisServer, key_prefix: str
) -> None:
    """It is dropped after its time, or early for the limit on ended logs."""
    limits = {"keep_finished_seconds": 60, "keep_count": 2}
    async with (
        process(valkey.url, key_prefix) as one,
        process(valkey.url, key_prefix, limits=limits) as other,
    ):
        for number in range(4):
            name = f"gen_a{number}"
            await write(one, name, 1)
            viewer = Watched()
            other.log.follow(name, after=BEFORE_FIRST, reader=viewer)
            await viewer.until(has_ended)
        assert [*other.log._memory._streams] == ["gen_a2", "gen_a3"]
        assert len(await other.log.read("gen_a0", after=BEFORE_FIRST)) == 3
