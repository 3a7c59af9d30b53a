"""uvicorn's server with a drain: after SIGTERM, running streams may finish before the server closes.

| signal | effect                                                                           |
| ------ | -------------------------------------------------------------------------------- |
| first  | drain: no new generations, running ones may finish; the sockets keep listening   |
| second | the drain ends now: running answers are cut, each with a last event that says so |
| third  | close without waiting for connections                                            |

SIGHUP reads the settings again (`reload`), unless it is ignored, as under nohup(1). If the process was started from a
terminal that is gone now, it counts as one of the signals above: nobody is there to end it any more.

SIGUSR2 is ignored, with a log line: it is meant for the supervisor of several workers (`workers/serve`).

During the drain a load balancer still reaches `/readyz`, which says 503, and a viewer who has lost the connection
can resume.
"""

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, cast

import anyio
import uvicorn
from typing_extensions import override
from uvicorn.config import STARTUP_FAILURE

from streamsvc.log_line import log
from streamsvc.server import memory
from streamsvc.server.addresses import AddressLimit, Lease
from streamsvc.server.connection import Protocol
from streamsvc.server.listening import Listening, bind, miss_lost_clients
from streamsvc.server.logs import log_loop_error
from streamsvc.server.pending import PendingConnections, Room
from streamsvc.server.shares import Share
from streamsvc.server.terminal import Terminal
from streamsvc.server.unread import drop_excess, limit_unsent
from streamsvc.telemetry.gauges import watch_connections
from streamsvc.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

_SWEEP_SECONDS = 1.0
"""How often late requests are closed and memory is checked."""

_SHARE_OF_CLOSING = 0.8
"""The share of `close_seconds` after which the remaining connections are aborted."""


async def _nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Options:
    """How a server treats its clients.

    Attributes:
        prepare: awaited after the application has started and before the first connection is accepted.
        silence_seconds: how long a client's machine may leave packets unacknowledged before its connection is
            closed: a machine that drops off the network sends no FIN.
        request_seconds: how long a request may take to arrive.
        max_connections: how many clients may be connected.
        max_connections_per_address: how many of them with the same public address; 0 is no limit.
        max_total_unread_bytes: how much clients may leave unread, all together.
        has_crashed: returns whether the application has ended by itself, so that the server must, too.
        background: runs until the first signal, while the service accepts work.
        reload: asks for the settings to be read again.
    """

    prepare: Callable[[], Awaitable[None]] = _nothing
    silence_seconds: float = 30.0
    request_seconds: float = 30.0
    max_connections: int = 10_000
    max_connections_per_address: int = 0
    max_total_unread_bytes: int = 256_000_000
    has_crashed: Callable[[], bool] = bool
    background: Callable[[], Coroutine[Any, Any, None]] = anyio.sleep_forever
    reload: Callable[[], None] = lambda: None


