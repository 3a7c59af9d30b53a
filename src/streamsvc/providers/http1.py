"""HTTP/1.1 on one connection: a request goes out, and the body of its answer is read as it comes.

This is the first step of every token, so nothing stands between the parser (llhttp, in C) and whoever
reads. One request at a time, and one owner: who has asked reads, and then releases. What fails is
raised as an error of ours, behind the bytes that came before it. The protocol is RFC 9112.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import cast

import httptools
from typing_extensions import override

from streamsvc.errors import ProviderError, ProviderUnavailable, UpstreamCut

HEAD_BYTES = 131_072
"""How long the head of an answer may be, and one read more."""

BUFFER_BYTES = 65_536
"""How much of a body waits to be read before the upstream is made to wait."""

KEPT_FIELDS = frozenset(
    (
        b"content-encoding",
        b"content-length",
        b"retry-after",
        b"retry-after-ms",
        b"transfer-encoding",
    )
)
"""The header fields that say something to us; a vendor sends thirty, for as long as a stream is held."""

_FIRST_FINAL_STATUS = 200
_NO_CONTENT = 204


class Phase(Enum):
    """Where the exchange of a connection stands."""

    IDLE = auto()
    ASKED = auto()  # up to the end of the head
    ANSWERING = auto()
    OVER = auto()


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        on_change: called when it has been released, and when it is lost.

    Attributes:
        status: of the answer.
        headers: those of `KEPT_FIELDS` that the answer has, their names in lower case.
        is_lost: whether it is closed.
    """

    _transport: asyncio.Transport

    def __init__(self, on_change: Callable[["Connection"], None]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_lost = False
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._phase = Phase.IDLE
        self._head_bytes = 0
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._may_be_kept = False
        self._ends_with_connection = False
        self._failure: ProviderError | None = None

    @property
    def is_idle(self) -> bool:
        """Whether another request may be sent."""
        return self._phase is Phase.IDLE and not self.is_lost

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success (RFC 9110, section 15.3)."""
        return self.status // 100 == 2  # noqa: PLR2004

    @property
    def is_over(self) -> bool:
        """Whether the whole answer has arrived."""
        return self._phase is Phase.OVER

    async def ask(self, request: bytes) -> None:
        """Send a request, and wait for the head of its answer.

        Raises:
            ProviderUnavailable: there will be none.
        """
        self._phase = Phase.ASKED
        self._head_bytes = 0
        self._transport.write(request)
        while self._phase is Phase.ASKED:
            await self._wait()

    async def read(self) -> bytes:
        """Return what there is of the body, at least one byte; nothing at its end.

        Raises:
            UpstreamCut: it broke off.
        """
        while not self._pieces:
            if self._phase is Phase.OVER:
                return b""
            await self._wait()
        pieces, self._pieces = self._pieces, []
        if self._waiting_bytes > BUFFER_BYTES:
            self._transport.resume_reading()
        self._waiting_bytes = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self) -> None:
        """Let go of it: for the next request if the answer is over and both sides agree, else closed."""
        if self.is_over and self._may_be_kept and not self.is_lost:
            self._pieces.clear()
            if self._waiting_bytes > BUFFER_BYTES:
                self._transport.resume_reading()
            self._waiting_bytes = 0
            self._phase = Phase.IDLE
            self._on_change(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close it now, whatever is under way."""
        self._transport.abort()

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, cause: BaseException | None) -> None:
        """What was asked for will not come, or not to its end."""
        if self._failure is None:
            self._failure = ProviderUnavailable() if self._phase is Phase.ASKED else UpstreamCut()
            self._failure.__cause__ = cause
        self._may_be_kept = False
        self.abort()

    # What the event loop calls

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.IDLE:  # nobody has asked
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self._fail(exc)
        if self._phase is Phase.ASKED:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._fail(None)
        elif self._waiting_bytes > BUFFER_BYTES:
            self._transport.pause_reading()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._phase is Phase.ANSWERING and self._ends_with_connection and exc is None:
            self._phase = Phase.OVER
        elif self._phase in {Phase.ASKED, Phase.ANSWERING}:
            self._fail(exc)
        self._wake()
        self._on_change(self)

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin an answer, also an interim one."""
        self.headers = {}
        if self._phase is not Phase.ASKED:  # more than was asked for
            self._may_be_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field."""
        name = name.lower()
        if name in KEPT_FIELDS and self._phase is Phase.ASKED:
            self.headers[name.decode()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the end of a head."""
        self.status = self._parser.get_status_code()
        if self.status >= _FIRST_FINAL_STATUS and self._phase is Phase.ASKED:
            headers = self.headers
            is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
            has_length = "content-length" in headers or self.status == _NO_CONTENT
            self._ends_with_connection = not (is_chunked or has_length)
            self._phase = Phase.ANSWERING

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        self._pieces.append(data)
        self._waiting_bytes += len(data)

    def on_message_complete(self) -> None:
        """End an answer; behind an interim one (RFC 9110, section 15.2) the final one comes."""
        if self._phase is Phase.ANSWERING:
            self._may_be_kept = self._parser.should_keep_alive()
            self._phase = Phase.OVER
