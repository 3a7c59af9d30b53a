"""What the writer puts into the store, seen by another process."""

import anyio
import pytest

from streamsvc.eventlog.base import EPOCH_SEQS
from streamsvc.events import Done, Outcome, Start, Status, Text
from support.redis_servers import RedisServer
from support.redis_workers import Worker, worker

GENERATION = "gen_aa"
START = Start(generation=GENERATION, provider="fake", model="words", created=1)
DONE = Done(
    status=Status.FAILED,
    finish_reason="error",
    outcome=Outcome.UPSTREAM_LOST,
    provider="fake",
    model="words",
)


async def take_over(server: RedisServer, new: Worker) -> None:
    taken = None
    while taken is None:  # its owner may have renewed it in between
        server.command("HSET", new.store.keys.meta(GENERATION), "d", 0)  # the lease has lapsed
        taken = await new.directory.take(GENERATION)
    await new.log.adopt(GENERATION)


@pytest.mark.promise("resume:no-gap")
async def test_done_alone_after_a_take_over_is_numbered_in_its_epoch(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with (
        worker(valkey.url, key_prefix) as old,
        worker(valkey.url, key_prefix) as new,
        worker(valkey.url, key_prefix) as third,
    ):
        with anyio.fail_after(20):
            old.log.append(GENERATION, START)
            old.log.append(GENERATION, Text("a"))
            await old.log.flush(GENERATION)
            await take_over(valkey, new)
            new.log.append(GENERATION, DONE)
            await new.log.flush(GENERATION)
            stored = await third.log.read(GENERATION, after=-1)
    assert [record.seq for record in stored] == [0, 1, EPOCH_SEQS]


@pytest.mark.promise("resume:no-gap")
async def test_flushed_records_of_two_epochs_are_stored_again_with_their_numbers(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with (
        worker(valkey.url, key_prefix) as old,
        worker(valkey.url, key_prefix) as new,
        worker(valkey.url, key_prefix) as third,
    ):
        with anyio.fail_after(20):
            old.log.append(GENERATION, START)
            await old.log.flush(GENERATION)
            await take_over(valkey, new)
            keys = new.store.keys
            valkey.command("DEL", keys.meta(GENERATION), keys.log(GENERATION))
            new.log.append(GENERATION, Text("b"))
            new.log.append(GENERATION, DONE)
            await new.log.flush(GENERATION)
            stored = await third.log.read(GENERATION, after=-1)
    assert [record.seq for record in stored] == [0, EPOCH_SEQS, EPOCH_SEQS + 1]
