"""Opens a connection to one server: DNS, TCP, the environment's proxy and TLS, all within one deadline."""

import asyncio
import base64
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar, cast
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import aiohappyeyeballs
import anyio
import httpx2

from streamsvc.providers.http.errors import ConnectFailed, ConnectTimedOut, UnusableEndpoint
from streamsvc.providers.http.names import Names

FAMILY_SECONDS = 0.25
"""How long to wait for one address of a host before trying the next one as well (RFC 8305, section 8)."""

_TUNNEL_HEAD_BYTES = 16_384
_PORTS = {"http": 80, "https": 443}

P = TypeVar("P", bound=asyncio.Protocol)


class Dialer:
    """Opens connections to one server. Created in a running event loop.

    The proxy is that of the environment at this moment (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`).

    Args:
        url: of the server; its path does not matter.
        connect_seconds: the deadline.

    Attributes:
        plain_proxy: the proxy that is sent the requests themselves; a proxy that only tunnels TLS is not.

    Raises:
        UnusableEndpoint: the proxy is of an unsupported kind.
    """

    def __init__(self, url: httpx2.URL, *, connect_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect_seconds = connect_seconds
        self._url = url
        self._tls = httpx2.create_ssl_context() if url.scheme == "https" else None
        self._proxy = _proxy_for(url)
        self.plain_proxy = self._proxy if self._tls is None else None
        peer = self._proxy or url
        self._names = Names(
            peer.raw_host, peer.port or _PORTS[peer.scheme], patience_seconds=connect_seconds
        )

    async def dial(self, new: Callable[[], P]) -> P:
        """Return the protocol that *new* makes, connected.

        Raises:
            ConnectTimedOut: the deadline passed.
            ConnectFailed: there is no connection.
        """
        # Not `fail_after`: a generator makes it cost 8 µs more, and a burst of requests opens a connection for each.
        with anyio.CancelScope(deadline=self._loop.time() + self._connect_seconds):
            try:
                return await self._open(new)
            except TimeoutError as exc:  # the system's own
                raise ConnectTimedOut from exc
            except (OSError, UnicodeError) as exc:
                raise ConnectFailed from exc
        raise ConnectTimedOut

    async def _open(self, new: Callable[[], P]) -> P:
        addresses = await self._names.look_up()
        host = self._url.raw_host.decode() if self._tls else None
        has_tunnel = self._proxy is not None and self._tls is not None
        family, *_, address = addresses[0]
        if len(addresses) == 1 and family is socket.AF_INET and not has_tunnel:
            return await self._open_by_loop(new, address, host)
        link = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=FAMILY_SECONDS, loop=self._loop
        )
        try:
            if has_tunnel:
                await self._tunnel(link)
            _, protocol = await self._loop.create_connection(
                new, sock=link, ssl=self._tls, server_hostname=host
            )
        except BaseException:
            link.close()
            raise
        return protocol

    async def _open_by_loop(
        self, new: Callable[[], P], address: Sequence[object], host: str | None
    ) -> P:
        """Connect to a single address with the event loop and not with our own socket, to save memory.

        Happy eyeballs connects with `loop.sock_connect`. There uvloop awaits a future that is not asyncio's own,
        and for such a future CPython looks up `result` with a newly created string each time (`task_wakeup`).
        The type's attribute cache keeps that string, and one such string in an arena of Python's allocator
        prevents the whole MiB from being returned after a burst of streams. `create_connection` awaits no such
        future. Without this, memory is not returned after a thousand streams. Seen with CPython 3.11, uvloop 0.23.
        """
        ip, port, *_ = address
        _, protocol = await self._loop.create_connection(
            new, str(ip), cast("int", port), ssl=self._tls, server_hostname=host
        )
        return protocol

    async def _tunnel(self, link: socket.socket) -> None:
        """Have the proxy open a tunnel to the server (RFC 9110, section 9.3.6).

        Raises:
            ConnectionError: the proxy refuses.
        """
        authority = f"{_bracketed(self._url.raw_host.decode())}:{self._url.port or _PORTS['https']}".encode()
        request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
            authority,
            authority,
            proxy_authorization(self._proxy),
        )
        await self._loop.sock_sendall(link, request)
        head = b""
        while b"\r\n\r\n" not in head:
            data = await self._loop.sock_recv(link, _TUNNEL_HEAD_BYTES)
            head += data
            if not data or len(head) > _TUNNEL_HEAD_BYTES:
                raise ConnectionError
        # Nothing follows a successful head yet: in TLS the client speaks first.
        if not (head.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")) and head.endswith(b"\r\n\r\n")):
            raise ConnectionRefusedError


def _proxy_for(url: httpx2.URL) -> httpx2.URL | None:
    """Return the environment's proxy for a URL.

    Raises:
        UnusableEndpoint: it is of an unsupported kind.
    """
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy is None or proxy_bypass(url.host):
        return None
    address = httpx2.URL(proxy if "://" in proxy else f"http://{proxy}")
    if address.scheme != "http":
        raise UnusableEndpoint("only proxies with http:// are supported")
    return address


def proxy_authorization(proxy: httpx2.URL | None) -> bytes:
    """Return the header line with the proxy's password; empty if there is none."""
    if proxy is None or not proxy.userinfo:
        return b""
    credentials = base64.b64encode(unquote(proxy.userinfo.decode()).encode())
    return b"Proxy-Authorization: Basic %b\r\n" % credentials


def _bracketed(host: str) -> str:
    """Return a host as it is written in a URL (RFC 3986, section 3.2.2)."""
    return f"[{host}]" if ":" in host else host
