"""A client's connection: uvicorn's HTTP/1.1, and what this service needs beyond it.

Everything that a client sends has a size limit (`refusal`), and each request has a time limit (`pending`).

Only this module, `lean` and `unframed` know uvicorn's internals: they let the application write a token in one call, and
learn of a disconnect in the callback that sees it. Seen with uvicorn 0.54.0 (pyproject.toml ends below the next minor
version) and httptools 0.9.0, and proved by `test_server.py`, `test_framing.py` and `test_teardown.py`. Used are:

* of `HttpToolsProtocol`: its callbacks, `_start_asgi_task`, `_unset_keepalive_if_required`, and the attributes
  `cycle`, `flow`, `headers`, `parser`, `pipeline`, `scope`, `server_state`, `transport` and `url`;
* of `RequestResponseCycle`: `chunked_encoding`, `disconnected`, `expected_content_length`, `keep_alive`,
  `message_event`, `response_complete`, `response_started` and `waiting_for_100_continue`.
"""

import asyncio
import enum
import logging
from typing import Any, cast

import httptools
import uvicorn
from typing_extensions import override
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from streamsvc.log_line import log
from streamsvc.server import refusal
from streamsvc.server.addresses import Lease
from streamsvc.server.lean import LeanEvent, LeanFlow, LeanQueue, new_parser
from streamsvc.server.pending import PendingConnections
from streamsvc.server.refusal import Refused
from streamsvc.server.unframed import cut_by_reset, until_closed
from streamsvc.traces import fields_of
from streamsvc.web.problems import Problem
from streamsvc.web.stream.wire import CONNECTION, Listener, Wire

logger = logging.getLogger(__name__)


