"""Asks one server a few questions, and measures each step on the way to it: for `streamsvc doctor`."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import aiohappyeyeballs
import httpx2
import msgspec
from typing_extensions import override

from streamsvc.eventloop import now
from streamsvc.providers.http.connection import Connection
from streamsvc.providers.http.dialing import FAMILY_SECONDS, Dialer, P
from streamsvc.providers.http.exchange import read_bounded
from streamsvc.providers.http.pool import encode_head

BODY_BYTES = 4_000_000
BODY_SECONDS = 3.0
"""How much of a response is read, and for how long: a list of models may have a megabyte."""

T = TypeVar("T")


class Reply(msgspec.Struct, frozen=True):
    """A response.

    Attributes:
        status: of the response.
        headers: as `Exchange.headers`.
        body: up to `BODY_BYTES` of it.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Steps:
    """How long each step took.

    Attributes:
        seconds: of each step that was taken: `DNS`, `TCP`, `proxy`, `TLS`, `answer`; the latest, if there were several.
        latest: the step that began last; if it is not in `seconds`, it has failed.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.latest = "DNS"

    async def take(self, step: str, work: Awaitable[T]) -> T:
        """Await a step."""
        self.latest = step
        self.seconds.pop(step, None)
        began = now()
        result = await work
        self.seconds[step] = now() - began
        return result


class Probe:
    """Sends requests to one server, one at a time. Created in a running event loop.

    Args:
        url: of the server; its path does not matter.
        connect_seconds: deadline for opening a connection, including TLS and a proxy.

    Attributes:
        steps: how long they took.
        ahead: how far the server's clock is ahead of ours, in seconds, at least; None if it does not say.

    Raises:
        UnusableEndpoint: the proxy of the environment is of an unsupported kind.
    """

    def __init__(self, url: str, *, connect_seconds: float) -> None:
        self.steps = Steps()
        self.ahead: float | None = None
        self._dialer = _TimedDialer(httpx2.URL(url), connect_seconds=connect_seconds)
        self._dialer.steps = self.steps
        self._connection: _DatedConnection | None = None

    async def ask(self, request: httpx2.Request) -> Reply:
        """Send a request, over the same connection if the server keeps it, and return the response.

        Raises:
            ConnectTimedOut: no connection in time.
            ConnectFailed: no connection.
            NoResponse: no response.
            UnusableEndpoint: a header contains a control character.
        """
        body = request.read()
        head = encode_head(request, self._dialer.plain_proxy)
        connection = self._connection
        if connection is None or not connection.is_idle:
            connection = await self._dialer.dial(lambda: _DatedConnection(lambda _: None))
            self._connection = connection
        await self.steps.take(
            "answer", connection.send(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        )
        try:
            answer = await read_bounded(connection.read, max_bytes=BODY_BYTES, seconds=BODY_SECONDS)
            self.ahead = _ahead(connection.date)
            return Reply(connection.status, connection.headers, answer)
        finally:
            connection.release()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.abort()


class _TimedDialer(Dialer):
    """Takes the steps one by one; the usual way joins some, to save memory."""

    steps: Steps

    @override
    async def _open(self, new: Callable[[], P]) -> P:
        steps = self.steps
        addresses = await steps.take("DNS", self._names.look_up())
        connecting = aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=FAMILY_SECONDS, loop=self._loop
        )
        link = await steps.take("TCP", connecting)
        try:
            if self._proxy is not None and self._tls is not None:
                await steps.take("proxy", self._tunnel(link))
            host = self._url.raw_host.decode() if self._tls else None
            opening = self._loop.create_connection(
                new, sock=link, ssl=self._tls, server_hostname=host
            )
            _, protocol = await (steps.take("TLS", opening) if self._tls else opening)
        except BaseException:
            link.close()
            raise
        return protocol


class _DatedConnection(Connection):
    """A connection that keeps the `Date` of its latest response, too."""

    __slots__ = ("date",)

    def __init__(self, on_change: Callable[[Connection], None]) -> None:
        super().__init__(on_change)
        self.date = ""

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"date":
            self.date = value.decode("latin-1")
        super().on_header(name, value)


def _ahead(date: str) -> float | None:
    """Return how far a clock is ahead of ours that has just shown a date in whole seconds; at least that far.

    Args:
        date: the field `Date` (RFC 9110, section 6.6.1).
    """
    try:
        shown = parsedate_to_datetime(date)
    except (ValueError, TypeError, LookupError, OverflowError):
        return None
    ahead = (shown.replace(tzinfo=shown.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(ahead, 0.0) or min(ahead + 1, 0.0)  # the date may be anywhere within its second
