"""Our connections as the transport of an SDK's HTTP client, with the same limits, look-ups and reuse."""

from collections.abc import AsyncIterator

import httpx2
from typing_extensions import override

from streamsvc.providers.http.errors import BodyCut, ConnectTimedOut, TransportError
from streamsvc.providers.http.exchange import Exchange
from streamsvc.providers.http.pool import ConnectionPool


class Transport(httpx2.AsyncBaseTransport):
    """Sends the requests of an `httpx2.AsyncClient` to one server, over HTTP/1.1.

    A failure is raised as httpx2's own error, which SDKs know; ours is its cause. A response only has the
    headers in `connection.KEPT_FIELDS`. The only deadline here is that of connecting; the caller sets others.

    Args:
        url: of the server; a request to a different server is refused.
        connect_seconds: deadline for opening a connection, including TLS and a proxy.
        silent_seconds: how long a server may send nothing before it counts as silent.

    Raises:
        UnusableEndpoint: the proxy of the environment is of an unsupported kind.
    """

    def __init__(self, url: str, *, connect_seconds: float, silent_seconds: float) -> None:
        self._url = httpx2.URL(url)
        self._pool = ConnectionPool(
            self._url, connect_seconds=connect_seconds, silent_seconds=silent_seconds
        )

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are in use or being opened, and how many are idle."""
        return self._pool.connections

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if _origin(request.url) != _origin(self._url):
            raise httpx2.UnsupportedProtocol("a server other than the configured one")
        body = await request.aread()
        try:
            exchange = await self._pool.send(self._pool.encode_head(request), body)
        except ConnectTimedOut as exc:
            raise httpx2.ConnectTimeout("no connection in time") from exc
        except TransportError as exc:
            raise httpx2.ConnectError("no connection, or no response") from exc
        return httpx2.Response(exchange.status, headers=exchange.headers, stream=_Body(exchange))

    @override
    async def aclose(self) -> None:
        self._pool.close()


class _Body(httpx2.AsyncByteStream):
    """The body of a response; closing it releases the connection."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Exchange | None = exchange

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: list[bytes] = []

        def take(data: bytes) -> bool:
            pieces.append(data)
            return False

        while self._exchange is not None:
            try:
                await self._exchange.read(take)
            except BodyCut as exc:
                raise httpx2.ReadError("the response broke off") from exc
            if not pieces:
                return
            yield pieces.pop()

    @override
    async def aclose(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.release()


def _origin(url: httpx2.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port
