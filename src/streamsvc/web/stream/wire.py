"""Where the bytes of a stream go: a connection that is written to at once, and never waited for.

Our server offers its connections so, in an extension of the ASGI scope (ASGI specification,
"Extensions"): a word then costs one call, and no task has to wake for it. Over any other server the
same is had from `send`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
from starlette.types import Receive, Send
from typing_extensions import override

CONNECTION = "streamsvc.server.connection"
"""The extension that has the `Wire`."""


class Listener(Protocol):
    """Whoever is told what becomes of a connection."""

    def on_writable(self) -> None:
        """Learn that a wire that was full is so no longer."""
        ...

    def on_disconnect(self) -> None:
        """Learn that the client has left; maybe more than once."""
        ...


class Wire(Protocol):
    """The way to one client: what is written goes into the body of its answer, behind the head.

    Attributes:
        listener: is told what happens to it.
        is_full: whether what was written waits for the client to read: no more should be.
    """

    listener: Listener | None
    is_full: bool

    @property
    def is_lost(self) -> bool:
        """Whether the client has left."""
        ...

    def write(self, data: bytes) -> None:
        """Send *data*, not empty; nothing happens where the client is gone."""
        ...

    async def flush(self) -> None:
        """Wait until all has been handed to the server."""
        ...

    def abort(self) -> None:
        """Drop the connection, and end every wait for it: ending the answer would wait for the client."""
        ...


class SendWire(Wire):
    """Over the `send` of an ASGI server, one message at a time.

    Args:
        send: the server's.
        scope: is cancelled to leave the answer as it is; the server then drops the connection.
    """

    def __init__(self, send: Send, scope: anyio.CancelScope) -> None:
        self.listener: Listener | None = None
        self.is_full = False
        self._scope = scope
        self._is_lost = False
        self._send = send
        self._waiting: list[bytes] = []
        self._written = anyio.Event()
        self._sent = anyio.Event()

    @property
    @override
    def is_lost(self) -> bool:
        return self._is_lost

    @override
    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self.is_full = True
        self._written.set()

    @override
    async def flush(self) -> None:
        while self._waiting:
            await self._sent.wait()

    @override
    def abort(self) -> None:
        self._scope.cancel()

    async def pump(self) -> None:
        """Send what is written, until it is cancelled."""
        while True:
            await self._written.wait()
            self._written = anyio.Event()
            blocks = self._waiting.copy()
            body = b"".join(blocks)
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            del self._waiting[: len(blocks)]
            self.is_full = bool(self._waiting)
            self._sent.set()
            self._sent = anyio.Event()
            if self.listener is not None:
                self.listener.on_writable()

    async def watch(self, receive: Receive) -> None:
        """Wait for the client to leave."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._is_lost = True
        if self.listener is not None:
            self.listener.on_disconnect()


@asynccontextmanager
async def send_wire(receive: Receive, send: Send) -> AsyncIterator[Wire]:
    """Hold a wire over what any ASGI server offers; to abort it is to be cancelled, and leave this."""
    async with anyio.create_task_group() as tasks:
        wire = SendWire(send, tasks.cancel_scope)
        tasks.start_soon(wire.pump)
        tasks.start_soon(wire.watch, receive)
        yield wire
        tasks.cancel_scope.cancel()
