"""uvicorn, with a shutdown that lets streams end: SIGTERM begins a drain, and the drain ends the server.

While it drains the server still listens, so that a load balancer sees `/readyz` say no, and a viewer
who lost the connection can have the rest. A second signal ends the wait.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType

import anyio
import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streamsvc.web.sse import DROP_CONNECTION


class Protocol(HttpToolsProtocol):
    """HTTP/1.1, and a way for the application to drop a connection that does not read.

    Ending the response is no way: uvicorn then waits for the client to read what is buffered.
    Offered as an extension of the ASGI scope (ASGI specification, "Extensions").
    """

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {DROP_CONNECTION: {"abort": self.transport.abort}}


class Server(uvicorn.Server):
    """A server that is drained before it is stopped.

    Args:
        config: uvicorn's.
        drain: takes no new work, and returns when the work is done or its time is over.
    """

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain
        self._is_leaving = False
        self._hurry: Callable[[], object] | None = None

    @override
    async def main_loop(self) -> None:
        await super().main_loop()
        with anyio.CancelScope() as patience:
            self._hurry = partial(asyncio.get_running_loop().call_soon_threadsafe, patience.cancel)
            await self._drain()

    @override
    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._is_leaving

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal. Never handed on to uvicorn, which would die of it after a clean shutdown."""
        if self._is_leaving:
            self.should_exit = self.force_exit = True
            if self._hurry is not None:
                self._hurry()
        self._is_leaving = True
