"""Where the bytes of a stream go: a connection that is written to at once, and never waited for.

Our server offers its connections so, in an extension of the ASGI scope (ASGI specification,
"Extensions"): a word then costs one call, and no task has to wake for it. Over any other server the
same is had from `send`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
from starlette.types import Scope, Send
from typing_extensions import override

CONNECTION = "streamsvc.connection"
"""The extension that has the `Wire`."""


class Wire(Protocol):
    """The body of one answer, behind its head.

    Attributes:
        on_room: called when it was full and is no longer.
    """

    on_room: Callable[[], object] | None

    @property
    def is_full(self) -> bool:
        """Whether what was written waits for the client to read: no more should be."""
        ...

    def write(self, data: bytes) -> None:
        """Send *data*, not empty; nothing happens where the client is gone."""
        ...

    async def flush(self) -> None:
        """Wait until all has been handed to the server."""
        ...

    def abort(self) -> None:
        """Drop the connection, if the server can: ending the answer would wait for the client to read."""
        ...


class SendWire(Wire):
    """Over the `send` of an ASGI server, one message at a time."""

    def __init__(self, send: Send) -> None:
        self.on_room: Callable[[], object] | None = None
        self._send = send
        self._waiting: list[bytes] = []
        self._written = anyio.Event()
        self._sent = anyio.Event()

    @property
    @override
    def is_full(self) -> bool:
        return bool(self._waiting)

    @override
    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._written.set()

    @override
    async def flush(self) -> None:
        while self._waiting:
            await self._sent.wait()

    @override
    def abort(self) -> None:
        pass

    async def run(self) -> None:
        """Send what is written, until it is cancelled."""
        while True:
            await self._written.wait()
            self._written = anyio.Event()
            body = b"".join(self._waiting)
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            self._waiting.clear()
            self._sent.set()
            self._sent = anyio.Event()
            if self.on_room is not None:
                self.on_room()


@asynccontextmanager
async def open_wire(scope: Scope, send: Send) -> AsyncIterator[Wire]:
    """Hold the wire of the answer to a request."""
    offered: Wire | None = scope.get("extensions", {}).get(CONNECTION)
    if offered is not None:
        yield offered
        return
    async with anyio.create_task_group() as tasks:
        wire = SendWire(send)
        tasks.start_soon(wire.run)
        yield wire
        tasks.cancel_scope.cancel()
