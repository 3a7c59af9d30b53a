"""Connections to one server: its name, TCP, a proxy of the environment, TLS; within one deadline."""

import asyncio
import base64
import socket
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import aiohappyeyeballs
import anyio
import httpx2

from streamsvc.errors import ProviderTimedOut, ProviderUnavailable
from streamsvc.providers.http.names import Names

FAMILY_SECONDS = 0.25
"""How much earlier one address of a host is tried than the next (RFC 8305, section 8)."""

_TUNNEL_HEAD_BYTES = 16_384
_PORTS = {"http": 80, "https": 443}

P = TypeVar("P", bound=asyncio.Protocol)


class Dialer:
    """See the module. Made in a running event loop.

    Args:
        url: of the server; its path does not matter.
        connect_seconds: the deadline.

    Attributes:
        plain_proxy: the proxy that requests are spoken to, and not only passed through.

    A proxy is that of the environment, as it is now (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`).

    Raises:
        ProviderUnavailable: the proxy is of a kind that is not supported.
    """

    def __init__(self, url: httpx2.URL, *, connect_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect_seconds = connect_seconds
        self._url = url
        self._tls = httpx2.create_ssl_context() if url.scheme == "https" else None
        self._proxy = _proxy_for(url)
        self.plain_proxy = self._proxy if self._tls is None else None
        way = self._proxy or url
        self._names = Names(
            way.raw_host, way.port or _PORTS[way.scheme], patience_seconds=connect_seconds
        )

    async def dial(self, new: Callable[[], P]) -> P:
        """Return the protocol that *new* makes, connected.

        Raises:
            ProviderTimedOut: not in time.
            ProviderUnavailable: not at all.
        """
        try:
            with anyio.fail_after(self._connect_seconds):
                return await self._open(new)
        except TimeoutError as exc:
            raise ProviderTimedOut("connect") from exc
        except (OSError, UnicodeError) as exc:
            raise ProviderUnavailable from exc

    async def _open(self, new: Callable[[], P]) -> P:
        found = await self._names.look_up()
        host = self._url.raw_host.decode() if self._tls else None
        has_tunnel = self._proxy is not None and self._tls is not None
        family, *_, address = found[0]
        if len(found) == 1 and family is socket.AF_INET and not has_tunnel:
            # By the event loop: a socket that is connected by hand costs each stream memory (uvloop).
            ip, port, *_ = address
            _, connection = await self._loop.create_connection(
                new, str(ip), int(port), ssl=self._tls, server_hostname=host
            )
            return connection
        link = await aiohappyeyeballs.start_connection(
            found, happy_eyeballs_delay=FAMILY_SECONDS, loop=self._loop
        )
        try:
            if has_tunnel:
                await self._tunnel(link)
            _, connection = await self._loop.create_connection(
                new, sock=link, ssl=self._tls, server_hostname=host
            )
        except BaseException:
            link.close()
            raise
        return connection

    async def _tunnel(self, link: socket.socket) -> None:
        """Have the proxy pass everything on to the upstream (RFC 9110, section 9.3.6).

        Raises:
            ConnectionError: it does not.
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
        # Behind a good head there is nothing yet: the upstream speaks second.
        if not (head.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")) and head.endswith(b"\r\n\r\n")):
            raise ConnectionRefusedError


def _proxy_for(url: httpx2.URL) -> httpx2.URL | None:
    """Return the proxy that the environment names for an address.

    Raises:
        ProviderUnavailable: it is of a kind that is not supported.
    """
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy is None or proxy_bypass(url.host):
        return None
    found = httpx2.URL(proxy if "://" in proxy else f"http://{proxy}")
    if found.scheme != "http":
        raise ProviderUnavailable from ValueError("only proxies with http:// are supported")
    return found


def proxy_authorization(proxy: httpx2.URL | None) -> bytes:
    """Return the header line that a proxy is shown its password in; it may be empty."""
    if proxy is None or not proxy.userinfo:
        return b""
    credentials = base64.b64encode(unquote(proxy.userinfo.decode()).encode())
    return b"Proxy-Authorization: Basic %b\r\n" % credentials


def _bracketed(host: str) -> str:
    """Return a host as it stands in an address (RFC 3986, section 3.2.2)."""
    return f"[{host}]" if ":" in host else host
