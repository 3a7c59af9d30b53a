"""The port of every directory: who runs a generation, who watches it, and what leads to it.

The event log holds a generation's records. The directory holds the rest of what processes must share:
which of them runs a generation, so that any can stop it; who is watching, so that it ends when its last
viewer leaves; the generation of an idempotency key; the latest answer of a chat.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from streamsvc.engine.audience import Count
from streamsvc.events import Outcome
from streamsvc.messages import GenerationRequest

STOP_SECONDS = 5.0
"""How long a stop waits for a generation to write its `Done`."""


class RunningGeneration(Protocol):
    """A generation, as the process that runs it presents it to the directory."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def request(self) -> GenerationRequest:
        """What is generated, for a process that has to take over."""
        ...

    @property
    def audience(self) -> Count:
        """Counts its viewers; when the last one leaves, that may stop it."""
        ...

    def stop(self, outcome: Outcome) -> None:
        """End it at once, without waiting; the first reason given is kept.

        `upstream_lost` means that another process runs it now, or may: this one writes nothing more.
        """
        ...

    async def wait_ended(self) -> None:
        """Wait until its `Done` is in the log, or another process goes on with it."""
        ...


class KeyUse(msgspec.Struct, frozen=True):
    """What an idempotency key stands for.

    Attributes:
        fingerprint: of the request that first used it.
        generation: the id of the generation that this request started.
    """

    fingerprint: bytes
    generation: str


class KeyClaim(msgspec.Struct):
    """An idempotency key, held by one request.

    Attributes:
        use: what the key stands for; None if nothing yet. The holder of the claim may set it.
    """

    use: KeyUse | None = None


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The latest answer of a chat.

    Attributes:
        generation: its id.
        grace_seconds: how long a client that has lost its connection may take to come back.
        was_sent: whether it has been sent to some client completely.
        context: what a replay of it takes besides its records; opaque to the directory.
        turn: distinguishes one `put_answer` from the next, even if both are for the same generation.
    """

    generation: str
    grace_seconds: float
    was_sent: bool = False
    context: bytes = b""
    turn: bytes = msgspec.field(default_factory=lambda: os.urandom(8))


class TakenOver(msgspec.Struct, frozen=True):
    """A generation whose process has died or left, and that this process now runs.

    Attributes:
        request: what is generated; None if it is not known any more.
        stop: why it must end at once, if it was stopped in the meantime.
        times: how often its process has died, this time included; a hand-over does not count.
    """

    request: GenerationRequest | None
    stop: Outcome | None = None
    times: int = 1


class Directory(Protocol):
    """Finds generations that may run in any process; one directory serves all processes.

    Waiting: only the `async` methods may use a network. They may be cancelled at any point; the change is
    then made completely or not at all. The other methods take effect at once in this process and soon in
    the others, never wait and never raise.

    Concurrency: any method may be called while others are waiting. Calls that change the same key or
    the same chat take effect one after the other, whichever process makes them.

    Errors: the `async` methods raise failures of a network or a store as `streamsvc.errors.RequestError`, so
    that a client gets a code; the in-memory directory raises nothing.
    """

    @property
    def running_here(self) -> Collection[RunningGeneration]:
        """The generations that this process runs, oldest first. A live view: copy it before awaiting during iteration."""
        ...

    def enter(self, generation: RunningGeneration) -> Awaitable[None]:
        """Announce that this process runs a generation; return `NO_WAIT` if that took no wait.

        It is in `running_here` before the first suspension, so that a limit on their number holds however many
        are entered at once. If the call fails or is cancelled, it stays there until `leave`.
        """
        ...

    def leave(self, generation: RunningGeneration) -> None:
        """Announce that it has ended; it must be in `running_here`."""
        ...

    def lapsed(self) -> AsyncIterator[str]:
        """Iterate over the generations whose process no longer runs them, as they are noticed; it never ends.

        A generation may be reported more than once, and by several processes. When the iteration is cancelled, this
        process is about to end: its viewers of other processes' generations are interrupted, and resume elsewhere.
        """
        ...

    async def take(self, generation: str) -> TakenOver | None:
        """Make this process the one that runs a generation of `lapsed`; only one process succeeds.

        After that, `EventLog.adopt` loads its log; `enter` must be called as for a new generation.

        Returns:
            What to go on with; None if it runs elsewhere, has ended, or is no longer kept.
        """
        ...

    def abandon(self, generation: str) -> None:
        """Leave a generation of `take` that cannot go on here to the other processes.

        Its viewers here are interrupted, and resume elsewhere. After `enter`, and without `take`, nothing happens.
        """
        ...

    async def hand_over(self, generation: RunningGeneration) -> bool:
        """Let another process take over a generation of this one, which has stopped calling its provider.

        Its viewers here are interrupted, and resume elsewhere. `leave` must follow.

        Returns:
            Whether another process may take over. If not, nothing has happened.
        """
        ...

    def retire(self) -> None:
        """Note that this process ends soon: its viewers are about to be cut, and come back through another one.

        Their leaving does not stop what another process generates for them, until they have had time for that.
        """
        ...

    async def stop(self, generation: str, outcome: Outcome) -> bool:
        """Have the process that runs a generation end it.

        Waits until its `Done` is in the log, at most `STOP_SECONDS`.

        Returns:
            Whether any process was running it. A generation that has ended stays as it is.
        """
        ...

    def audience(self, generation: str) -> Count | None:
        """Return the viewer count of a generation, wherever it runs; None if it is known not to be running.

        If the generation runs in this process, joins and leaves take effect before they return. A viewer that is
        gone must be removed from the count even if its process dies.
        """
        ...

    def claim(self, key: str) -> AbstractAsyncContextManager[KeyClaim]:
        """Hold an idempotency key; others that want it wait, in any process.

        The claim's `use` is what the key stands for, which is never a generation whose log has been
        dropped. Set it within the context, and the key stands for that until the log is dropped. Leave
        the context without setting it, even through an exception, and nothing changes.
        """
        ...

    async def put_answer(self, chat: str, answer: ChatAnswer) -> str | None:
        """Make an answer the latest of its chat; return the generation of the previous one, if known."""
        ...

    async def answer(self, chat: str) -> ChatAnswer | None:
        """Return the latest answer of a chat, while a client may still lack it.

        That an answer was sent completely does not mean that it arrived: a proxy or a kernel may have
        accepted the end for a client whose network is gone, and clients do not acknowledge it. So it stays
        available for its grace period after it was sent. A client that already has it replaces it.
        """
        ...

    async def drop_answer(self, chat: str) -> str | None:
        """Forget the latest answer of a chat; return its generation, if a client may still lack it."""
        ...

    def mark_sent(self, chat: str, answer: ChatAnswer) -> None:
        """Note that an answer has been sent to a client completely: its grace period starts, or starts again.

        Nothing happens if another answer has become the latest.
        """
        ...
