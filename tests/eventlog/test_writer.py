"""What the writer puts into the store after a take-over, seen by another process."""

import pytest

from conformance import DONE, START
from streamsvc.eventlog.base import EPOCH_SEQS
from streamsvc.events import Text
from support.redis_logs import process, take_over
from support.redis_servers import RedisServer

pytestmark = [pytest.mark.needs("valkey"), pytest.mark.promise("resume:no-gap")]


async def test_done_alone_after_a_take_over_is_numbered_in_its_epoch(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with (
        process(valkey.url, key_prefix) as old,
        process(valkey.url, key_prefix) as new,
        process(valkey.url, key_prefix) as third,
    ):
        await old.write(START, Text("a"))
        await take_over(valkey, old, new)
        await new.write(DONE)
        assert [record.seq for record in await third.stored()] == [0, 1, EPOCH_SEQS]


async def test_flushed_records_of_two_epochs_are_stored_again_with_their_numbers(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with (
        process(valkey.url, key_prefix) as old,
        process(valkey.url, key_prefix) as new,
        process(valkey.url, key_prefix) as third,
    ):
        await old.write(START)
        await take_over(valkey, old, new)
        keys = new.store.keys
        valkey.command("DEL", keys.meta("gen_a"), keys.log("gen_a"))
        await new.write(Text("b"), DONE)
        seqs = [record.seq for record in await third.stored()]
        assert seqs == [0, EPOCH_SEQS, EPOCH_SEQS + 1]
