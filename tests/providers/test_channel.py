"""HTTP/1.1 to an upstream, on real sockets.

What a head and a body may look like, and when a connection is used again, made to wait, closed, or reached
through a proxy.
"""

import socket
import ssl
from asyncio import StreamReader, StreamWriter, open_connection, start_server
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
import trustme

from streamsvc.providers.http import pool as module
from streamsvc.providers.http.connection import BUFFER_BYTES, LOOSE_BYTES
from streamsvc.providers.http.endpoint import Endpoint
from streamsvc.providers.http.errors import (
    BodyCut,
    ConnectFailed,
    ConnectTimedOut,
    NoResponse,
    UnusableEndpoint,
)
from streamsvc.providers.http.exchange import Exchange

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
END = b"0\r\n\r\n"

Play = Callable[[StreamWriter], Awaitable[None]]
Serve = Callable[[StreamReader, StreamWriter], Awaitable[None]]


class Peer:
    """What is at the other end of the connections."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.closed = anyio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def saying(*pieces: bytes, then_close: bool = False) -> Play:
    """Send pieces, each a write of its own."""

    async def play(writer: StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await anyio.lowlevel.checkpoint()
        if then_close:
            writer.close()

    return play


@asynccontextmanager
async def peer(play: Play, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """Answer each request in the same way while it is held."""
    it = Peer()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        it.connections += 1
        with suppress(EOFError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                it.heads.append(head)
                it.bodies.append(await reader.readexactly(int(length or b"0")))
                await play(writer)
        it.closed.set()

    async with listening(serve, tls) as it.port:
        yield it


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve connections on the port that is given; all of them have ended afterwards."""
    async with anyio.create_task_group() as tasks:

        async def hold(reader: StreamReader, writer: StreamWriter) -> None:
            try:
                await serve(reader, writer)
            finally:
                writer.transport.abort()
                with anyio.CancelScope(shield=True), suppress(OSError):
                    await writer.wait_closed()

        async def accept(reader: StreamReader, writer: StreamWriter) -> None:
            tasks.start_soon(hold, reader, writer)

        async with await start_server(accept, "127.0.0.1", 0, ssl=tls) as server:
            yield server.sockets[0].getsockname()[1]
            server.close()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def opened(url: str, *, connect_seconds: float = 5) -> AsyncIterator[Endpoint]:
    request = httpx2.Request("POST", f"{url}/v1/chat", headers={"Authorization": "Bearer key"})
    channel = Endpoint(request, connect_seconds=connect_seconds)
    with anyio.fail_after(10):
        try:
            yield channel
        finally:
            channel.close()


async def read_all(connection: Exchange) -> bytes:
    body = Body()
    await connection.read(body.take)
    return b"".join(body.pieces)


class Body:
    """What is read of a body; with *most_pieces*, no more than so many."""

    def __init__(self, most_pieces: int | None = None) -> None:
        self.pieces: list[bytes] = []
        self._most_pieces = most_pieces

    def take(self, data: bytes) -> bool:
        self.pieces.append(data)
        return len(self.pieces) != self._most_pieces


async def ask(channel: Endpoint) -> bytes:
    connection = await channel.post(b"{}")
    body = await read_all(connection)
    connection.release()
    return body


async def test_a_request_is_the_prepared_head_and_a_body() -> None:
    async with peer(saying(WHOLE)) as upstream, opened(upstream.url) as channel:
        connection = await channel.post(b'{"a":1}')
        assert (connection.status, connection.is_success) == (200, True)
        assert await read_all(connection) == b"one"
    head = upstream.heads[0].lower()
    assert head.startswith(b"post /v1/chat http/1.1\r\n")
    assert f"\r\nhost: 127.0.0.1:{upstream.port}\r\n".encode() in head
    assert b"\r\nauthorization: bearer key\r\n" in head
    assert upstream.bodies == [b'{"a":1}']


async def test_an_answer_may_come_a_byte_at_a_time() -> None:
    answer = HEAD + b"3\r\none\r\n" + b"4\r\n two\r\n" + END
    pieces = [bytes([byte]) for byte in answer]
    async with peer(saying(*pieces)) as upstream, opened(upstream.url) as channel:
        assert await ask(channel) == b"one two"


