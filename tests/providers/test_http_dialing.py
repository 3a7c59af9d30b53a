"""Connecting on real sockets: addresses, deadlines, TLS and proxies."""

import socket
import ssl
from asyncio import StreamReader, StreamWriter, open_connection
from contextlib import suppress
from pathlib import Path

import anyio
import httpx2
import pytest
import trustme

from streamsvc.providers.http.endpoint import Endpoint
from streamsvc.providers.http.errors import ConnectFailed, ConnectTimedOut, UnusableEndpoint
from support.http_peer import WHOLE, ask, listening, opened, peer, saying


async def test_ipv6_address_is_reached() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        async with opened(f"http://[::1]:{server.getsockname()[1]}") as endpoint:
            assert (await endpoint._pool._connect()).is_idle


@pytest.mark.promise("upstream:bounded")
async def test_connecting_has_a_deadline() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        waiting = []
        for _ in range(2):  # more than its queue holds
            one = socket.socket()
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(full.getsockname())
            waiting.append(one)
        async with opened(url, connect_seconds=0.1) as endpoint:
            with pytest.raises(ConnectTimedOut):
                await endpoint.send(b"{}")
            assert endpoint.connections == (0, 0)
        for one in waiting:
            one.close()


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate, from an authority that the service trusts."""
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


async def test_certificate_must_match_the_host(tls: ssl.SSLContext) -> None:
    async with peer(saying(WHOLE), tls) as upstream:
        async with opened(f"https://127.0.0.1:{upstream.port}") as endpoint:
            with pytest.raises(ConnectFailed):
                await endpoint.send(b"{}")
        async with opened(f"https://localhost:{upstream.port}") as endpoint:
            assert await ask(endpoint) == b"one"
    assert len(upstream.heads) == 1


class Tunnel:
    """A proxy that opens tunnels (RFC 9110, section 9.3.6), or refuses."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.answer = answer
        self.head = b""

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.head = await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        await writer.drain()
        if b" 200 " not in self.answer:
            if self.answer:  # without closing, as a proxy with persistent connections
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
    """Relay all data until the end."""
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)


async def test_tls_tunnels_through_a_proxy_with_a_password(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel = Tunnel()
    async with peer(saying(WHOLE), tls) as upstream, listening(tunnel.serve) as port:
        through(monkeypatch, "https", f"http://user:p%40ss@127.0.0.1:{port}")
        async with opened(f"https://localhost:{upstream.port}") as endpoint:
            assert await ask(endpoint) == b"one"
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
async def test_refusing_proxy_fails_the_connection(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel = Tunnel(answer)
    async with listening(tunnel.serve) as port:
        through(monkeypatch, "https", f"127.0.0.1:{port}")
        async with opened("https://upstream.test") as endpoint:
            with pytest.raises(ConnectFailed):
                await endpoint.send(b"{}")


async def test_all_proxy_is_used_for_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    async with peer(saying(WHOLE)) as proxy:
        through(monkeypatch, "all", f"127.0.0.1:{proxy.port}")
        async with opened("http://upstream.test") as endpoint:
            assert await ask(endpoint) == b"one"
    assert proxy.heads[0].startswith(b"POST http://upstream.test/v1/chat HTTP/1.1\r\n")


async def test_unsupported_proxy_is_an_unusable_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    through(monkeypatch, "http", "socks5://127.0.0.1:1080")
    with pytest.raises(UnusableEndpoint) as caught:
        Endpoint(httpx2.Request("POST", "http://upstream.test"), connect_seconds=1)
    assert "http://" in str(caught.value)
