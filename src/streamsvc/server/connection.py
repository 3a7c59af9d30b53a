"""A client's connection: HTTP/1.1 by uvicorn, and what this service needs beyond it.

This module, `refused` and `unframed` are those that know uvicorn's insides (0.54). Everything that a client sends
has a bound in bytes, and each request has one in time (`pending`).
"""

import asyncio
import enum
import logging
import socket
import struct
from http import HTTPStatus
from typing import Any, cast

import httptools
import uvicorn
from typing_extensions import override
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from streamsvc.errors import StreamsvcError, describe
from streamsvc.server.pending import PendingConnections
from streamsvc.server.refused import Refused, answer
from streamsvc.server.unframed import until_closed
from streamsvc.web.problems import Problem
from streamsvc.web.stream.wire import CONNECTION, Listener, Wire

logger = logging.getLogger(__name__)

HEAD_BYTES = 131_072
"""How long the head of a request may be, and one read more; uvicorn has no bound for it."""

MAX_TARGET_BYTES = 65_535
"""How long a request target may be: httptools parses no longer one."""

MAX_FIELDS = 256
"""How many fields a head and its trailer may have; browsers and proxies send some dozens."""

MAX_WAITING = 64
"""How many requests may wait on a connection for the answers before them."""

_FRAMING_BYTES = 2
"""How many bytes of chunk sizes, extensions and trailers may come for each byte of a body, beyond
`HEAD_BYTES`: a short body may come in chunks of a single byte, an endless trailer is an attack."""

_LINGER_SECONDS, _LINGER_BYTES = 2.0, 1_048_576
"""How long and how much a refused client may go on sending. To close at once would reset the connection, and the
client would lose the refusal (RFC 9112, section 9.6)."""

_RESET = struct.pack("ii", 1, 0)
"""`struct linger`: on, for no seconds, so that closing sends a reset."""


