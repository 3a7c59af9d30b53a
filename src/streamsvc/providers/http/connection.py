"""HTTP/1.1 on one connection (RFC 9112): sends a request, and hands on the response body as it arrives.

This is the first step of every token, so nothing comes between the parser (llhttp, in C) and the reader, not
even an iteration of the event loop. One request at a time. The phases of an exchange:

      send        first byte      end of head     end of body
IDLE ─────▶ WAITING ─────▶ HEAD ─────────▶ BODY ─────────▶ COMPLETE
 ▲             │             │              │                  │
 │             └─────────────┴──────────────┴──▶ FAILED        │
 └────────────────────────── release ──────────────────────────┘

Nothing leaves FAILED. A connection that is lost while IDLE or COMPLETE fails nothing: a complete response stays
complete, so `is_lost` is not a phase. These flags are independent of the phase:

* `is_lost`: the transport is closed. The pool forgets the connection.
* `_is_reusable`: after COMPLETE, both sides allow another request, and nothing unsolicited has arrived.
* `_ends_at_close`: within BODY, the head gave no length, so the end of the connection is the end of the body
  (RFC 9112, section 6.3, rule 8) and not a failure.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import cast

import httptools
from typing_extensions import override

from streamsvc.providers.http.errors import BodyCut, NoResponse, TransportError
from streamsvc.providers.http.exchange import Take

LOOSE_BYTES = 65_536
"""How many bytes outside the body may come in a row, plus one read: heads (interim ones together), sizes and
extensions of chunks, trailers. llhttp passes on a long field in pieces and copies it again for each read, so this
also limits its work."""

BUFFER_BYTES = 65_536
"""How much of a body is buffered for its reader before reading from the server pauses."""

KEPT_FIELDS: Mapping[bytes, str] = {
    name.encode(): name
    for name in (
        "content-encoding",
        "content-length",
        "content-type",
        "retry-after",
        "retry-after-ms",
        "transfer-encoding",
    )
}
"""The header fields that are used, and their names as text, one for all responses. A vendor sends thirty, which would
stay in memory for as long as the stream."""

_FIRST_FINAL_STATUS = 200
_NO_CONTENT = 204


class Phase(Enum):
    """How far an exchange has got."""

    IDLE = auto()  # no request
    WAITING = auto()  # a request, and no byte of a response
    HEAD = auto()  # up to the end of the final head, including interim responses
    BODY = auto()
    COMPLETE = auto()  # the whole response has arrived, but may not have been read
    FAILED = auto()  # the response will not arrive, or not completely


IDLE, WAITING, HEAD, BODY, COMPLETE, FAILED = Phase
# Globals, because an attribute of an Enum class costs 0.25 µs in CPython 3.11, and each token checks the phase.


class Step(Enum):
    """What moves an exchange to its next phase."""

    SEND = auto()
    FIRST_BYTE = auto()
    END_OF_HEAD = auto()
    END_OF_BODY = auto()
    RELEASE = auto()
    FAIL = auto()


TRANSITIONS: Mapping[tuple[Phase, Step], Phase] = {
    (IDLE, Step.SEND): WAITING,
    (WAITING, Step.FIRST_BYTE): HEAD,
    (HEAD, Step.END_OF_HEAD): BODY,
    (BODY, Step.END_OF_BODY): COMPLETE,
    (COMPLETE, Step.RELEASE): IDLE,
    (WAITING, Step.FAIL): FAILED,
    (HEAD, Step.FAIL): FAILED,
    (BODY, Step.FAIL): FAILED,
}
"""Every legal step; any other is the caller's mistake, and raises a KeyError."""