class _Part(enum.Enum):
    """The part of a request that is being read.

    | part | set by                     | excess bytes     | request late                         |
    | ---- | -------------------------- | ---------------- | ------------------------------------ |
    | NONE | start, end of a message    | `HEAD_TOO_LONG`  | close: nothing was asked             |
    | HEAD | `on_message_begin`         | `HEAD_TOO_LONG`  | 408                                  |
    | BODY | `on_headers_complete`      | too much framing | 408; close if the answer is complete |

    While a response to an earlier request is being sent, excess bytes drop the connection and lateness is ignored.
    A refusal is sent after the responses before it, and then everything that arrives is discarded (`_is_refused`).
    """

    NONE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class Protocol(HttpToolsProtocol, Wire):
    """HTTP/1.1 on a connection that the application can write to and abort.

    Args:
        config: uvicorn's.
        server_state: uvicorn's.
        app_state: the lifespan's state.
        pending: lists this connection while its next request is incomplete.
        lease: ends with this connection.
    """

    # The base class has a `__dict__`, which these keep small: instances of a class share its keys only up to 30
    # attributes. uvicorn sets 27; with these as well, each connection costs 1.3 kB more (CPython 3.11.7).
    __slots__ = (
        "_excess_bytes",
        "_fields",
        "_is_refused",
        "_lease",
        "_listener",
        "_part",
        "_pending",
        "_refusal",
        "_running",
        "is_full",
    )

    is_full: bool

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        pending: PendingConnections,
        lease: Lease | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.pipeline = LeanQueue()  # type: ignore[assignment]
        self.is_full = False
        self._listener: Listener | None = None
        self._pending = pending
        self._lease = lease
        self._running: RequestResponseCycle | None = None
        self._part = _Part.NONE
        self._excess_bytes = 0  # read outside bodies, after the read in which the request began
        self._fields = 0  # header fields in the head and the trailer
        self._refusal: Problem | None = None  # sent after the responses before it
        self._is_refused = False  # the refusal is sent; what arrives is discarded

    # The connection, as the application writes to it

    @property  # type: ignore[explicit-override]  # mypy takes the setter for another method
    @override
    def listener(self) -> Listener | None:
        return self._listener

    @listener.setter
    def listener(self, listener: Listener | None) -> None:
        """Set the listener; a stream may be held for hours, so the parser goes, unless it is amid a request.

        One that has read `Connection: close` stays, because it skips what follows.
        """
        self._listener = listener
        is_held = listener is not None and not self.is_lost
        if is_held and self._part is _Part.NONE and self.cycle.keep_alive:
            self.parser = None  # type: ignore[assignment]  # `_parse` makes another one

    @property
    @override
    def is_lost(self) -> bool:
        return self._running is None or self._running.disconnected

    @property
    def unread_bytes(self) -> int:
        """How much was written and not yet taken by the kernel."""
        return self.transport.get_write_buffer_size()

    @override
    def write(self, data: bytes) -> None:
        """Send a part of the body, framed as uvicorn chose; its `send` costs a coroutine and a dict per token."""
        running = self._running
        if running is not None and not running.disconnected:
            is_chunked = running.chunked_encoding
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if is_chunked else data)

    @override
    def abort(self) -> None:
        """Drop the connection, by a reset if a response is incomplete that ends with it."""
        running = self._running
        if (
            running is not None
            and running.chunked_encoding is False
            and self._is_answering()
            and not self.transport.is_closing()
        ):
            cut_by_reset(self.transport)
        self.transport.abort()
        self._report_disconnect()

    # Callbacks of the event loop

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = LeanFlow(transport)
        self._pending.begin(self)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self.is_full = True

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self.is_full = False
        if self._listener is not None:
            self._listener.on_writable()

    @override
    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._excess_bytes += len(data)
        if self._is_refused:
            if self._excess_bytes > refusal.LINGER_BYTES:
                self.transport.abort()
            return
        if self._refusal is None:
            self._parse(data)
        if self._excess_bytes > refusal.HEAD_BYTES:
            self._refuse_excess()

    @override
    def eof_received(self) -> None:
        """Report the disconnect one iteration of the event loop earlier than `connection_lost` would."""
        self._report_disconnect()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Report the disconnect to the running request; uvicorn reports it to the latest, which may still wait."""
        self._pending.end(self)
        if self._lease is not None:
            self._lease.end()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # after a reset, the timer would keep this object alive
        self._report_disconnect()
        self.pipeline.clear()  # requests refer to this object by their scope: cycles, which wait for the collector
        self._running = self.cycle = self.scope = None  # type: ignore[assignment]

    def on_request_late(self) -> None:
        """Close a connection whose request has not arrived in time."""
        if self._part is _Part.NONE or self._is_answered():
            self.transport.close()
        elif not self._is_busy():
            self._refuse(refusal.TOO_LATE)

    # Callbacks of the parser

    def _parse(self, data: bytes) -> None:
        rest = memoryview(data)
        if self.parser is None:
            self.parser = new_parser(self)  # type: ignore[unreachable]
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
        """Ignore the offer of an upgrade, as a server may (RFC 9110, section 7.8).

        llhttp stops parsing HTTP after a head that offers one, and the body would be lost; curl --http2 and
        some Java clients offer h2c with every request. So a new parser reads the head again, without the
        offer, and then what follows. Seen with httptools 0.9.0.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":  # ends HTTP without an offer
            self._refuse(refusal.NOT_A_PROXY)
            return
        head = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        head += [b"%b: %b" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = new_parser(self)
        self.parser.feed_data(b"\r\n".join([*head, b"", b""]))

    @override
    def on_message_begin(self) -> None:
        if len(self.pipeline) >= refusal.MAX_WAITING:
            raise Refused(refusal.TOO_MANY_WAITING)
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
        if self._fields > refusal.MAX_FIELDS:
            raise Refused(refusal.TOO_MANY_FIELDS)
        if self._part is _Part.HEAD:  # trailers are ignored
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        """Start the request, and continue to read while one request waits, so that a disconnect is seen.

        uvicorn pauses reading as soon as a request waits for a running one. With one waiting request, reading
        resumes; it pauses again at the second, or at 64 KiB of a body, which limits what a client can have
        waiting. After that, a disconnect is only seen at the next write.
        """
        if self.parser.should_upgrade():
            return
        if not self.url.startswith(b"/"):
            self._shorten_target()
        super().on_headers_complete()
        self.cycle.message_event = LeanEvent()  # type: ignore[assignment]  # has what is used
        self._part = _Part.BODY
        self.headers = []  # the list belongs to the scope, where the application frees it: browsers send kilobytes
        if len(self.pipeline) == 1:
            self.flow.resume_reading()

    def _shorten_target(self) -> None:
        """Give an absolute-form target without a path (RFC 9112, section 3.2.2) the path `/`; uvicorn cannot parse it."""
        address, mark, query = self.url.partition(b"?")
        if b"://" in address and address.count(b"/") == 2:  # noqa: PLR2004  # the slashes of ://
            self.url = b"/%b%b" % (mark, query)

    @override
    def on_body(self, body: bytes) -> None:
        self._excess_bytes -= len(body) * (1 + refusal.FRAMING_BYTES)
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        """Resume reading after a large body, which makes uvicorn pause: otherwise a disconnect goes unnoticed."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        if not self.parser.should_keep_alive():
            # A trailer said `Connection: close` after uvicorn had read the head; llhttp skips what follows.
            self.cycle.keep_alive = False
        self._part = _Part.NONE
        if self._is_busy():
            self._pending.end(self)
        else:
            self._pending.begin(self)
        if not self.pipeline:
            self.flow.resume_reading()

    # Responses

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
                self._refuse(problem)
            case None | httptools.HttpParserInvalidURLError() | UnicodeDecodeError():
                is_target = self._part is _Part.HEAD and len(self.url) > refusal.MAX_TARGET_BYTES
                self._refuse(refusal.TARGET_TOO_LONG if is_target else refusal.NOT_HTTP)
            case _:
                log(logger, logging.ERROR, "connection.crashed", **fields_of(cause))
                self._refuse(refusal.CRASHED)

    def _refuse_excess(self) -> None:
        if self._is_busy():
            self.abort()
        elif self._part is _Part.BODY:
            self._refuse(refusal.TOO_MUCH_FRAMING)
        else:
            self._refuse(refusal.HEAD_TOO_LONG)

    def _refuse(self, problem: Problem) -> None:
        """Send a refusal after the responses to the requests before it, and close."""
        self._pending.refusals[problem.code] += 1
        self._refusal = problem
        if self.pipeline and self._part is _Part.BODY:
            self.pipeline.popleft()  # the request that this body belongs to
        if not self._is_busy():
            self._send_refusal(problem)

    def _send_refusal(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        if not self._is_answered():
            self._report_disconnect()
            self.transport.write(refusal.encode(problem, self.server_state.default_headers))
        self._is_refused = True
        self._part = _Part.NONE
        self._excess_bytes = 0
        self.transport.write_eof()
        self.loop.call_later(refusal.LINGER_SECONDS, self.transport.abort)

    def _report_disconnect(self) -> None:
        """Notify the running request and the listening stream that the client has disconnected."""
        if self._running is not None and self._is_answering():
            self._running.disconnected = True
            # uvicorn writes the interim response at the next `receive`, even after a refusal, which crashes the request.
            self._running.waiting_for_100_continue = False
            self._running.message_event.set()
        if self._listener is not None:
            self._listener.on_disconnect()

    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _is_busy(self) -> bool:
        """Return whether a request is running that has arrived completely, or whose response has begun."""
        running = self._running
        if running is None or running.response_complete:
            return False
        return self._part is not _Part.BODY or running is not self.cycle or running.response_started

    def _is_answered(self) -> bool:
        """Return whether the request being read has already been answered, such as one whose body is too long."""
        return self._part is _Part.BODY and self.cycle.response_complete
