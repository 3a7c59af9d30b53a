"""The port of every provider: a prompt goes in, deltas come out, leaving closes the call."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import anyio
import msgspec

from streamsvc.events import AnswerEnd, Reasoning, Text, Usage
from streamsvc.messages import Prompt

CLOSE_SECONDS = 2.0
"""Bound of a clean-up that has to go on although its task is cancelled."""


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream says that the answer is over.

    Attributes:
        reason: in the one vocabulary of all providers.
        provider_reason: the upstream's own word.
        model: the model that answered, where the upstream tells; it may be more exact than asked.
        usage: where the upstream tells.
    """

    reason: AnswerEnd
    provider_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None


Delta = Text | Reasoning | Finish


class Provider(Protocol):
    """A model behind an API. Knows its upstream; knows no log, no dialect and no HTTP server."""

    def generate(self, prompt: Prompt) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Ask the model, and iterate over what it says.

        The request goes out with entering or with the first step of the iteration. The iteration
        gives `Text` and `Reasoning`, never empty and always valid Unicode, as they arrive, and ends
        after exactly one `Finish`, or raises a `ProviderError`; an upstream that ends without saying so is an error. Leaving closes the
        upstream connection, whatever the reason and whatever the iterator is doing, within
        `CLOSE_SECONDS`. Cancellation passes through untouched. Calls may run side by side.
        """
        ...


@asynccontextmanager
async def closed_afterwards(close: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Call *close* on the way out, also when the task is cancelled, but never wait for it long."""
    try:
        yield
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close()


class SurrogateJoiner:
    """Makes text of UTF-16 halves whole again.

    A server that cuts its text by UTF-16 units may send an emoji as two JSON escapes in two
    deltas. A half is held back until its partner comes; one that stays alone becomes U+FFFD
    (Unicode 17.0, section 3.9, D93b).
    """

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """Return what is whole of the text so far."""
        text = self._half + text
        self._half = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return _whole(text)

    def flush(self) -> str:
        """Return what is left: nothing, or a replacement character."""
        text, self._half = self._half, ""
        return _whole(text)


def _whole(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
