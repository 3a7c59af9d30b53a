"""Closed connections: they and their requests are freed at once, and do not wait for the garbage collector."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings
from streamsvc.server.connection import Protocol

SILENT = Settings(providers={"fake": FakeSettings(words_per_second=0, first_word_seconds=3600)})
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
STREAM = b"GET /stream-ai?prompt=hi HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF = b"POST /v1/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> weakref.WeakSet[Protocol]:
    """The connections that are in memory."""
    found: weakref.WeakSet[Protocol] = weakref.WeakSet()
    made = Protocol.connection_made

    def observed(protocol: Protocol, transport: asyncio.Transport) -> None:
        found.add(protocol)
        made(protocol, transport)

    monkeypatch.setattr(Protocol, "connection_made", observed)
    return found


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (HEALTH, b"HTTP/1.1 200"),
        (STREAM, b"event: start"),
        (STREAM + HEALTH, b"event: start"),
        (HALF, b""),
        (HEALTH[:9], b""),
        (b"\0\r\n", b"HTTP/1.1 400"),
    ],
    ids=[
        "answered",
        "streaming",
        "with a request waiting",
        "half a body",
        "half a head",
        "refused",
    ],
)
async def test_a_closed_connection_does_not_wait_for_the_collector(
    serve: Serve, connections: weakref.WeakSet[Protocol], sent: bytes, answer: bytes
) -> None:
    service = await serve(SILENT)
    connections.clear()  # of those that asked whether the service is ready
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", service.port) as client:
            await client.send(sent)
            seen = b""
            while answer not in seen:
                seen += await client.receive()
            while not connections:
                await anyio.lowlevel.checkpoint()
        while connections:
            await anyio.lowlevel.checkpoint()
