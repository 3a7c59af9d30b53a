"""The body of a response, from bytes to chunks: an event stream, or what a server sends instead of one.

The first byte shows what the body is; if it does not, the content type decides. (Many servers send an event stream
as `text/plain`, or without a type.) A server that ignores `stream: true` sends one JSON object, whose text is the
answer. A login page is not an answer.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from enum import Enum, auto

import anyio

from streamsvc.provider_errors import ProviderError, ProviderMisconfigured, UpstreamInvalid
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.base import Finish
from streamsvc.providers.error_mapping import error_for_text, error_for_transport
from streamsvc.providers.http.errors import LineTooLong, TransportError
from streamsvc.providers.http.eventstream import EventStreamDecoder
from streamsvc.providers.http.exchange import Read

_EVENT_STREAM = "text/event-stream"
_BLANK = b" \t\r\n\xef\xbb\xbf"
_FIELDS = (b":", b"data:", b"event:", b"id:", b"retry:", b"error:")
"""How the lines of an event stream begin; `error` is a field that some servers add."""


_NO_DEADLINE = nullcontext()


class Kind(Enum):
    """What a body is."""

    STREAM = auto()
    JSON = auto()
    OTHER = auto()


class BodyReader:
    """Splits a body into chunks, and knows when it has ended.

    Args:
        answer: collects the contents of the chunks.
        take_chunk: reads the JSON of one chunk into *answer*.
        content_type: of the response; empty if it has none.
        max_bytes: limit on a line of an event stream, and on a body that is JSON.

    Attributes:
        is_done: whether `[DONE]` has arrived.
    """

    __slots__ = (
        "_answer",
        "_decoder",
        "_end_at",
        "_has_type",
        "_held",
        "_is_paused",
        "_is_stream",
        "_kind",
        "_max_bytes",
        "_says_stream",
        "_take_chunk",
        "is_done",
    )

    def __init__(
        self,
        answer: AnswerSoFar,
        take_chunk: Callable[[bytes], None],
        *,
        content_type: str,
        max_bytes: int,
    ) -> None:
        self.is_done = False
        self._answer = answer
        self._take_chunk = take_chunk
        kind = content_type.partition(";")[0].strip().lower()
        self._has_type = bool(kind)
        self._says_stream = kind == _EVENT_STREAM
        self._max_bytes = max_bytes
        self._decoder = EventStreamDecoder(max_bytes)
        self._kind: Kind | None = None
        self._is_stream = False  # the same as the kind, but cheaper to check for each token
        self._held = bytearray()  # a body that is JSON, or whose kind is still unknown
        self._end_at = math.inf
        self._is_paused = False

    async def read(self, read: Read) -> Finish:
        """Read the body to its end, and return how the answer ended.

        Args:
            read: has the contract of `Exchange.read`.

        Raises:
            ProviderError: it broke off, states an error or cannot be read, before the answer was complete.
        """
        try:
            # The deadline of the wait for the end of the stream changes with what arrives, so each deadline has its
            # own `read` and scope.
            while not self.is_done:
                self._is_paused = False
                self._end_at = self._answer.end_at
                with _until(self._end_at) as wait:
                    await read(self.take)
                    if not self._is_paused:
                        self._take_end()
                        break
                if wait is not None and wait.cancelled_caught:
                    break
        except TransportError as exc:
            if not self._answer.is_whole:
                raise error_for_transport(exc) from exc
        except ProviderError:
            if not self._answer.is_whole:
                raise
        return self._answer.finish()

    def take(self, data: bytes) -> bool:
        """Take a part of the body; return whether to continue with the same deadline."""
        if not self._is_stream:
            data = self._begin(data)
        for payload in self._decoder.feed(data):
            if payload.startswith(b"{"):
                self._take_chunk(payload)
            else:
                self._take_other(payload)
            if self.is_done:
                break
        self._is_paused = self.is_done or self._answer.end_at != self._end_at
        return not self._is_paused

    def _take_other(self, payload: bytes) -> None:
        payload = payload.strip()
        if payload.strip(b'"') == b"[DONE]":
            self.is_done = True
        elif payload:  # some servers keep a connection alive with nothing
            self._take_chunk(payload)

    def _begin(self, data: bytes) -> bytes:
        """Hold back the beginning until the body's kind is known; return the part that is an event stream.

        Raises:
            ProviderError: it is neither an event stream nor JSON.
            UpstreamInvalid: it is JSON, and too long.
        """
        self._held += data
        if self._kind is None:
            self._held = self._held.lstrip(_BLANK)
            self._kind = _kind(bytes(self._held[:8]), is_stream=self._says_stream)
        if self._kind is Kind.STREAM:
            self._is_stream = True
            data = bytes(self._held)
            if data.startswith(_FIELDS):
                self._held.clear()  # otherwise it may be the text of an error
            return data
        if self._kind is Kind.OTHER:
            raise error_for_text(bytes(self._held))
        if len(self._held) > self._max_bytes:
            raise UpstreamInvalid
        return b""

    def _take_end(self) -> None:
        """Take the normal end of the body, with a last block that may lack its blank line."""
        if self._is_stream:
            with suppress(UpstreamInvalid, LineTooLong):  # an incomplete chunk is dropped
                for payload in self._decoder.flush():
                    self._take_other(payload)
            if self._held and self._answer.is_empty:
                raise error_for_text(bytes(self._held))
        elif self._kind is Kind.JSON:
            self._take_document(bytes(self._held))
        elif self._has_type and not self._says_stream:
            raise ProviderMisconfigured

    def _take_document(self, body: bytes) -> None:
        """Take a body that is JSON: one value, or one per line."""
        lines = body.splitlines()
        try:
            self._take_chunk(body)
        except UpstreamInvalid:
            if len(lines) == 1:
                raise
            for line in filter(None, map(bytes.strip, lines)):
                self._take_chunk(line)
        if self._answer.is_empty:
            raise ProviderMisconfigured
        self._answer.end_without_reason()


def _kind(beginning: bytes, *, is_stream: bool) -> Kind | None:
    """Determine a body's kind from its first bytes that are not blank; None if there are too few."""
    if not beginning:
        return None
    if beginning.startswith((b"{", b"[")):
        return Kind.JSON
    if beginning.startswith(_FIELDS) or (is_stream and not beginning.startswith(b"<")):
        return Kind.STREAM
    return None if any(field.startswith(beginning) for field in _FIELDS) else Kind.OTHER


def _until(deadline: float) -> AbstractContextManager[anyio.CancelScope | None]:
    """Return a scope that ends at a deadline; without one, nothing is made, because every open stream would keep it."""
    return _NO_DEADLINE if deadline == math.inf else anyio.CancelScope(deadline=deadline)
