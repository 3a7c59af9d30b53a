"""The port of every provider: a prompt goes in, deltas are said as they come, leaving closes the call."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
import msgspec

from streamsvc.events import AnswerEnd, Reasoning, Text, Usage
from streamsvc.messages import Prompt

CLOSE_SECONDS = 2.0
"""Bound of a clean-up that has to go on although its task is cancelled."""


Delta = Text | Reasoning
"""A piece of an answer, as it comes."""


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream says that the answer is over.

    Attributes:
        reason: in the one vocabulary of all providers.
        provider_reason: the upstream's own word.
        model: the model that answered, where the upstream tells; it may be more exact than asked.
        usage: where the upstream tells.
        is_refused: whether a content filter refused the prompt, so that no answer was begun; an answer
            that a filter ends has the same reason.
    """

    reason: AnswerEnd
    provider_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    is_refused: bool = False


class Provider(Protocol):
    """A model behind an API. Knows its upstream; knows no log, no dialect and no HTTP server."""

    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        """Ask the model, and say what it says.

        Leaving closes the upstream connection, or gives it back, whatever the reason, within
        `CLOSE_SECONDS`; nothing is said afterwards. Cancellation passes through untouched. Calls may run
        side by side.

        Args:
            prompt: what is asked.
            emit: is called with each piece as it comes, never empty and always valid Unicode, at once
                and maybe outside of the calling task: no task has to wake for a word. What it raises
                ends the call, and is raised here. A `Finish` is said, maybe several times, while the
                end of the stream is waited for: the answer is whole, and ends so, unless a delta
                follows. It is for who cancels the call at a deadline.

        Returns:
            How the answer ended.

        Raises:
            ProviderError: it failed; an upstream that ends without saying so has.
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
        return whole(text)

    def flush(self) -> str:
        """Return what is left: nothing, or a replacement character."""
        text, self._half = self._half, ""
        return whole(text)


def whole(text: str) -> str:
    """Return valid Unicode: halves of UTF-16 pairs are joined, or replaced."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
