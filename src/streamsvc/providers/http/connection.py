"""HTTP/1.1 on one connection: a request goes out, and the body of its answer is handed on as it comes.

This is the first step of every token, so nothing stands between the parser (llhttp, in C) and whoever
reads, not even the turn of a task. One request at a time, and one owner: who has asked reads, and then
releases. What fails is raised as an error of ours, behind the bytes that came before it. The protocol is
RFC 9112.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import cast

import httptools
from typing_extensions import override

from streamsvc.errors import ProviderError, ProviderUnavailable, UpstreamCut

LOOSE_BYTES = 65_536
"""How much may come that is not the body, and one read more: heads, interim ones together, the sizes and
extensions of chunks, trailers. The parser copies a long field again for each read, so this is also what
bounds its work."""

BUFFER_BYTES = 65_536
"""How much of a body waits to be read before the upstream is made to wait."""

KEPT_FIELDS = frozenset(
    (
        b"content-encoding",
        b"content-length",
        b"content-type",
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


IDLE, ASKED, ANSWERING, OVER = Phase  # looked up more than once for a token


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        on_change: called when it has been released, and when it is lost.

    Attributes:
        status: of the answer.
        headers: those of `KEPT_FIELDS` that the answer has, their names in lower case.
        is_lost: whether it is closed.
        has_heard: whether there was a byte of the answer.
    """

    __slots__ = (
        "_ends_with_connection",
        "_failure",
        "_loop",
        "_loose_bytes",
        "_may_be_kept",
        "_on_change",
        "_parser",
        "_phase",
        "_pieces",
        "_take",
        "_transport",
        "_waiter",
        "_waiting_bytes",
        "has_heard",
        "headers",
        "is_lost",
        "status",
    )

    _transport: asyncio.Transport

    def __init__(self, on_change: Callable[["Connection"], None]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_lost = self.has_heard = False
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], bool] | None = None
        self._phase = IDLE
        self._loose_bytes = 0  # since the last part of a body
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._may_be_kept = False
        self._ends_with_connection = False
        self._failure: ProviderError | None = None

    @property
    def is_idle(self) -> bool:
        """Whether another request may be sent."""
        return self._phase is IDLE and not self.is_lost and not self._transport.is_closing()

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success (RFC 9110, section 15.3)."""
        return self.status // 100 == 2  # noqa: PLR2004

    @property
    def is_over(self) -> bool:
        """Whether the whole answer has arrived."""
        return self._phase is OVER

    async def ask(self, request: bytes) -> None:
        """Send a request, and wait for the head of its answer.

        Raises:
            ProviderUnavailable: there will be none.
        """
        if self.is_lost:
            raise ProviderUnavailable
        self._phase = ASKED
        self._loose_bytes = 0
        self.has_heard = False
        self._transport.write(request)
        while self._phase is ASKED:
            if self._failure is not None:
                raise self._failure
            self._waiter = self._loop.create_future()
            await self._waiter

    async def read(self, take: Callable[[bytes], bool]) -> None:
        """Hand the body to *take* as it comes, until that wants no more or the body is over.

        It is called where the bytes arrive, and no task has to wake for them.

        Raises:
            UpstreamCut: the body broke off.
            Exception: whatever *take* raises.
        """
        self._take = take
        try:
            while True:
                self._hand_on()
                if not self._is_reading:
                    return
                if self._failure is not None:
                    raise self._failure
                self._waiter = self._loop.create_future()
                await self._waiter
        finally:
            self._take = self._waiter = None

    def release(self) -> None:
        """Let go of it: for the next request if the answer is over and both sides agree, else closed."""
        if self.is_over and self._may_be_kept and not self.is_lost:
            self._pieces.clear()
            self._waiting_bytes = 0
            self._transport.resume_reading()
            self._phase = IDLE
            self._on_change(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close it now, whatever is under way."""
        self._ends_with_connection = False  # this is no end of an answer
        if not self._transport.is_closing():
            _shut_down(self._transport)
        self._transport.abort()  # also one that closes, which may wait for the other side to read

    @property
    def _is_reading(self) -> bool:
        """Whether somebody wants more of the body, and there may be more."""
        return self._take is not None and self._phase is not OVER

    def _hand_on(self) -> None:
        """Give what there is of the body to whoever reads it."""
        take = self._take
        if take is None or not self._pieces:
            return
        if len(self._pieces) == 1:
            data = self._pieces.pop()
        else:
            data = b"".join(self._pieces)
            self._pieces.clear()
        if self._waiting_bytes > BUFFER_BYTES:
            self._transport.resume_reading()
        self._waiting_bytes = 0
        self._take = None
        if take(data):
            self._take = take

    def _wake(self, mistake: Exception | None = None) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if mistake is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(mistake)

    def _fail(self, cause: BaseException | None) -> None:
        """What was asked for will not come, or not to its end."""
        if self._failure is None:
            self._failure = ProviderUnavailable() if self._phase is ASKED else UpstreamCut()
            self._failure.__cause__ = cause
        self._may_be_kept = False
        self.abort()

    # What the event loop calls

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase is IDLE or phase is OVER:  # nobody has asked, or for no more than there was
            self._may_be_kept = False
            self.abort()
            return
        if phase is ASKED:
            self.has_heard = True
        self._loose_bytes += len(data)
        try:
            self._parser.feed_data(data)
            self._hand_on()
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._fail(exc)
        except Exception as exc:  # noqa: BLE001  # raised where it is read
            self._wake(exc)
        if self._loose_bytes > LOOSE_BYTES:
            self._fail(None)
        elif self._waiting_bytes > BUFFER_BYTES:
            self._transport.pause_reading()
        if self._take is None or self._phase is not ANSWERING:
            self._wake()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        is_end = self._ends_with_connection and exc is None and self._failure is None
        if self._phase is ANSWERING and is_end:
            self._phase = OVER
        elif self._phase in {ASKED, ANSWERING}:
            self._fail(exc)
        self._wake()
        self._on_change(self)
        del self._parser  # it holds this one, and is what an open connection keeps

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin an answer, also an interim one; what was not asked for is passed over."""
        if self._phase is ASKED:
            self.headers = {}
        else:
            self._may_be_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field."""
        name = name.lower()
        if name in KEPT_FIELDS and self._phase is ASKED:
            self.headers[name.decode()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the end of a head."""
        if self._phase is not ASKED:
            return
        self.status = self._parser.get_status_code()
        if self.status >= _FIRST_FINAL_STATUS:
            headers = self.headers
            is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
            has_length = "content-length" in headers or self.status == _NO_CONTENT
            self._ends_with_connection = not (is_chunked or has_length)
            self._phase = ANSWERING

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        if self._phase is ANSWERING:
            self._loose_bytes = 0
            self._pieces.append(data)
            self._waiting_bytes += len(data)

    def on_message_complete(self) -> None:
        """End an answer; behind an interim one (RFC 9110, section 15.2) the final one comes."""
        if self._phase is ANSWERING:
            self._may_be_kept = self._parser.should_keep_alive()
            self._phase = OVER


def _shut_down(transport: asyncio.Transport) -> None:
    """Tell the other side now: a transport closes its socket in the next turn of the loop, or later."""
    link = transport.get_extra_info("socket")
    with suppress(OSError):
        # What a transport shows of its socket cannot do this (uvloop, asyncio's `TransportSocket`).
        same = socket.socket(link.family, link.type, link.proto, fileno=link.fileno())
        try:
            same.shutdown(socket.SHUT_RDWR)
        finally:
            same.detach()
