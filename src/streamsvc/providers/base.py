"""The ports of a provider: a prompt goes in, deltas are emitted as they arrive, leaving closes the call."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import anyio
import msgspec

from streamsvc.config.settings import ProviderSettings
from streamsvc.events import AnswerEnd, Delta, ToolCallReady, Usage
from streamsvc.messages import Prompt

CLOSE_SECONDS = 2.0
"""Bound of a clean-up that goes on although its task is cancelled."""


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer ended, as the upstream says.

    Attributes:
        reason: in the vocabulary that all providers share.
        provider_reason: the upstream's own word.
        model: the model that answered, if the upstream names it; it may be more exact than the requested name.
        usage: if the upstream counts it.
        is_refused: whether a content filter refused the prompt, so that no answer began. An answer that a
            filter cuts short has the same reason.
        tool_calls: the whole calls, in their order; their drafts have been emitted.
        provider_data: what the provider wants back with this answer, by vendor; opaque.
    """

    reason: AnswerEnd
    provider_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    is_refused: bool = False
    tool_calls: tuple[ToolCallReady, ...] = ()
    provider_data: Mapping[str, Any] = {}


class Provider(Protocol):
    """A model behind an API. It knows its upstream, and no log, no dialect and no HTTP server."""

    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        """Call the model and emit each delta as it arrives.

        Returning, raising and cancelling all close the upstream connection or give it back, within
        `CLOSE_SECONDS`; nothing is emitted afterwards. Cancellation passes through unchanged. Calls may run
        concurrently.

        Args:
            prompt: the request.
            emit: gets each piece as it arrives: never empty, always valid Unicode. It is called at once, maybe
                outside of the calling task, because no task should have to wake for a token. What it raises
                ends the call and is raised here. A `Finish` is emitted, maybe several times, while only the end
                of the stream is missing: the answer is whole and ends like this unless a delta follows. The
                caller needs it when it cancels the call at a deadline.

        Returns:
            How the answer ended.

        Raises:
            ProviderError: the call failed. An upstream that ends without saying so has failed.
        """
        ...


S_contra = TypeVar("S_contra", bound=ProviderSettings, contravariant=True)


class OpenProvider(Protocol[S_contra]):
    """What a provider's module has to offer, as `open_provider`.

    The module is `streamsvc.providers.<kind>`. `registry` imports it in a worker thread, when an entry of its kind is
    first used, so importing it may be slow but must not touch the event loop.
    """

    def __call__(self, settings: S_contra, key: str, /) -> AbstractAsyncContextManager[Provider]:
        """Open the provider of one entry; leaving closes its connections.

        Entered once, in the event loop that also uses the provider, and left in the same one.

        Args:
            settings: of the entry.
            key: the value of its `api_key_env`; empty if the entry needs none.

        Raises:
            ProviderError: the entry cannot be used like this, such as a key with a line feed in it.
        """
        ...


@asynccontextmanager
async def closed_afterwards(close: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Call *close* on the way out, also when the task is cancelled, and wait at most `CLOSE_SECONDS` for it."""
    try:
        yield
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close()


class SurrogateJoiner:
    """Joins UTF-16 halves that arrive in two deltas.

    A server that cuts its text by UTF-16 units may send an emoji as two JSON escapes in two deltas. A half is
    held back until its partner arrives; one that stays alone becomes U+FFFD (Unicode 17.0, section 3.9, D93b).
    """

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """Return the valid part of the text so far."""
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
    """Return valid Unicode: halves of UTF-16 pairs are joined or replaced."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
