"""A provider's answer as an iterator, for tests that look at it piece by piece."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from streamsvc.events import Delta
from streamsvc.messages import Prompt
from streamsvc.providers.base import Finish, Provider

Piece = Delta | Finish


@asynccontextmanager
async def answering(provider: Provider, prompt: Prompt) -> AsyncIterator[AsyncIterator[Piece]]:
    """Call a provider, and yield an iterator over its answer.

    The iterator raises the provider's exception after the pieces that came before it.
    Leaving the context cancels the call.
    """
    send, receive = anyio.create_memory_object_stream[Piece | Exception](math.inf)

    def emit(piece: Piece) -> None:
        if not isinstance(piece, Finish):  # the returned `Finish` is the one that counts
            send.send_nowait(piece)

    async def ask() -> None:
        with send:
            try:
                send.send_nowait(await provider.generate(prompt, emit))
            except Exception as exc:  # noqa: BLE001  # a provider may raise anything
                send.send_nowait(exc)

    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        with receive:
            try:
                yield _pieces(receive)
            except Exception as exc:  # noqa: BLE001  # raised below, outside the exception group
                failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _pieces(receive: MemoryObjectReceiveStream[Piece | Exception]) -> AsyncIterator[Piece]:
    async for piece in receive:
        if isinstance(piece, Exception):
            raise piece
        yield piece