async def test_interim_answers_are_passed_over() -> None:
    """RFC 9110, section 15.2: any number of them, before the final one."""
    hints = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 7\r\n\r\n"
    go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with (
        peer(saying(go_on, hints + hints + WHOLE)) as upstream,
        opened(upstream.url) as channel,
    ):
        connection = await channel.post(b"{}")
        assert connection.status == 200
        assert connection.headers == {"content-length": "3"}
        assert await read_all(connection) == b"one"


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    """RFC 9112, section 6.3, rule 8."""
    old = b"HTTP/1.0 200 OK\r\n\r\n"
    async with (
        peer(saying(old, b"one", then_close=True)) as upstream,
        opened(upstream.url) as channel,
    ):
        assert await ask(channel) == b"one"
        assert channel.connections == (0, 0)


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("part", [HEAD + b"3\r\none\r\n", HEAD + b"9\r\none", WHOLE[:-1]])
async def test_a_body_that_breaks_off_is_none(part: bytes) -> None:
    """What came before is had all the same."""
    async with peer(saying(part, then_close=True)) as upstream, opened(upstream.url) as channel:
        connection = await channel.post(b"{}")
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
async def test_no_answer_is_unavailable_and_closes_the_connection(answer: bytes) -> None:
    play = saying(answer, then_close=len(answer) < 100)
    async with peer(play) as upstream, opened(upstream.url) as channel:
        with pytest.raises(NoResponse):
            await channel.post(b"{}")
        await upstream.closed.wait()
        assert channel.connections == (0, 0)


async def test_a_body_nobody_reads_makes_the_upstream_wait_and_is_had_whole_afterwards() -> None:
    size, sent = 64 * BUFFER_BYTES, 0

    async def flood(writer: StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * BUFFER_BYTES)
            sent += BUFFER_BYTES
            await writer.drain()

    async with peer(flood) as upstream, opened(upstream.url) as channel:
        connection: Any = await channel.post(b"{}")
        connection._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES
        )
        before = -1
        while before != sent:  # until it does not move any more
            before = sent
            await anyio.sleep(0.1)
        assert connection._waiting_bytes < 8 * BUFFER_BYTES
        assert len(await read_all(connection)) == size


async def test_a_connection_is_used_again_only_where_both_sides_are_through() -> None:
    closing = WHOLE.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
    for answer, connections in (
        (WHOLE, 1),
        (HEAD + b"1\r\na\r\n" + END, 1),
        (closing, 2),
        (WHOLE * 2, 2),
    ):
        async with peer(saying(answer)) as upstream, opened(upstream.url) as channel:
            for _ in range(2):
                assert await ask(channel) in {b"one", b"a"}
            assert upstream.connections == connections, answer


async def test_an_answer_that_is_left_in_the_middle_costs_its_connection() -> None:
    async with peer(saying(HEAD + b"3\r\none\r\n")) as upstream, opened(upstream.url) as channel:
        connection = await channel.post(b"{}")
        body = Body(most_pieces=1)
        await connection.read(body.take)
        assert body.pieces == [b"one"]
        connection.release()
        await upstream.closed.wait()


class _Enough(Exception):
    """Whoever reads wants no more."""


async def test_what_is_raised_by_whoever_reads_comes_out_of_the_reading_and_costs_the_connection() -> (
    None
):
    async with (
        peer(saying(HEAD, b"3\r\none\r\n" + END)) as upstream,
        opened(upstream.url) as channel,
    ):
        connection = await channel.post(b"{}")

        def take(_data: bytes) -> bool:
            raise _Enough

        with pytest.raises(_Enough):
            await connection.read(take)
        connection.abort()
        await upstream.closed.wait()


async def test_what_comes_before_a_body_that_is_none_is_handed_on_all_the_same() -> None:
    torn = HEAD + b"3\r\none\r\n" + b"no length\r\n"
    async with peer(saying(torn)) as upstream, opened(upstream.url) as channel:
        connection = await channel.post(b"{}")
        body = Body()
        with pytest.raises(BodyCut):
            await connection.read(body.take)
        assert body.pieces == [b"one"]


@pytest.mark.promise("cancel:disconnect")
async def test_an_aborted_connection_is_closed_at_once_and_not_a_turn_of_the_loop_later() -> None:
    """The other side is looked at before the event loop runs again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        async with opened(f"http://127.0.0.1:{server.getsockname()[1]}") as channel:
            connection = await channel._pool._connect()
            link, _ = server.accept()
            with link:
                link.setblocking(False)
                with pytest.raises(BlockingIOError):
                    link.recv(1)
                connection.abort()
                assert link.recv(1) == b""


async def test_an_abort_does_not_wait_for_a_request_that_nobody_reads() -> None:
    """Not on a transport either that closes already, and first sends what it has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with opened(f"http://127.0.0.1:{server.getsockname()[1]}") as channel:
            connection = await channel._pool._connect()
            connection._transport.write(b"x" * 30_000_000)
            connection._transport.close()
            assert not connection.is_lost
            connection.abort()
            while not connection.is_lost:
                await anyio.lowlevel.checkpoint()


async def test_an_idle_connection_that_is_about_to_be_lost_is_not_used_again() -> None:
    async with peer(saying(WHOLE)) as upstream, opened(upstream.url) as channel:
        connection = await channel.post(b"{}")
        assert await read_all(connection) == b"one"
        connection.release()
        connection.abort()  # as by an upstream that closes just now
        assert await ask(channel) == b"one"
        assert upstream.connections == 2


