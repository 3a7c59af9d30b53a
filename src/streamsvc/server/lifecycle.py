"""uvicorn, with a shutdown that lets streams end: SIGTERM begins a drain, and the drain ends the server.

While it drains the server still listens, so that a load balancer sees `/readyz` say no, and a viewer
who lost the connection can have the rest. A second signal ends the wait; viewers are still told. A
third one ends everything.
"""

import asyncio
import ctypes
import gc
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import cast

import anyio
import uvicorn
from typing_extensions import override
from uvicorn.config import STARTUP_FAILURE

from streamsvc.server.connection import Protocol
from streamsvc.server.listening import Listening, bind, miss_lost_clients
from streamsvc.server.logs import log_loop_error
from streamsvc.server.pending import PendingConnections, Room

GC_THRESHOLDS = 20_000, 10, 10
"""When the garbage collector looks: what is made for a token is freed without it."""

_MANY, _FEW = 64, 1 / 16
"""How many connections there were, and what part of them is left, when memory is given back."""

_SETTLE_SECONDS = 3

_SWEEP_SECONDS = 1.0
"""How often connections are looked at whose request does not come."""

_TICKS_A_SECOND = 10

_SHARE_OF_CLOSING = 0.8
"""The part of the time for closing after which the connections that are left are dropped."""


class Server(uvicorn.Server):
    """A server that is drained before it is stopped.

    Args:
        config: uvicorn's.
        drain: takes no new work, and returns when the work is done or its time is over.
        silence_seconds: how long a client's machine may not answer before it counts as gone: one
            that falls off the network says no goodbye.
        prepare: is awaited after the start of the application, and before the first connection.
        request_seconds: how long a request may take to arrive.
        max_connections: how many clients may be connected.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        *,
        prepare: Callable[[], Awaitable[None]] | None = None,
        silence_seconds: float = 30.0,
        request_seconds: float = 30.0,
        max_connections: int = 10_000,
    ) -> None:
        super().__init__(config)
        self._silence_seconds = silence_seconds
        self._request_seconds = request_seconds
        self._max_connections = max_connections
        self._drain = drain
        self._prepare = prepare
        self._signals = 0
        self._most = self._empty_seconds = 0
        self._hurry: Callable[[], object] | None = None

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        if self._prepare is not None:
            await self._prepare()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_loop_error)
        self._pending = PendingConnections(self._request_seconds, loop.time)
        listeners = sockets or bind(self.config.host, self.config.port)
        for listener in listeners:
            miss_lost_clients(listener, self._silence_seconds)
        room = Room(self.server_state.connections, self._max_connections, self._pending)
        listening = Listening(listeners, self._protocol, room)
        self.servers = [listening]  # type: ignore[list-item]  # uvicorn closes it, and waits for that
        self._log_started_message(listeners)
        self._sweep(loop)
        self._settle()
        self.started = True

    def _protocol(self) -> Protocol:
        return Protocol(self.config, self.server_state, self.lifespan.state, self._pending)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._pending.sweep()
        self._sweeping = loop.call_later(_SWEEP_SECONDS, self._sweep, loop)

    def _settle(self) -> None:
        """Keep what is there now from the garbage collector.

        The modules of the SDKs alone cost a full collection 0.1 s, in which no word flows.
        """
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
        self._sweeping.cancel()
        self._pending.report()

    async def _drop_connections(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        for connection in list(self.server_state.connections):
            cast("Protocol", connection).abort()

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
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGHUP as SIGTERM, unless it is ignored, as under nohup(1)."""
        with super().capture_signals():
            hangup = getattr(signal, "SIGHUP", None)
            is_main = threading.current_thread() is threading.main_thread()
            if hangup is None or not is_main or signal.getsignal(hangup) is signal.SIG_IGN:
                yield
                return
            before = signal.signal(hangup, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(hangup, before)

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal. Never handed on to uvicorn, which would die of it after a clean shutdown."""
        self._signals += 1
        if self._signals > 1 and self._hurry is not None:
            self._hurry()
        if self._signals > 2:  # noqa: PLR2004  # the third
            self.force_exit = True
