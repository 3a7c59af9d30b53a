"""What clients do not read: little for each stream, bounded for all responses together."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from streamsvc.server.unread import UNSENT_BYTES, drop_excess, limit_unsent
from support.process import Running, serve

BIG = {
    "PROVIDERS__FAKE__REPLY": "echo",
    "PROVIDERS__FAKE__WORDS_PER_SECOND": "0",
    "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0",
    "LIMITS__MAX_PROMPT_CHARS": "9000000",
    "LIMITS__MAX_TOTAL_UNREAD_BYTES": "6000000",
}

WORD = "w" * 3000 + " "


class Holding:
    """A connection whose client has not read some bytes."""

    def __init__(self, unread_bytes: int) -> None:
        self.unread_bytes = unread_bytes
        self.is_dropped = False

    def abort(self) -> None:
        self.is_dropped = True


def test_those_with_most_are_dropped_first(caplog: pytest.LogCaptureFixture) -> None:
    connections = [Holding(size) for size in (50, 0, 400, 100, 300)]
    drop_excess(connections, 850)
    assert not any(it.is_dropped for it in connections)
    assert not caplog.messages
    drop_excess(connections, 160)
    assert [it.unread_bytes for it in connections if it.is_dropped] == [400, 300]
    line = "connections.dropped reason=unread count=2 setting=limits.max_total_unread_bytes"
    assert caplog.messages == [line]


def test_kernel_takes_little_for_a_client_that_does_not_read() -> None:
    """By itself it takes megabytes."""
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        limit_unsent(listener)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            accepted.setblocking(False)
            taken = 0
            try:
                while taken < 8_000_000:
                    taken += accepted.send(b"x" * 16_384)
            except BlockingIOError:
                pass
            assert taken < 4 * UNSENT_BYTES


async def opened(port: int, target: str) -> socket.socket:
    """Send a request, and read nothing."""
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return client


async def is_whole(client: socket.socket) -> bool:
    """Read; return whether 2 MB arrive before the connection ends."""
    loop, size = asyncio.get_running_loop(), 0
    with suppress(ConnectionError):
        while size < 2_000_000 and (data := await loop.sock_recv(client, 1 << 20)):
            size += len(data)
    return size >= 2_000_000


async def answer_of(service: Running, text: str) -> str:
    """Have an answer with this text; return its address."""
    response = await service.client.post("/v1/generations", json={"prompt": text})
    made = str(response.json()["id"])
    await service.logged(f"generation.finished id={made}")
    return f"/v1/generations/{made}"


@pytest.mark.promise("fan-out:shared")
async def test_unread_answers_are_dropped_and_streams_stay(tmp_path: Path) -> None:
    """At real sockets: 20 viewers that read nothing hold little, and 3 answers in one piece hold too much."""
    async with serve(tmp_path, BIG) as service:
        address = await answer_of(service, WORD * 700)
        clients = [await opened(service.port, f"{address}/events") for _ in range(20)]
        clients += [await opened(service.port, address) for _ in range(3)]
        try:
            with anyio.fail_after(20):
                await service.logged("connections.dropped reason=unread count=[12] ")
            assert (await service.client.get("/healthz")).status_code == 200
            with anyio.fail_after(20):
                are_whole = [await is_whole(client) for client in (clients[0], *clients[20:])]
            assert are_whole[0]
            assert 1 <= sum(are_whole[1:]) < 3
        finally:
            for client in clients:
                client.close()
        service.assert_quiet("connections.dropped")