async def test_an_address_of_the_sixth_version_is_reached() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        async with opened(f"http://[::1]:{server.getsockname()[1]}") as channel:
            assert (await channel._pool._connect()).is_idle


async def test_an_idle_connection_is_closed_after_a_while_and_when_it_says_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.05)
    async with peer(saying(WHOLE)) as upstream, opened(upstream.url) as channel:
        await ask(channel)
        await upstream.closed.wait()
        assert channel.connections == (0, 0)
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 60)
    speak = anyio.Event()

    async def play(writer: StreamWriter) -> None:
        writer.write(WHOLE)
        await speak.wait()
        writer.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

    async with peer(play) as upstream, opened(upstream.url) as channel:
        await ask(channel)
        speak.set()
        await upstream.closed.wait()


@pytest.mark.promise("upstream:bounded")
async def test_a_connection_that_does_not_come_about_is_given_up() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        waiting = []
        for _ in range(2):  # more than its queue takes
            one = socket.socket()
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(full.getsockname())
            waiting.append(one)
        async with opened(url, connect_seconds=0.1) as channel:
            with pytest.raises(ConnectTimedOut):
                await channel.post(b"{}")
            assert channel.connections == (0, 0)
        for one in waiting:
            one.close()


# Proxies and TLS


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate, whose authority the service is told to trust."""
    authority = trustme.CA()
    certificate = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def through(monkeypatch: pytest.MonkeyPatch, scheme: str, proxy: str) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


async def test_tls_is_spoken_to_whom_the_certificate_is_for(tls: ssl.SSLContext) -> None:
    async with peer(saying(WHOLE), tls) as upstream:
        async with opened(f"https://127.0.0.1:{upstream.port}") as channel:
            with pytest.raises(ConnectFailed):
                await channel.post(b"{}")
        async with opened(f"https://localhost:{upstream.port}") as channel:
            assert await ask(channel) == b"one"
    assert len(upstream.heads) == 1


class Tunnel:
    """A proxy that passes everything on (RFC 9110, section 9.3.6), or says that it will not."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.answer = answer
        self.head = b""

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.head = await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        await writer.drain()
        if b" 200 " not in self.answer:
            if self.answer:  # and does not close, as a proxy that keeps connections
                await reader.read()
            return
        host, _, port = self.head.split(b" ")[1].decode().rpartition(":")
        from_upstream, to_upstream = await open_connection(host, int(port))
        try:
            async with anyio.create_task_group() as both:
                both.start_soon(pump, from_upstream, writer)
                await pump(reader, to_upstream)
                both.cancel_scope.cancel()
        finally:
            to_upstream.transport.abort()
            with anyio.CancelScope(shield=True), suppress(OSError):
                await to_upstream.wait_closed()


async def pump(reader: StreamReader, writer: StreamWriter) -> None:
    """Pass on what comes, to its end."""
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)


async def test_tls_goes_through_a_proxy_that_knows_the_password(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel = Tunnel()
    async with peer(saying(WHOLE), tls) as upstream, listening(tunnel.serve) as port:
        through(monkeypatch, "https", f"http://user:p%40ss@127.0.0.1:{port}")
        async with opened(f"https://localhost:{upstream.port}") as channel:
            assert await ask(channel) == b"one"
    assert tunnel.head.startswith(f"CONNECT localhost:{upstream.port} HTTP/1.1\r\n".encode())
    assert b"\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n" in tunnel.head
    assert b"Proxy-Authorization" not in upstream.heads[0]


REFUSALS = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n<p>No</p>",
    b"",
    b"x" * 20_000,
)


@pytest.mark.parametrize("answer", REFUSALS, ids=["refusal", "page", "nothing", "no head"])
@pytest.mark.usefixtures("tls")
async def test_a_proxy_that_refuses_is_unavailable(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel = Tunnel(answer)
    async with listening(tunnel.serve) as port:
        through(monkeypatch, "https", f"127.0.0.1:{port}")
        async with opened("https://upstream.test") as channel:
            with pytest.raises(ConnectFailed):
                await channel.post(b"{}")


async def test_a_proxy_for_everything_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    async with peer(saying(WHOLE)) as proxy:
        through(monkeypatch, "all", f"127.0.0.1:{proxy.port}")
        async with opened("http://upstream.test") as channel:
            assert await ask(channel) == b"one"
    assert proxy.heads[0].startswith(b"POST http://upstream.test/v1/chat HTTP/1.1\r\n")


async def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    through(monkeypatch, "http", "socks5://127.0.0.1:1080")
    with pytest.raises(UnusableEndpoint) as caught:
        Endpoint(httpx2.Request("POST", "http://upstream.test"), connect_seconds=1)
    assert "http://" in str(caught.value)
