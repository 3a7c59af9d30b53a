"""The server of a worker: it obeys the supervisor and not the signals (`workers/channel`).

| message  | effect                                                                                                |
| -------- | ----------------------------------------------------------------------------------------------------- |
| `signal` | counts as a signal (`lifecycle`)                                                                      |
| `retire` | the same, but the other workers take the new connections: stop accepting, and close idle ones         |
| `reload` | read the settings again (`reload`)                                                                     |
| the end  | as `retire`, and signals count again: nobody else would end this process, and the port must be freed  |

A signal to end from elsewhere asks the supervisor to replace this worker. SIGHUP reads the settings of this worker again.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType

import anyio
import uvicorn
from typing_extensions import override

from streamsvc.log_line import log
from streamsvc.server.lifecycle import Options, Server
from streamsvc.server.workers.inheritance import Inheritance

logger = logging.getLogger(__name__)

LINGER_SECONDS = 0.5
"""How long a worker that retires still serves the connections that it has accepted. The first request of a new
connection arrives in this time; it would be lost if the connection were closed, or refused if the drain had begun."""


class WorkerServer(Server):
    """A server among others that accept from the same sockets.

    Args:
        config: as in `Server`.
        drain: as in `Server`.
        options: as in `Server`.
        inheritance: from the supervisor.
        drain_seconds: how long a drain may take.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        options: Options,
        inheritance: Inheritance,
        drain_seconds: float,
    ) -> None:
        super().__init__(config, self._linger_and_drain, options)
        self._place = inheritance.place
        self._channel = inheritance.open_channel()
        self._share = inheritance.open_share()
        self._drain_all = drain
        self._drain_seconds = drain_seconds
        self._is_retiring = self._is_orphan = False

    @override
    def _on_listening(self, listeners: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel.descriptor, self._on_messages, loop)
        close_seconds = self.config.timeout_graceful_shutdown
        self._channel.send("ready", self._drain_seconds, close_seconds)

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._is_orphan:
            super().handle_exit(sig, frame)
        else:
            self._channel.send("leave")

    def _on_messages(self, loop: asyncio.AbstractEventLoop) -> None:
        messages = self._channel.receive()
        if messages is None:
            loop.remove_reader(self._channel.descriptor)
            self._channel.close()
            self._is_orphan = True
            self._retire()  # before the line: a signal that answers it is one more
            log(logger, logging.ERROR, "supervisor.died", "this worker drains and exits")
            return
        for message in messages:
            if message == ["retire"]:
                self._retire()
            elif message == ["reload"]:
                self._options.reload()
            else:
                self._count_signal()

    def _retire(self) -> None:
        """Accept no more connections, and begin the drain if it has not begun."""
        self._is_retiring = True
        self._listening.close()
        if not self._signals:
            self._count_signal()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close; without a supervisor, the last worker removes what that would have removed."""
        await super().shutdown(sockets)
        if self._is_orphan:
            self._place.remove_directory()

    async def _linger_and_drain(self) -> None:
        try:
            if self._is_retiring:
                await anyio.sleep(LINGER_SECONDS)
                for connection in list(self.server_state.connections):
                    connection.shutdown()  # closes it if it is idle, else after the response
        finally:  # a second signal cancels the wait, but the drain still cuts what runs
            await self._drain_all()
