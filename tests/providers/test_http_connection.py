"""HTTP/1.1 on real sockets: heads and bodies, and when a connection is reused, paused or closed."""

import socket
from asyncio import StreamWriter
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from streamsvc.providers.http import pool as module
from streamsvc.providers.http.connection import BUFFER_BYTES, LOOSE_BYTES
from streamsvc.providers.http.errors import BodyCut, NoResponse
from support.http_peer import END, HEAD, WHOLE, Body, ask, opened, peer, read_all, saying


async def test_request_is_the_prepared_head_and_a_body() -> None:
    async with peer(saying(WHOLE)) as upstream, opened(upstream.url) as endpoint:
        connection = await endpoint.send(b'{"a":1}')
        assert (connection.status, connection.is_success) == (200, True)
        assert await read_all(connection) == b"one"
    head = upstream.heads[0].lower()
    assert head.startswith(b"post /v1/chat http/1.1\r\n")
    assert f"\r\nhost: 127.0.0.1:{upstream.port}\r\n".encode() in head
    assert b"\r\nauthorization: bearer key\r\n" in head
    assert upstream.bodies == [b'{"a":1}']


async def test_response_may_arrive_byte_by_byte() -> None:
    answer = HEAD + b"3\r\none\r\n" + b"4\r\n two\r\n" + END
    pieces = [bytes([byte]) for byte in answer]
    async with peer(saying(*pieces)) as upstream, opened(upstream.url) as endpoint:
        assert await ask(endpoint) == b"one two"


async def test_interim_responses_are_skipped() -> None:
    """Any number of them may precede the final response (RFC 9110, section 15.2)."""
    hints = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 7\r\n\r\n"
    go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with (
        peer(saying(go_on, hints + hints + WHOLE)) as upstream,
        opened(upstream.url) as endpoint,
    ):
        connection = await endpoint.send(b"{}")
        assert connection.status == 200
        assert connection.headers == {"content-length": "3"}
        assert await read_all(connection) == b"one"


async def test_body_without_a_length_ends_with_its_connection() -> None:
    """RFC 9112, section 6.3, rule 8."""
    old = b"HTTP/1.0 200 OK\r\n\r\n"
    async with (
        peer(saying(old, b"one", then_close=True)) as upstream,
        opened(upstream.url) as endpoint,
    ):
        assert await ask(endpoint) == b"one"
        assert endpoint.connections == (0, 0)


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("part", [HEAD + b"3\r\none\r\n", HEAD + b"9\r\none", WHOLE[:-1]])
async def test_cut_body_raises_after_its_bytes_are_read(part: bytes) -> None:
    """The bytes before the cut are not lost."""
    async with peer(saying(part, then_close=True)) as upstream, opened(upstream.url) as endpoint:
        connection = await endpoint.send(b"{}")
        body = Body()
        with pytest.raises(BodyCut):
            await connection.read(body.take)
        assert body.pieces


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * LOOSE_BYTES,
    ],
    ids=["nothing", "half a head", "another protocol", "an upgrade", "a head without end"],
)
async def test_missing_response_raises_and_closes_the_connection(answer: bytes) -> None:
    play = saying(answer, then_close=len(answer) < 100)
    async with peer(play) as upstream, opened(upstream.url) as endpoint:
        with pytest.raises(NoResponse):
            await endpoint.send(b"{}")
        await upstream.closed.wait()
        assert endpoint.connections == (0, 0)


async def test_unread_body_pauses_the_server_and_loses_nothing() -> None:
    size, sent = 64 * BUFFER_BYTES, 0

    async def flood(writer: StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * BUFFER_BYTES)
            sent += BUFFER_BYTES
            await writer.drain()

    async with peer(flood) as upstream, opened(upstream.url) as endpoint:
        connection: Any = await endpoint.send(b"{}")
        connection._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES
        )
        while connection._transport.is_reading():
            await anyio.lowlevel.checkpoint()
        waiting_bytes = connection._waiting_bytes
        assert waiting_bytes < 8 * BUFFER_BYTES
        for _ in range(1000):  # turns of the loop in which the server sends all that it can
            await anyio.lowlevel.checkpoint()
        assert connection._waiting_bytes == waiting_bytes
        assert len(await read_all(connection)) == size


