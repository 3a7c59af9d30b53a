"""The way to one upstream: connections that are opened, used again and closed.

A request always goes to the same address with the same head, so that is put into bytes once; what is
sent is this and a body. How many connections there are is bounded elsewhere, by generations.
"""

import asyncio
import base64
import re
import socket
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import aiohappyeyeballs
import anyio
import httpx2

from streamsvc.errors import ProviderTimedOut, ProviderUnavailable
from streamsvc.providers.http1 import Connection

KEEPALIVE_SECONDS = 5.0
"""How long an idle connection is kept for the next request."""

FAMILY_SECONDS = 0.25
"""How much earlier one address of a host is tried than the next (RFC 8305, section 8)."""

_TUNNEL_HEAD_BYTES = 16_384
_CONTROL = re.compile(rb"[\0\r\n]")
_PORTS = {"http": 80, "https": 443}


class Channel:
    """See the module. Made in a running event loop.

    Args:
        request: its method, address and headers are those of every request; its body is none.
        connect_seconds: deadline of a connection, TLS and a proxy included.

    A proxy is that of the environment, as it is now (`http_proxy`, `https_proxy`, `no_proxy`).
    """

    def __init__(self, request: httpx2.Request, *, connect_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect_seconds = connect_seconds
        self._url = request.url
        self._tls = httpx2.create_ssl_context() if request.url.scheme == "https" else None
        self._proxy = _proxy_for(request.url)
        self._head = self._encode_head(request)
        self._all: set[Connection] = set()
        self._idle: dict[Connection, asyncio.TimerHandle] = {}
        self._opening = 0

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are in use or being opened, and how many are at rest."""
        return len(self._all) - len(self._idle) + self._opening, len(self._idle)

    async def post(self, body: bytes) -> Connection:
        """Send a request with this body; return the connection when the head of its answer is there.

        Whoever gets it releases it. Where this is left by an error or cancelled, it has been closed.

        Raises:
            ProviderTimedOut: no connection in time.
            ProviderUnavailable: no connection, or no answer.
        """
        connection = self._take() or await self._connect()
        try:
            await connection.ask(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        except BaseException:
            connection.abort()
            raise
        return connection

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self._all):
            connection.abort()

    def _take(self) -> Connection | None:
        """Return the idle connection that was used last, if there is one."""
        while self._idle:
            connection, expiry = self._idle.popitem()
            expiry.cancel()
            if connection.is_idle:  # and not about to be lost
                return connection
        return None

    def _changed(self, connection: Connection) -> None:
        """Keep an idle connection for a while; forget one that is lost."""
        if connection.is_idle:
            self._idle[connection] = self._loop.call_later(KEEPALIVE_SECONDS, connection.abort)
        elif connection.is_lost:
            self._all.discard(connection)
            if expiry := self._idle.pop(connection, None):
                expiry.cancel()

    async def _connect(self) -> Connection:
        self._opening += 1
        try:
            with anyio.fail_after(self._connect_seconds):
                connection = await self._open()
        except TimeoutError as exc:
            raise ProviderTimedOut("connect") from exc
        except (OSError, UnicodeError) as exc:
            raise ProviderUnavailable from exc
        finally:
            self._opening -= 1
        if not connection.is_lost:
            self._all.add(connection)
        return connection

    async def _open(self) -> Connection:
        way = self._proxy or self._url
        found = await self._loop.getaddrinfo(
            way.raw_host.decode(), way.port or _PORTS[way.scheme], type=socket.SOCK_STREAM
        )
        host = self._url.raw_host.decode() if self._tls else None
        has_tunnel = self._proxy is not None and self._tls is not None
        family, *_, address = found[0]
        if len(found) == 1 and family is socket.AF_INET and not has_tunnel:
            # Nothing to race, and nobody to talk to first.
            ip, port = str(address[0]), int(address[1])
            _, connection = await self._loop.create_connection(
                self._new, ip, port, ssl=self._tls, server_hostname=host
            )
            return connection
        link = await aiohappyeyeballs.start_connection(
            found, happy_eyeballs_delay=FAMILY_SECONDS, loop=self._loop
        )
        try:
            if has_tunnel:
                await self._tunnel(link)
            _, connection = await self._loop.create_connection(
                self._new, sock=link, ssl=self._tls, server_hostname=host
            )
        except BaseException:
            link.close()
            raise
        return connection

    def _new(self) -> Connection:
        return Connection(self._changed)

    async def _tunnel(self, link: socket.socket) -> None:
        """Have the proxy pass everything on to the upstream (RFC 9110, section 9.3.6).

        Raises:
            ConnectionError: it does not.
        """
        authority = f"{_bracketed(self._url.raw_host.decode())}:{self._url.port or _PORTS['https']}".encode()
        request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
            authority,
            authority,
            _proxy_authorization(self._proxy),
        )
        await self._loop.sock_sendall(link, request)
        head = b""
        while b"\r\n\r\n" not in head:
            data = await self._loop.sock_recv(link, _TUNNEL_HEAD_BYTES)
            head += data
            if not data or len(head) > _TUNNEL_HEAD_BYTES:
                raise ConnectionError
        # Behind a good head there is nothing yet: the upstream speaks second.
        if not (head.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")) and head.endswith(b"\r\n\r\n")):
            raise ConnectionRefusedError

    def _encode_head(self, request: httpx2.Request) -> bytes:
        """Return the head of every request, up to the value of its `Content-Length`.

        Raises:
            ProviderUnavailable: a key, say, has the end of a line in it.
        """
        target, through_proxy = request.url.raw_path, b""
        if self._proxy is not None and self._tls is None:
            target = str(request.url.copy_with(userinfo=b"", fragment=None)).encode()
            through_proxy = _proxy_authorization(self._proxy)
        ours = {b"connection", b"content-length", b"transfer-encoding"}
        if any(_CONTROL.search(value) for _, value in request.headers.raw):
            raise ProviderUnavailable from ValueError("a header field with a control character")
        fields = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in request.headers.raw
            if name.lower() not in ours
        )
        method = request.method.encode()
        return b"%b %b HTTP/1.1\r\n%b%bContent-Length: " % (method, target, fields, through_proxy)


def _proxy_for(url: httpx2.URL) -> httpx2.URL | None:
    """Return the proxy that the environment names for an address.

    Raises:
        ProviderUnavailable: it is of a kind that is not supported.
    """
    proxy = getproxies().get(url.scheme)
    if proxy is None or proxy_bypass(url.host):
        return None
    found = httpx2.URL(proxy if "://" in proxy else f"http://{proxy}")
    if found.scheme != "http":
        raise ProviderUnavailable from ValueError("only proxies with http:// are supported")
    return found


def _proxy_authorization(proxy: httpx2.URL | None) -> bytes:
    if proxy is None or not proxy.userinfo:
        return b""
    credentials = base64.b64encode(unquote(proxy.userinfo.decode()).encode())
    return b"Proxy-Authorization: Basic %b\r\n" % credentials


def _bracketed(host: str) -> str:
    """Return a host as it stands in an address (RFC 3986, section 3.2.2)."""
    return f"[{host}]" if ":" in host else host
