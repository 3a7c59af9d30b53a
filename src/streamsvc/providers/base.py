"""The ports of a provider: a prompt goes in, deltas are emitted as they arrive, and leaving closes the call."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import anyio
import msgspec

from streamsvc.config.provider_settings import ProviderSettings
from streamsvc.events import AnswerEnd, Delta, ToolCallReady, Usage
from streamsvc.messages import Prompt

CLOSE_SECONDS = 2.0
"""Maximum time for a clean-up that continues after its task is cancelled."""


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer ended, according to the upstream.

    Attributes:
        reason: the finish reason, with the same values for all providers.
        provider_reason: the upstream's own value.
        model: the model that answered, if the upstream names it; it may be more specific than the requested name.
        usage: the upstream's count, if it sends one.
        is_refused: whether a content filter refused the prompt, so that no answer began. An answer that a
            filter cuts short has the same reason.
        tool_calls: the complete calls, in order; their drafts have been emitted.
        provider_data: what the provider wants back with this answer, by vendor; opaque.
    """

    reason: AnswerEnd
    provider_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    is_refused: bool = False
    tool_calls: tuple[ToolCallReady, ...] = ()
    provider_data: Mapping[str, Any] = {}


def trace_fields(prompt: Prompt) -> dict[str, str]:
    """Return the header field that puts a call into its trace (W3C Trace Context, section 3.2); none if it has none."""
    return {"traceparent": prompt.trace} if prompt.trace else {}


class Provider(Protocol):
    """A model behind an API. It knows its upstream, but no log, dialect or HTTP server."""

    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        """Call the model and emit each delta as it arrives.

        Returning, raising and cancelling all close the upstream connection or release it to the pool, within
        `CLOSE_SECONDS`; nothing is emitted afterwards. Cancellation passes through unchanged. Calls may run
        concurrently.

        Args:
            prompt: the request.
            emit: gets each piece as it arrives: never empty, always valid Unicode. It is called at once, maybe
                outside the calling task, so that no task has to wake for a token. What it raises ends the call
                and is raised here. A `Finish` is emitted, maybe several times, when only the end of the stream
                is missing: the answer is complete and ends like this unless a delta follows. The caller needs
                it if it cancels the call at a deadline.

        Returns:
            How the answer ended.

        Raises:
            ProviderError: the call failed. An upstream that ends without saying so has failed.
        """
        ...


S_contra = TypeVar("S_contra", bound=ProviderSettings, contravariant=True)


class OpenProvider(Protocol[S_contra]):
    """The signature of `open_provider`, which every provider's module defines.

    The module is `streamsvc.providers.<kind>.provider`. `registry` imports it in a worker thread, when an entry of its kind is
    first used, so importing it may be slow but must not touch the event loop.
    """

    def __call__(self, settings: S_contra, key: str, /) -> AbstractAsyncContextManager[Provider]:
        """Open the provider of one entry; leaving closes its connections.

        The context is entered once, in the event loop that uses the provider, and exited in the same one.

        Args:
            settings: of the entry.
            key: the value of its `api_key_env`; empty if the entry needs none.

        Raises:
            ProviderError: the entry is unusable, for example because its key contains a line feed.
        """
        ...


@asynccontextmanager
async def closed_afterwards(close: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Call *close* on exit, even if the task is cancelled, and wait at most `CLOSE_SECONDS` for it."""
    try:
        yield
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close()


class SurrogateJoiner:
    """Joins surrogate pairs whose halves arrive in two deltas.

    A server that splits its text by UTF-16 units may send an emoji as two JSON escapes in two deltas. A half is
    held back until its partner arrives; a lone half becomes U+FFFD (Unicode 17.0, section 3.9, D93b).
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
        """Return the remainder: nothing, or a replacement character."""
        text, self._half = self._half, ""
        return whole(text)


def whole(text: str) -> str:
    """Return valid Unicode: halves of surrogate pairs are joined or replaced."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
