"""The connections to one server: opened, reused and closed.

Their number is limited elsewhere, by the number of generations.
"""

import asyncio
import math
import re
from collections.abc import Mapping

import httpx2

from streamsvc.providers.http.connection import Connection
from streamsvc.providers.http.dialing import Dialer, proxy_authorization
from streamsvc.providers.http.errors import NoResponse, UnusableEndpoint

KEEPALIVE_SECONDS = 4.0
"""How long an idle connection is kept for the next request. Servers on uvicorn, such as vLLM, close theirs after 5 s
(`timeout_keep_alive`). If we close first, we never send on a connection that the server is closing."""

STALE_SECONDS = 1.0
"""How long it may take to notice that the server has closed a kept connection: a round trip."""

NO_FIELDS: Mapping[str, str] = {}

_CONTROL = re.compile(rb"[\0\r\n]")


class ConnectionPool:
    """Sends requests over the connections to one server. Created in a running event loop.

    Args:
        url: of the server; its path does not matter.
        connect_seconds: deadline for opening a connection, including TLS and a proxy.
        silent_seconds: how long a server may send nothing before it counts as silent.

    Raises:
        UnusableEndpoint: the proxy of the environment is of an unsupported kind.
    """

    def __init__(
        self, url: httpx2.URL, *, connect_seconds: float, silent_seconds: float = math.inf
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._stale_seconds = min(STALE_SECONDS, silent_seconds)
        self._dialer = Dialer(url, connect_seconds=connect_seconds)
        self._all: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # when each expires, the soonest first
        self._expiry: asyncio.TimerHandle | None = None  # of all of them
        self._opening = 0

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are in use or being opened, and how many are idle."""
        return len(self._all) - len(self._idle) + self._opening, len(self._idle)

    async def send(
        self, head: bytes, body: bytes, fields: Mapping[str, str] = NO_FIELDS
    ) -> Connection:
        """Send a request; return its connection when the head of the response has arrived.

        The caller must release it. If this raises or is cancelled, the connection has been closed.

        Args:
            head: as `encode_head` returns it.
            body: of the request.
            fields: further header fields, of this request alone; without control characters.

        Raises:
            ConnectTimedOut: no connection in time.
            ConnectFailed: no connection.
            NoResponse: no response.
        """
        more = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
        request = b"%b%d\r\n%b\r\n%b" % (head, len(body), more, body)
        if (kept := self._take_idle()) and await self._is_answered(kept, request):
            return kept
        return await _send(await self._connect(), request)

    def close(self) -> None:
        """Close all connections."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        for connection in list(self._all):
            connection.abort()

    def encode_head(self, request: httpx2.Request) -> bytes:
        """Return the head of a request, up to the value of its `Content-Length`.

        Raises:
            UnusableEndpoint: a header contains a control character, such as a line feed in a key.
        """
        return encode_head(request, self._dialer.plain_proxy)

    async def _is_answered(self, kept: Connection, request: bytes) -> bool:
        """Send on a kept connection; return whether the server was still there.

        If the server had already closed it, it has not refused the request. That shows within a round trip, as an
        end before the first byte of a response. If the end takes longer, the server had received the request.
        """
        until = self._loop.time() + self._stale_seconds
        try:
            await _send(kept, request)
        except NoResponse as exc:
            if exc.has_begun or self._loop.time() >= until:
                raise
            return False
        return True

    def _take_idle(self) -> Connection | None:
        """Return the idle connection that was used last, if there is one."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.is_idle:  # and not about to be lost
                return connection
        return None

    def _changed(self, connection: Connection) -> None:
        """Keep an idle connection for a while; forget one that is lost."""
        if connection.is_idle:
            self._idle[connection] = until = self._loop.time() + KEEPALIVE_SECONDS
            if self._expiry is None:
                self._expiry = self._loop.call_at(until, self._close_expired)
        elif connection.is_lost:
            self._all.discard(connection)
            self._idle.pop(connection, None)

    def _close_expired(self) -> None:
        """Close idle connections whose time is over. One timer serves all, because each answer ends with one."""
        self._expiry = None
        for connection, until in list(self._idle.items()):
            if until > self._loop.time():
                self._expiry = self._loop.call_at(until, self._close_expired)
                return
            del self._idle[connection]
            connection.abort()

    async def _connect(self) -> Connection:
        self._opening += 1
        try:
            connection = await self._dialer.dial(self._new)
        finally:
            self._opening -= 1
        if not connection.is_lost:
            self._all.add(connection)
        return connection

    def _new(self) -> Connection:
        return Connection(self._changed)


def encode_head(request: httpx2.Request, proxy: httpx2.URL | None) -> bytes:
    """Return the head of a request, up to the value of its `Content-Length`.

    Args:
        request: its body does not matter.
        proxy: the proxy that is sent the requests themselves, if there is one.

    Raises:
        UnusableEndpoint: a header contains a control character, such as a line feed in a key.
    """
    target, through_proxy = request.url.raw_path, b""
    if proxy is not None:
        target = str(request.url.copy_with(userinfo=b"", fragment=None)).encode()
        through_proxy = proxy_authorization(proxy)
    ours = {b"connection", b"content-length", b"transfer-encoding"}
    if any(_CONTROL.search(value) for _, value in request.headers.raw):
        raise UnusableEndpoint("a header field with a control character")
    fields = b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, value in request.headers.raw
        if name.lower() not in ours
    )
    method = request.method.encode()
    return b"%b %b HTTP/1.1\r\n%b%bContent-Length: " % (method, target, fields, through_proxy)


async def _send(connection: Connection, request: bytes) -> Connection:
    try:
        await connection.send(request)
    except BaseException:
        connection.abort()
        raise
    return connection