class Connection(asyncio.Protocol):
    """One connection, which is an `Exchange` from `send` to `release`.

    Args:
        on_change: called when it becomes idle, and when it is lost.

    Attributes:
        status: of the response; 0 before its head.
        headers: those of `KEPT_FIELDS` that the response has, names in lower case.
        is_lost: whether it is closed.
    """

    # Slots, and only what is needed: every open stream has one of these.
    __slots__ = (
        "_ends_at_close",
        "_failure",
        "_is_reusable",
        "_loop",
        "_loose_bytes",
        "_on_change",
        "_parser",
        "_phase",
        "_pieces",
        "_take",
        "_transport",
        "_waiter",
        "_waiting_bytes",
        "headers",
        "is_lost",
        "status",
    )

    _transport: asyncio.Transport

    def __init__(self, on_change: Callable[["Connection"], None]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_lost = False
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._phase = IDLE
        self._failure: TransportError | None = None  # what FAILED raises
        self._is_reusable = False
        self._ends_at_close = False
        self._take: Take | None = None  # the reader, while it wants more
        self._waiter: asyncio.Future[None] | None = None  # of the task within `send` or `read`
        self._pieces: list[bytes] = []  # of the body, not read yet
        self._waiting_bytes = 0  # their size
        self._loose_bytes = 0  # outside the body, since its last part

    @property
    def is_idle(self) -> bool:
        """Whether another request may be sent."""
        # A transport that is closing has not called `connection_lost` yet.
        return self._phase is IDLE and not self.is_lost and not self._transport.is_closing()

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx (RFC 9110, section 15.3)."""
        return self.status // 100 == 2  # noqa: PLR2004

    @property
    def is_complete(self) -> bool:
        """Whether the whole response has arrived."""
        return self._phase is COMPLETE

    async def send(self, request: bytes) -> None:
        """Send a request and wait for the head of its response.

        Raises:
            NoResponse: the connection failed before that.
        """
        if self.is_lost:
            raise NoResponse(has_begun=False)
        self._move(Step.SEND)
        self._loose_bytes = 0
        self._transport.write(request)
        while self._phase is WAITING or self._phase is HEAD:
            self._waiter = self._loop.create_future()
            await self._waiter
        if isinstance(
            self._failure, NoResponse
        ):  # a failure within the body is raised where the body is read
            raise self._failure

    async def read(self, take: Take) -> None:
        """See `Exchange.read`."""
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
        """See `Exchange.release`."""
        if self._phase is COMPLETE and self._is_reusable and not self.is_lost:
            self._pieces.clear()
            self._waiting_bytes = 0
            self._transport.resume_reading()
            self._move(Step.RELEASE)
            self._on_change(self)
        else:
            self.abort()

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self._is_reusable = False
        self._fail(None)
        if not self._transport.is_closing():
            _shut_down(self._transport)
        # Even if the transport is closing: it may be waiting for the other side to read.
        self._transport.abort()

    def _move(self, step: Step) -> None:
        self._phase = TRANSITIONS[self._phase, step]

    def _fail(self, cause: BaseException | None) -> None:
        """Fail the exchange, if there is one."""
        if (self._phase, Step.FAIL) not in TRANSITIONS:
            return
        if self._phase is BODY:
            self._failure = BodyCut()
        else:
            self._failure = NoResponse(has_begun=self._phase is HEAD)
        self._failure.__cause__ = cause
        self._move(Step.FAIL)

    @property
    def _is_reading(self) -> bool:
        """Whether a reader wants more, and more may come."""
        return self._take is not None and self._phase is not COMPLETE

    def _hand_on(self) -> None:
        """Pass the buffered part of the body to the reader."""
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
        self._take = None  # a reader that raises, or wants no more, is not called again
        if take(data):
            self._take = take

    def _wake(self, error: Exception | None = None) -> None:
        """Wake the task within `send` or `read`; raise there what its reader has raised, if anything."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

    # Called by the event loop

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._phase is not BODY and not self._is_expecting():
            self.abort()
            return
        self._loose_bytes += len(data)
        try:
            self._parser.feed_data(data)
            self._hand_on()
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._fail(exc)
            self.abort()
        except Exception as exc:  # noqa: BLE001  # the reader's, raised in its task
            self._wake(exc)
        if self._loose_bytes > LOOSE_BYTES:
            self.abort()
        elif self._waiting_bytes > BUFFER_BYTES:
            self._transport.pause_reading()
        if self._take is None or self._phase is not BODY:
            self._wake()

    def _is_expecting(self) -> bool:
        """Count bytes outside a body; return whether they belong to a response."""
        if self._phase is WAITING:
            self._move(Step.FIRST_BYTE)
        return self._phase is HEAD

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._phase is BODY and self._ends_at_close and exc is None:
            self._move(Step.END_OF_BODY)
        else:
            self._fail(exc)
        self._wake()
        self._on_change(self)
        # The parser holds its callbacks, and so this connection: a cycle that would keep both alive until the next
        # run of the garbage collector, with everything that the end of the stream should free.
        del self._parser

    # Called by the parser

    def on_message_begin(self) -> None:
        """Begin a response, which may be an interim one."""
        if self._phase is HEAD:
            self.headers = {}
        else:  # an unsolicited one, after the body in the same read
            self._is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field if it is used; drop trailers."""
        kept = KEPT_FIELDS.get(name.lower())
        if kept is not None and self._phase is HEAD:
            self.headers[kept] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """End a head; an interim one (RFC 9110, section 15.2) is followed by another."""
        status = self._parser.get_status_code()
        if self._phase is not HEAD or status < _FIRST_FINAL_STATUS:
            return
        self.status = status
        headers = self.headers
        is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        has_length = "content-length" in headers or status == _NO_CONTENT
        self._ends_at_close = not (is_chunked or has_length)
        self._move(Step.END_OF_HEAD)

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        if self._phase is BODY:
            self._loose_bytes = 0
            self._pieces.append(data)
            self._waiting_bytes += len(data)

    def on_message_complete(self) -> None:
        """End a response; an interim one (RFC 9110, section 15.2) changes nothing."""
        if self._phase is BODY:
            self._is_reusable = self._parser.should_keep_alive()
            self._move(Step.END_OF_BODY)


def _shut_down(transport: asyncio.Transport) -> None:
    """Shut down the connection within this call; `transport.abort` closes it in the loop's next iteration.

    With many active streams an iteration takes long, and until then the server continues to generate.
    The socket that uvloop's transports expose (`PseudoSocket`) refuses `shutdown`. So a second socket object on the
    same descriptor does it, and is detached, because closing it would close the transport's descriptor.
    Seen with uvloop 0.23 and CPython 3.11. Without it `test_abort_shuts_down_within_the_call` fails.
    """
    transports_socket = transport.get_extra_info("socket")
    with suppress(OSError):
        second = socket.socket(
            transports_socket.family,
            transports_socket.type,
            transports_socket.proto,
            fileno=transports_socket.fileno(),
        )
        try:
            second.shutdown(socket.SHUT_RDWR)
        finally:
            second.detach()
