"""Short streams of messages between the workers."""

from collections.abc import Awaitable, Callable, Sequence

import anyio

from streamsvc.errors import StoreUnavailable
from streamsvc.store.client import Store

READ_MESSAGES = 1000
"""How many messages one read returns at most."""

RETRY_SECONDS = 0.5
"""The pause after a failed read."""

Message = Sequence[bytes]
"""The fields of a message, each followed by its value."""


async def take_messages(
    store: Store,
    key: bytes,
    take: Callable[[Sequence[Message]], Awaitable[None]],
    *,
    prepare: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Take the messages of a stream, beginning with the oldest; runs until it is cancelled.

    After an outage it goes on with the first message that it has not read.

    Args:
        store: where the stream is.
        key: of the stream.
        take: gets the messages of each read, in order. If it raises `StoreUnavailable`, it does not get them again.
        prepare: called before each read, so at least once in `BLOCK_SECONDS`; if it raises `StoreUnavailable`, it is
            called again when the store can be used.
    """
    reads = store.blocking_reads()
    after = "0-0"
    try:
        while True:
            try:
                if prepare is not None:
                    await prepare()
                for _, entries in await reads.read([(key, after)], count=READ_MESSAGES):
                    after = entries[-1][0].decode()
                    await take([message for _, message in entries])
            except StoreUnavailable:
                await store.health.wait_usable()
                await anyio.sleep(RETRY_SECONDS)
    finally:
        with anyio.CancelScope(shield=True):
            await reads.close()
