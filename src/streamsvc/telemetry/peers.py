"""How the workers of a service ask each other, so that any of them can answer for all.

Each worker listens on a Unix socket in a directory that the supervisor makes for its own user. A question is one line
of words, its answer is everything until the end of the connection.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import anyio
import anyio.abc

from streamsvc.log_line import log
from streamsvc.telemetry.place import Peer, Place, addressable
from streamsvc.traces import fields_of

logger = logging.getLogger(__name__)

ASK_SECONDS = 0.5
"""How long a worker may take to answer."""

_SERVE_SECONDS = 5.0
"""How long one that asks may take to send its question, and to read the answer."""

_QUESTION_BYTES = 256

Answer = Callable[..., Awaitable[bytes]]
"""Answers a question; gets its words, without the first."""


class Peers:
    """Asks all workers, and answers them.

    Args:
        place: where they are.

    Attributes:
        answers: of this worker, by the first word of the question; modules that have one add it.
    """

    def __init__(self, place: Place) -> None:
        self.answers: dict[str, Answer] = {}
        self._place = place

    async def run(self) -> None:
        """Answer the others until it is cancelled; without a directory, do nothing."""
        if not self._place.directory:
            return
        path = self._place.socket
        try:
            with addressable(path) as address:
                listener = await anyio.create_unix_listener(address, mode=0o600)
        except OSError as exc:
            log(
                logger,
                logging.WARNING,
                "peers.unreachable",
                "metrics show one worker only",
                **fields_of(exc),
            )
            return
        try:
            async with listener:
                await listener.serve(self._answer)
        finally:
            self._place.remove()

    async def ask(self, question: str, *words: str) -> Mapping[str, bytes | None]:
        """Return what each worker answers, by its name; None: it did not answer in time.

        Args:
            question: the first word.
            words: the others; the name of the worker that is asked is added as the last one.
        """
        answers: dict[str, bytes | None] = {}

        async def ask(peer: Peer) -> None:
            if peer.is_own:
                answers[peer.name] = await self.answers[question](*words, peer.name)
            elif peer.socket is not None:
                line = " ".join((question, *words, peer.name))
                answers[peer.name] = await _asked(peer.socket, line)

        peers = self._place.peers()
        answers.update((peer.name, None) for peer in peers)  # in this order
        async with anyio.create_task_group() as tasks:
            for peer in peers:
                tasks.start_soon(ask, peer)
        return answers

    async def _answer(self, connection: anyio.abc.SocketStream) -> None:
        async with connection:
            with anyio.move_on_after(_SERVE_SECONDS):
                try:
                    question, *words = (await _line(connection)).decode().split()
                    await connection.send(await self.answers[question](*words))
                except (BrokenPipeError, anyio.BrokenResourceError):
                    return  # the other one no longer waits
                except Exception as exc:  # noqa: BLE001  # whatever it is, this worker goes on
                    log(logger, logging.WARNING, "peers.unanswered", **fields_of(exc))


async def _asked(socket: Path, line: str) -> bytes | None:
    """Return the answer of another worker, or None."""
    with anyio.move_on_after(ASK_SECONDS):
        try:
            with addressable(socket) as address:
                connection = await anyio.connect_unix(address)
            async with connection:
                await connection.send(f"{line}\n".encode())
                parts = [part async for part in connection]
                return b"".join(parts) or None
        except (OSError, anyio.BrokenResourceError) as exc:
            log(logger, logging.INFO, "peers.silent", peer=socket.name, **fields_of(exc))
    return None


async def _line(connection: anyio.abc.SocketStream) -> bytes:
    """Return a line.

    Raises:
        ValueError: it is too long, or the connection ends before.
    """
    data = b""
    while not data.endswith(b"\n"):
        if len(data) > _QUESTION_BYTES:
            raise ValueError
        try:
            data += await connection.receive()
        except anyio.EndOfStream as exc:
            raise ValueError from exc
    return data
