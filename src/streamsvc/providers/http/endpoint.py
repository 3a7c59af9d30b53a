"""Where one provider entry sends its requests: all with the same head, over pooled connections.

URL and headers never change, so the head is encoded once; a request is these bytes and a body.
"""

import math
from collections.abc import Mapping

import httpx2

from streamsvc.providers.http.exchange import Exchange
from streamsvc.providers.http.pool import NO_FIELDS, ConnectionPool


class Endpoint:
    """Sends requests that differ only in their body and few header fields. Created in a running event loop.

    Args:
        request: every request has its method, URL and headers; its body is empty.
        connect_seconds: deadline for opening a connection, including TLS and a proxy.
        silent_seconds: how long a server may send nothing before it counts as silent.

    Raises:
        UnusableEndpoint: the request has an invalid header, or the proxy is unsupported.
    """

    def __init__(
        self, request: httpx2.Request, *, connect_seconds: float, silent_seconds: float = math.inf
    ) -> None:
        self._pool = ConnectionPool(
            request.url, connect_seconds=connect_seconds, silent_seconds=silent_seconds
        )
        self._head = self._pool.encode_head(request)

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are in use or being opened, and how many are idle."""
        return self._pool.connections

    async def send(self, body: bytes, fields: Mapping[str, str] = NO_FIELDS) -> Exchange:
        """Send a request with this body, and wait for the head of its response.

        The caller must release the exchange. If this raises or is cancelled, the connection has been closed.

        Args:
            body: of the request.
            fields: header fields of this request alone; without control characters.

        Raises:
            ConnectTimedOut: no connection in time.
            ConnectFailed: no connection.
            NoResponse: no response.
        """
        return await self._pool.send(self._head, body, fields)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()
