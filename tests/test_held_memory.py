"""The memory of a held stream, counted and not measured: the same on every machine with the same Python."""

import gc
import sys
import tracemalloc
from contextlib import AsyncExitStack

import anyio
import pytest
from anyio.abc import SocketStream

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings

SILENT = Settings(providers={"fake": FakeSettings(words_per_second=0, first_word_seconds=3600)})
STREAM = b"GET /stream-ai?prompt=hi HTTP/1.1\r\nHost: localhost\r\n\r\n"

STREAMS = 16

MOST_BYTES = 32_300
"""What Python allocates for a stream, the fake provider's part and the client's included, on asyncio's own event loop."""


async def _opened(port: int) -> SocketStream:
    client = await anyio.connect_tcp("127.0.0.1", port)
    await client.send(STREAM)
    seen = b""
    while b"event: start" not in seen:
        seen += await client.receive()
    return client


@pytest.mark.unmeasured  # coverage keeps something for each frame
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="sizes of objects differ")
async def test_a_held_stream_costs_so_much_memory_and_no_more(serve: Serve) -> None:
    service = await serve(SILENT)
    async with AsyncExitStack() as stack:
        for _ in range(STREAMS):  # fills caches and free lists
            await stack.enter_async_context(await _opened(service.port))
        tracemalloc.start()
        try:
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(STREAMS):
                await stack.enter_async_context(await _opened(service.port))
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    a_stream = (after - before) // STREAMS
    print(f"\n{a_stream} bytes for a held stream")
    assert a_stream <= MOST_BYTES
