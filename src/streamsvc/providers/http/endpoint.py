"""The way to one upstream: a request that always has the same head, over connections that are kept.

It goes to the same address with the same headers, so that is put into bytes once; what is sent is this
and a body.
"""

import math

import httpx2

from streamsvc.providers.http.connection import Connection
from streamsvc.providers.http.pool import ConnectionPool


class Endpoint:
    """See the module. Made in a running event loop.

    Args:
        request: its method, address and headers are those of every request; its body is none.
        connect_seconds: deadline of a connection, TLS and a proxy included.
        silent_seconds: how long a server may say nothing before it counts as silent.

    Raises:
        ProviderUnavailable: the request cannot be sent like this, or not through the proxy.
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
        """How many connections are in use or being opened, and how many are at rest."""
        return self._pool.connections

    async def post(self, body: bytes) -> Connection:
        """Send a request with this body; as `ConnectionPool.send`."""
        return await self._pool.send(self._head, body)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()