class _Part(enum.Enum):
    """What part of a request is being read."""

    NONE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class Protocol(HttpToolsProtocol, Wire):
    """HTTP/1.1, on a connection that the application can write to and drop.

    Args:
        pending: where the connection is while its next request is not complete.
    """

    __slots__ = (
        "_excess_bytes",
        "_fields",
        "_is_refused",
        "_part",
        "_pending",
        "_refusal",
        "_running",
        "is_full",
        "listener",
    )

    listener: Listener | None
    is_full: bool

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        pending: PendingConnections,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.listener = None
        self.is_full = False
        self._pending = pending
        self._running: RequestResponseCycle | None = None
        self._part = _Part.NONE
        self._excess_bytes = 0  # read and not body, behind the read that the request began in
        self._fields = 0  # of the head, and the trailer
        self._refusal: Problem | None = None  # the answer to what follows the requests before it
        self._is_refused = False  # it is sent, and what comes is thrown away

    # The connection, as the application writes to it

    @property
    @override
    def is_lost(self) -> bool:
        return self._running is None or self._running.disconnected

    @override
    def write(self, data: bytes) -> None:
        running = self._running
        if running is not None and not running.disconnected:
            is_chunked = running.chunked_encoding
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if is_chunked else data)

    @override
    async def flush(self) -> None:
        pass

    @override
    def abort(self) -> None:
        """Drop the connection. An answer that ends with its connection is cut by a reset: a FIN is its end."""
        running = self._running
        if (
            running is not None
            and running.chunked_encoding is False
            and self._is_answering()
            and not self.transport.is_closing()
        ):
            accepted: socket.socket = self.transport.get_extra_info("socket")
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
        self._tell_running()

    # What the event loop says

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._pending.begin(self)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self.is_full = True

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self.is_full = False
        if self.listener is not None:
            self.listener.on_writable()

    @override
    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._excess_bytes += len(data)
        if self._is_refused:
            if self._excess_bytes > _LINGER_BYTES:
                self.transport.abort()
            return
        if self._refusal is None:
            self._parse(data)
        if self._excess_bytes > HEAD_BYTES:
            self._refuse_excess()

    @override
    def eof_received(self) -> None:
        """Tell the request that runs, a turn of the loop before the connection is lost for this."""
        self._tell_running()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that runs; uvicorn tells the latest, which may still wait its turn."""
        self._pending.end(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # behind a reset its timer would hold all of this on
        self._tell_running()

    def on_request_late(self) -> None:
        """Close a connection whose request does not come to its end."""
        if self._part is _Part.NONE or self._is_answered():
            self.transport.close()
        elif not self._is_busy():
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                "request_timeout",
                "The request took too long to arrive.",
            )

    # What the parser says

    def _parse(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest and self._refusal is None:
                try:
                    self.parser.feed_data(rest)
                except httptools.HttpParserUpgrade as offer:
                    rest = rest[offer.args[0] :]
                    self._decline_upgrade()
                else:
                    return
        except httptools.HttpParserError as exc:
            self._refuse_unreadable(exc)

    def _decline_upgrade(self) -> None:
        """Read a request as if it offered no upgrade, as a server may (RFC 9110, section 7.8).

        llhttp leaves HTTP after a head that offers one, whatever its body. So a new parser is given the
        head without the offer, and then what follows.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":  # leaves HTTP without an offer
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "not_implemented", "This is not a proxy.")
            return
        head = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        head += [b"%b: %b" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.parser.feed_data(b"\r\n".join([*head, b"", b""]))

    @override
    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_WAITING:
            detail = f"At most {MAX_WAITING} requests may wait on a connection."
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", detail)
        super().on_message_begin()
        self._fields = 0
        self._part = _Part.HEAD
        self._excess_bytes = 0
        self.scope["extensions"] = cast("dict[str, dict[object, object]]", {CONNECTION: self})
        if not self._is_busy():
            self._pending.begin(self)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise Refused(status, "too_large", f"There are more than {MAX_FIELDS} header fields.")
        if self._part is _Part.HEAD:  # else it is a trailer, which means nothing here
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        """Read on behind a request that waits for a running one: the end of the connection, too.

        Behind one only: uvicorn stops at the next, or at 64 KiB of a body, so what one client can
        have waiting is bounded. Its leaving is then found by the next write.
        """
        if self.parser.should_upgrade():
            return
        if not self.url.startswith(b"/"):
            self._shorten_target()
        super().on_headers_complete()
        self._part = _Part.BODY
        self.headers = []  # the application's now, and it may let go of them
        if len(self.pipeline) == 1:
            self.flow.resume_reading()

    def _shorten_target(self) -> None:
        """Give an address with a scheme and no path, which uvicorn cannot read, the path that it means."""
        address, mark, query = self.url.partition(b"?")
        if b"://" in address and address.count(b"/") == 2:  # noqa: PLR2004  # those after the scheme
            self.url = b"/%b%b" % (mark, query)

    @override
    def on_body(self, body: bytes) -> None:
        self._excess_bytes -= len(body) * (1 + _FRAMING_BYTES)
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        """Read on behind a large body, which uvicorn stops at: else nobody sees the client leave."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        if not self.parser.should_keep_alive():
            self.cycle.keep_alive = False  # by a trailer; llhttp passes over what follows
        self._part = _Part.NONE
        if self._is_busy():
            self._pending.end(self)
        else:
            self._pending.begin(self)
        if not self.pipeline:
            self.flow.resume_reading()

    # Answers

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(
            cycle, app if cycle.keep_alive else until_closed(cycle, app, self.abort)
        )

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() or self._is_busy():
            return
        if self._refusal is not None:
            self._send_refusal(self._refusal)
        elif self not in self._pending:
            self._pending.begin(self)

    def _refuse_unreadable(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__
        match cause:
            case Refused(problem=problem):
                self._refuse_with(problem)
            case None | httptools.HttpParserInvalidURLError() | UnicodeDecodeError():
                self._refuse_malformed()
            case _:
                logger.error("connection.crashed %s", describe(cause))
                self._refuse(
                    HTTPStatus.INTERNAL_SERVER_ERROR, StreamsvcError.code, StreamsvcError.message
                )

    def _refuse_malformed(self) -> None:
        if self._part is _Part.HEAD and len(self.url) > MAX_TARGET_BYTES:
            detail = (
                f"The address is longer than {MAX_TARGET_BYTES} bytes; POST takes long prompts."
            )
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "too_large", detail)
        else:
            detail = "The request could not be read as HTTP/1.1."
            self._refuse(HTTPStatus.BAD_REQUEST, "malformed_request", detail)

    def _refuse_excess(self) -> None:
        if self._is_busy():
            self.abort()
        elif self._part is _Part.BODY:
            detail = "The body has more framing than content: chunk extensions or trailers."
            self._refuse(HTTPStatus.BAD_REQUEST, "malformed_request", detail)
        else:
            detail = f"The head of the request is longer than {HEAD_BYTES} bytes."
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", detail)

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        self._refuse_with(Refused(status, code, detail).problem)

    def _refuse_with(self, problem: Problem) -> None:
        """Answer what is not a request, after the answers to the requests before it, and close."""
        self._pending.refusals[problem.code] += 1
        self._refusal = problem
        if self.pipeline and self._part is _Part.BODY:
            self.pipeline.popleft()  # the one whose body this is
        if not self._is_busy():
            self._send_refusal(problem)

    def _send_refusal(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        if not self._is_answered():
            self._tell_running()
            self.transport.write(answer(problem, self.server_state.default_headers))
        self._is_refused = True
        self._part = _Part.NONE
        self._excess_bytes = 0
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _tell_running(self) -> None:
        if self._running is not None and self._is_answering():
            self._running.disconnected = True
            self._running.message_event.set()
        if self.listener is not None:
            self.listener.on_disconnect()

    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _is_busy(self) -> bool:
        """Tell whether an answer is owed or on its way, and the client need not send any more for it."""
        running = self._running
        if running is None or running.response_complete:
            return False
        return self._part is not _Part.BODY or running is not self.cycle or running.response_started

    def _is_answered(self) -> bool:
        """Tell whether the request that is being read has its answer, as one with too long a body."""
        return self._part is _Part.BODY and self.cycle.response_complete