async def test_connection_is_reused_only_after_a_clean_exchange() -> None:
    closing = WHOLE.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
    for answer, connections in (
        (WHOLE, 1),
        (HEAD + b"1\r\na\r\n" + END, 1),
        (closing, 2),
        (WHOLE * 2, 2),
    ):
        async with peer(saying(answer)) as upstream, opened(upstream.url) as endpoint:
            for _ in range(2):
                assert await ask(endpoint) in {b"one", b"a"}
            assert upstream.connections == connections, answer


async def test_release_within_a_body_closes_the_connection() -> None:
    async with peer(saying(HEAD + b"3\r\none\r\n")) as upstream, opened(upstream.url) as endpoint:
        connection = await endpoint.send(b"{}")
        body = Body(most_pieces=1)
        await connection.read(body.take)
        assert body.pieces == [b"one"]
        connection.release()
        await upstream.closed.wait()


class _Enough(Exception):
    """Stands for a reader that fails."""


async def test_reader_exception_propagates_and_closes_the_connection() -> None:
    async with (
        peer(saying(HEAD, b"3\r\none\r\n" + END)) as upstream,
        opened(upstream.url) as endpoint,
    ):
        connection = await endpoint.send(b"{}")

        def take(_data: bytes) -> bool:
            raise _Enough

        with pytest.raises(_Enough):
            await connection.read(take)
        connection.abort()
        await upstream.closed.wait()


async def test_bytes_before_a_framing_error_are_read() -> None:
    torn = HEAD + b"3\r\none\r\n" + b"no length\r\n"
    async with peer(saying(torn)) as upstream, opened(upstream.url) as endpoint:
        connection = await endpoint.send(b"{}")
        body = Body()
        with pytest.raises(BodyCut):
            await connection.read(body.take)
        assert body.pieces == [b"one"]


@pytest.mark.promise("cancel:disconnect")
async def test_abort_shuts_down_within_the_call() -> None:
    """The peer sees the end before the event loop runs again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        async with opened(f"http://127.0.0.1:{server.getsockname()[1]}") as endpoint:
            connection = await endpoint._pool._connect()
            link, _ = server.accept()
            with link:
                link.setblocking(False)
                with pytest.raises(BlockingIOError):
                    link.recv(1)
                connection.abort()
                assert link.recv(1) == b""


async def test_abort_does_not_wait_for_unsent_data() -> None:
    """This holds even on a closing transport that still has data to send."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with opened(f"http://127.0.0.1:{server.getsockname()[1]}") as endpoint:
            connection = await endpoint._pool._connect()
            connection._transport.write(b"x" * 30_000_000)
            connection._transport.close()
            assert not connection.is_lost
            connection.abort()
            while not connection.is_lost:
                await anyio.lowlevel.checkpoint()


async def test_closing_idle_connection_is_not_reused() -> None:
    async with peer(saying(WHOLE)) as upstream, opened(upstream.url) as endpoint:
        connection = await endpoint.send(b"{}")
        assert await read_all(connection) == b"one"
        connection.release()
        connection.abort()  # as if the server closes at this moment
        assert await ask(endpoint) == b"one"
        assert upstream.connections == 2


async def test_each_idle_connection_closes_at_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was released later, and is used next, outlives the other."""
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.2)
    async with peer(saying(WHOLE)) as upstream, opened(upstream.url) as endpoint:
        first, second = await endpoint.send(b"{}"), await endpoint.send(b"{}")
        for connection in (first, second):
            assert await read_all(connection) == b"one"
        first.release()
        monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 60)
        second.release()
        assert endpoint.connections == (0, 2)
        await upstream.closed.wait()
        assert endpoint.connections == (0, 1)
        assert await ask(endpoint) == b"one"
        assert upstream.connections == 2


async def test_idle_connection_closes_in_time_and_on_unexpected_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.05)
    async with peer(saying(WHOLE)) as upstream, opened(upstream.url) as endpoint:
        await ask(endpoint)
        await upstream.closed.wait()
        assert endpoint.connections == (0, 0)
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 60)
    speak = anyio.Event()

    async def play(writer: StreamWriter) -> None:
        writer.write(WHOLE)
        await speak.wait()
        writer.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

    async with peer(play) as upstream, opened(upstream.url) as endpoint:
        await ask(endpoint)
        speak.set()
        await upstream.closed.wait()
