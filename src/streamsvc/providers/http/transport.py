"""An SDK's HTTP client over connections of ours: the same bounds, look-ups and reuse for every provider."""

from collections.abc import AsyncIterator

import httpx2
from typing_extensions import override

from streamsvc.errors import ProviderError, ProviderTimedOut, UpstreamCut
from streamsvc.providers.http.connection import Connection
from streamsvc.providers.http.pool import ConnectionPool


class Transport(httpx2.AsyncBaseTransport):
    """Sends the requests of an `httpx2.AsyncClient` to one server, by HTTP/1.1.

    What fails is raised as httpx2's own error, which SDKs know; ours is its cause. The head of an answer
    has the fields of `http1.KEPT_FIELDS`. Timeouts are the caller's, but for that of a connection.

    Args:
        url: of the server; a request to another one is refused.
        connect_seconds: deadline of a connection, TLS and a proxy included.
        silent_seconds: how long a server may say nothing before it counts as silent.

    Raises:
        ProviderUnavailable: the proxy of the environment is of a kind that is not supported.
    """

    def __init__(self, url: str, *, connect_seconds: float, silent_seconds: float) -> None:
        self._url = httpx2.URL(url)
        self._pool = ConnectionPool(
            self._url, connect_seconds=connect_seconds, silent_seconds=silent_seconds
        )

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are in use or being opened, and how many are at rest."""
        return self._pool.connections

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if _origin(request.url) != _origin(self._url):
            raise httpx2.UnsupportedProtocol("another server than the configured one")
        body = await request.aread()
        try:
            connection = await self._pool.send(self._pool.encode_head(request), body)
        except ProviderTimedOut as exc:
            raise httpx2.ConnectTimeout("no connection in time") from exc
        except ProviderError as exc:
            raise httpx2.ConnectError("no connection, or no answer") from exc
        return httpx2.Response(
            connection.status, headers=connection.headers, stream=_Body(connection)
        )

    @override
    async def aclose(self) -> None:
        self._pool.close()


class _Body(httpx2.AsyncByteStream):
    """The body of an answer; closing it releases the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: list[bytes] = []

        def take(data: bytes) -> bool:
            pieces.append(data)
            return False

        while self._connection is not None:
            try:
                await self._connection.read(take)
            except UpstreamCut as exc:
                raise httpx2.ReadError("the answer broke off") from exc
            if not pieces:
                return
            yield pieces.pop()

    @override
    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()


def _origin(url: httpx2.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port
