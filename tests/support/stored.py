"""The records of a log, one by one."""

from collections.abc import AsyncIterator

from streamsvc.eventlog.base import EventLog, stored_batches
from streamsvc.events import Record


async def stored_records(log: EventLog, generation: str) -> AsyncIterator[Record]:
    """Iterate over the records of `stored_batches`."""
    async for records in stored_batches(log, generation):
        for record in records:
            yield record
