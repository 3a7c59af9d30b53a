"""What a provider says, to be gone through piece by piece: for tests that look at its answers."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from streamsvc.messages import Prompt
from streamsvc.providers.base import Delta, Finish, Provider

Piece = Delta | Finish


@asynccontextmanager
async def answering(provider: Provider, prompt: Prompt) -> AsyncIterator[AsyncIterator[Piece]]:
    """Ask a provider; what it raises is raised in its place, and leaving leaves the call."""
    send, receive = anyio.create_memory_object_stream[Piece | Exception](math.inf)

    def emit(piece: Piece) -> None:
        if not isinstance(piece, Finish):  # what is returned is the last word
            send.send_nowait(piece)

    async def ask() -> None:
        with send:
            try:
                send.send_nowait(await provider.generate(prompt, emit))
            except Exception as exc:  # noqa: BLE001  # whatever it is
                send.send_nowait(exc)

    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        with receive:
            try:
                yield _pieces(receive)
            except Exception as exc:  # noqa: BLE001  # raised below, and not as one of a group
                failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _pieces(receive: MemoryObjectReceiveStream[Piece | Exception]) -> AsyncIterator[Piece]:
    async for piece in receive:
        if isinstance(piece, Exception):
            raise piece
        yield piece
