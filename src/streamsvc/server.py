"""uvicorn, with a shutdown that lets streams end: SIGTERM begins a drain, and the drain ends the server.

While it drains the server still listens, so that a load balancer sees `/readyz` say no, and a viewer
who lost the connection can have the rest. A second signal ends the wait; viewers are still told. A
third one ends everything.
"""

import asyncio
import ctypes
import gc
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import cast

import anyio
import uvicorn
from typing_extensions import override
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from streamsvc.web.wire import CONNECTION, Listener, Wire

HEAD_BYTES = 131_072
"""How long the head of a request may be, and one read more; uvicorn has no bound for it."""

GC_THRESHOLDS = 20_000, 10, 10
"""When the garbage collector looks: what is made for a token is freed without it."""

_MANY, _FEW = 64, 1 / 16
"""How many connections there were, and what part of them is left, when memory is given back."""

_SETTLE_SECONDS = 3

_TICKS_A_SECOND = 10

_SHARE_OF_CLOSING = 0.8
"""The part of the time for closing after which the connections that are left are dropped."""


class Protocol(HttpToolsProtocol, Wire):
    """HTTP/1.1, on a connection that the application can write to and drop."""

    __slots__ = ("_head_bytes", "_running", "is_full", "listener")

    listener: Listener | None
    is_full: bool
    _running: RequestResponseCycle | None
    _head_bytes: int | None  # read of a head behind the read that it began in, while it goes on

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.listener = self._running = self._head_bytes = None
        self.is_full = False
        super().connection_made(transport)

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
        self.transport.abort()
        self._tell_running()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self.is_full = True

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self.is_full = False
        if self.listener is not None:
            self.listener.has_room()

    @override
    def data_received(self, data: bytes) -> None:
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes is not None and self._head_bytes > HEAD_BYTES:
            if self._is_answering():
                self.transport.abort()
            elif not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self.scope["extensions"] = cast("dict[str, dict[object, object]]", {CONNECTION: self})

    @override
    def on_headers_complete(self) -> None:
        """Read on behind a request that waits for a running one: the end of the connection, too.

        Behind one only: uvicorn stops at the next, or at 64 KiB of a body, so what one client can
        have waiting is bounded. Its leaving is then found by the next write.
        """
        super().on_headers_complete()
        self._head_bytes = None
        self.headers = []  # the application's now, and it may let go of them; an upgrade would need them
        if len(self.pipeline) == 1:
            self.flow.resume_reading()

    @override
    def on_message_complete(self) -> None:
        """Read on behind a large body, which uvicorn stops at: else nobody sees the client leave."""
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    @override
    def eof_received(self) -> None:
        """Tell the request that runs, a turn of the loop before the connection is lost for this."""
        self._tell_running()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that runs; uvicorn tells the latest, which may still wait its turn."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # behind a reset its timer would hold all of this on
        self._tell_running()

    def _tell_running(self) -> None:
        if self._running is not None and self._is_answering():
            self._running.disconnected = True
            self._running.message_event.set()
        if self.listener is not None:
            self.listener.is_gone()

    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete


class Server(uvicorn.Server):
    """A server that is drained before it is stopped.

    Args:
        config: uvicorn's.
        drain: takes no new work, and returns when the work is done or its time is over.
        silence_seconds: how long a client may leave what is sent unacknowledged before it counts as
            gone: a machine that falls off the network says no goodbye.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        *,
        silence_seconds: float = 30.0,
    ) -> None:
        super().__init__(config)
        self._silence_ms = int(silence_seconds * 1000)
        self._drain = drain
        self._signals = 0
        self._most = self._empty_seconds = 0
        self._hurry: Callable[[], object] | None = None

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sys.platform == "linux":
            for server in self.servers:
                for listener in server.sockets:  # and every connection that it accepts
                    listener.setsockopt(
                        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._silence_ms
                    )
        # What is there now stays: the modules of the SDKs alone cost a full collection 0.1 s,
        # in which no word flows.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    @override
    async def main_loop(self) -> None:
        await super().main_loop()
        with anyio.CancelScope() as patience:
            self._hurry = partial(asyncio.get_running_loop().call_soon_threadsafe, patience.cancel)
            if self._signals > 1:
                patience.cancel()
            await self._drain()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close, within the time that is configured for it.

        Who has not read the end of a stream by then is dropped. uvicorn would cancel the task, and
        take that for a crash.
        """
        bound = self.config.timeout_graceful_shutdown
        async with anyio.create_task_group() as tasks:
            if bound is not None:
                tasks.start_soon(self._drop_connections, bound * _SHARE_OF_CLOSING)
            await super().shutdown(sockets)
            tasks.cancel_scope.cancel()

    async def _drop_connections(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _tidy(self) -> None:
        """Give memory back when most streams have gone.

        What a stream was is freed by the collector, which runs when there is more of it, and so would
        not; and what is freed stays with the C library, until it is told.
        """
        now = len(self.server_state.connections)
        self._most = max(self._most, now)
        has_emptied = self._most >= _MANY and now <= self._most * _FEW
        self._empty_seconds = self._empty_seconds + 1 if has_emptied else 0
        if self._empty_seconds == _SETTLE_SECONDS:
            self._most, self._empty_seconds = now, 0
            gc.collect()
            if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # malloc_trim(3): glibc's
                trim(0)

    @override
    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SECOND == 0:
            self._tidy()
        return await super().on_tick(counter) or self._signals > 0

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal. Never handed on to uvicorn, which would die of it after a clean shutdown."""
        self._signals += 1
        if self._signals > 1 and self._hurry is not None:
            self._hurry()
        if self._signals > 2:  # noqa: PLR2004  # the third
            self.force_exit = True
