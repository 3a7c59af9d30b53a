"""The port of every directory: who runs a generation, who watches it, and what leads to it.

The event log holds what a generation says. The directory holds the rest of what processes have to
share: which of them runs a generation, so that any can stop it; who watches, so that it ends with
its last viewer; the generation that an idempotency key stands for; the latest answer of a chat.
"""

import os
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from streamsvc.engine.audience import Count
from streamsvc.events import Outcome

STOP_SECONDS = 5.0
"""How long a stop waits for a generation to write its end."""


class RunningGeneration(Protocol):
    """A generation, as the process that runs it hands it to the directory."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def audience(self) -> Count:
        """Counts its viewers; the last one to leave may stop it."""
        ...

    def stop(self, outcome: Outcome) -> None:
        """End it at once; the first reason given stands. Does not wait."""
        ...

    async def wait_ended(self) -> None:
        """Wait until its `Done` is in the log."""
        ...


class KeyUse(msgspec.Struct, frozen=True):
    """What an idempotency key stands for.

    Attributes:
        fingerprint: of the request it was first used with.
        generation: the id of the generation which that request started.
    """

    fingerprint: bytes
    generation: str


class KeyClaim(msgspec.Struct):
    """An idempotency key, held by one request.

    Attributes:
        use: what the key stands for; None while it stands for nothing. Setting it is what the claim
            is for.
    """

    use: KeyUse | None = None


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The latest answer of a chat.

    Attributes:
        generation: its id.
        grace_seconds: how long a client that has lost its connection may take to come back.
        was_sent: whether some client has been sent all of it.
        turn: tells one `put_answer` from the next, also where both are of one generation.
    """

    generation: str
    grace_seconds: float
    was_sent: bool = False
    turn: bytes = msgspec.field(default_factory=lambda: os.urandom(8))


class Directory(Protocol):
    """Finds generations that may run in any process; one directory serves all processes.

    Waiting: only the `async` methods may use a network, and they may be cancelled at any point: the
    change is then made or not made, never half made. The others take effect at once for this process,
    soon for the rest, never wait and never raise.

    Concurrency: any method may be called while others are waiting. Two calls that change the same key
    or the same chat happen one after the other, in whatever process they were made.

    Errors: what a network or a store raises is raised by the `async` methods as
    `streamsvc.errors.RequestError`, so that a client reads a code; the memory form raises nothing.
    """

    @property
    def running_here(self) -> Collection[RunningGeneration]:
        """The generations that this process runs, oldest first. A live view: copy it to iterate over waits."""
        ...

    async def enter(self, generation: RunningGeneration) -> None:
        """Announce that this process runs a generation.

        It is among `running_here` before the first suspension, so that a bound on their number holds
        however many are entered at once. Where the call fails or is cancelled it stays there until
        `leave`.
        """
        ...

    def leave(self, generation: RunningGeneration) -> None:
        """Announce that it has ended; it must be among `running_here`."""
        ...

    async def stop(self, generation: str, outcome: Outcome) -> bool:
        """Have the process that runs a generation end it.

        Waits until its `Done` is in the log, at most `STOP_SECONDS`.

        Returns:
            Whether any process was running it. One that has ended stays as it is.
        """
        ...

    def audience(self, generation: str) -> Count | None:
        """Return what counts the viewers of a generation, wherever it runs; None: it does not run.

        Joins and leaves of this process reach a generation that it runs before the call returns.
        A viewer that no longer watches must be counted out even if its process dies.
        """
        ...

    def claim(self, key: str) -> AbstractAsyncContextManager[KeyClaim]:
        """Hold an idempotency key; others who want it wait, in any process.

        The claim's `use` is what the key stands for, which is never a generation whose log has been
        dropped. Set it within the context and the key stands for that from then on, until the log
        is dropped. Leave the context without setting it, also by an exception, and nothing changes.
        """
        ...

    async def put_answer(self, chat: str, answer: ChatAnswer) -> str | None:
        """Make an answer the latest of its chat; return the generation of the one before, if known."""
        ...

    async def answer(self, chat: str) -> ChatAnswer | None:
        """Return the latest answer of a chat, while a client may still lack it.

        That an answer was sent to its end does not mean that it arrived: a proxy or a kernel may have
        taken the end for a client whose network is gone, and clients do not acknowledge. So it stays
        available for its grace after it was sent. A client that has it already replaces it by itself.
        """
        ...

    async def drop_answer(self, chat: str) -> str | None:
        """Forget the latest answer of a chat; return its generation, if a client may still lack it."""
        ...

    def mark_sent(self, chat: str, answer: ChatAnswer) -> None:
        """Note that a client has been sent an answer to its end: its grace begins, or begins again.

        Nothing happens if another answer has become the latest.
        """
        ...