class Server(uvicorn.Server):
    """A server that drains before it stops.

    It overrides methods that uvicorn does not document. Seen with 0.54.0; `tests/test_shutdown.py` and
    `test_process_life.py` prove each signal with a process.

    Args:
        config: uvicorn's.
        drain: refuses new work, and returns when running work has ended or its time is over.
        options: see `Options`.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        options: Options = Options(),  # frozen
    ) -> None:
        super().__init__(config)
        self._options = options
        self._drain = drain
        self._signals = 0
        self._peak = memory.PeakWatch()
        self._hurry: Callable[[], object] | None = None
        self._share: Share | None = None  # of the connections, if there are other workers

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen; uvicorn's own would let uvloop accept (see `listening`)."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        await self._options.prepare()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_loop_error)
        self._pending = PendingConnections(self._options.request_seconds, loop.time)
        self._addresses = AddressLimit(self._options.max_connections_per_address, loop.time)
        listeners = sockets or bind(self.config.host, self.config.port)
        for listener in listeners:
            miss_lost_clients(listener, self._options.silence_seconds)
            limit_unsent(listener)
        room = Room(self.server_state.connections, self._options.max_connections, self._pending)
        self._listening = Listening(listeners, self._protocol, room, self._addresses, self._share)
        self.servers = [self._listening]  # type: ignore[list-item]  # uvicorn closes it and waits
        self._on_listening(listeners)
        self._sweep(loop)
        self._settle()
        self.started = True

    def _on_listening(self, listeners: Sequence[socket.socket]) -> None:
        self._log_started_message(listeners)

    def watch(self, metrics: Metrics) -> None:
        """Let the connections be seen in the metrics."""
        connections = cast("set[Protocol]", self.server_state.connections)
        watch_connections(
            metrics,
            count=lambda: len(connections),
            most=self._options.max_connections,
            unread=lambda: sum(it.unread_bytes for it in connections),
            most_unread=self._options.max_total_unread_bytes,
        )

    def _protocol(self, lease: Lease | None) -> Protocol:
        return Protocol(self.config, self.server_state, self.lifespan.state, self._pending, lease)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._pending.sweep()
        self._addresses.report()
        connections = cast("set[Protocol]", self.server_state.connections)
        drop_excess(connections, self._options.max_total_unread_bytes)
        self._peak.observe(len(self.server_state.connections))
        self._sweeping = loop.call_later(_SWEEP_SECONDS, self._sweep, loop)

    def _settle(self) -> None:
        memory.freeze()

    @override
    async def main_loop(self) -> None:
        """Serve until the first signal, then drain until the second one or the end of the drain."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._options.background, name="background")
            await super().main_loop()
            tasks.cancel_scope.cancel()
        with anyio.CancelScope() as patience:
            self._hurry = partial(asyncio.get_running_loop().call_soon_threadsafe, patience.cancel)
            if self._signals > 1:
                patience.cancel()
            await self._drain()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close within `close_seconds`.

        Connections whose clients have not read the end of their stream by then are aborted. uvicorn would cancel
        their tasks, and log that as an error (0.54.0).
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

    @override
    async def on_tick(self, counter: int) -> bool:
        is_over = self._signals > 0 or self._options.has_crashed()
        return await super().on_tick(counter) or is_over

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Reload at SIGHUP, unless it is ignored, as under nohup(1); ignore SIGUSR2."""
        with super().capture_signals():
            is_posix = sys.platform != "win32"
            if not is_posix or threading.current_thread() is not threading.main_thread():
                yield
                return
            handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]]
            handlers = {signal.SIGUSR2: self._ignore}
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                handlers[signal.SIGHUP] = partial(
                    self._hang_up, asyncio.get_running_loop(), Terminal()
                )
            before = {number: signal.signal(number, it) for number, it in handlers.items()}
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # `cli` holds them
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _hang_up(
        self, loop: asyncio.AbstractEventLoop, terminal: Terminal, sig: int, frame: FrameType | None
    ) -> None:
        if terminal.has_hung_up:
            self.handle_exit(sig, frame)
        else:
            loop.call_soon_threadsafe(self._options.reload)

    def _ignore(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a handler
        """Ignore a signal that would end the process."""
        name, note = signal.Signals(sig).name, "it is for the supervisor of workers"
        log(logger, logging.WARNING, "signal.ignored", note, signal=name)

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Count a signal.

        uvicorn's own method is not called: it raises the signal again after a clean shutdown, and the process
        would exit with a status other than 0. sse-starlette replaces `uvicorn.Server.handle_exit` when it is
        imported, to end all streams at the first signal; this override keeps that away from the drain
        (uvicorn 0.54.0, sse-starlette 3.7.0).
        """
        self._count_signal()

    def _count_signal(self) -> None:
        self._signals += 1
        if self._signals > 1 and self._hurry is not None:
            self._hurry()
        if self._signals > 2:  # noqa: PLR2004  # the third
            self.force_exit = True
