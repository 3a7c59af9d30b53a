"""The answer so far: its text, its usage, and whether it counts as complete.

A finish reason says how an answer ends, not that nothing follows: some servers send one with every chunk,
some send text, usage or an error after it. An answer ends where its stream ends. If the stream does not end
normally, the finish reason decides:

* A reason that came after text without one completes the answer. Whatever happens next (silence, a deadline,
  a cut, an error, garbage), the answer is complete, and paid for once. The wait for the end of the stream is
  at most `END_WAIT_SECONDS`.
* A reason that came with the first text, or before it, may be one that the server sends with every chunk.
  If the stream breaks, the answer counts as complete, but the wait for its end is as long as the engine allows.
* Text after a reason revokes it. If that text has its own reason, and so did all text before it, the reasons
  mean nothing: only the end of the stream is an end, and a cut is a cut.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from streamsvc.eventloop import now
from streamsvc.events import (
    AnswerEnd,
    Delta,
    Logprobs,
    Reasoning,
    Refusal,
    Text,
    ToolCallReady,
    Usage,
)
from streamsvc.messages import ProviderData
from streamsvc.provider_errors import UpstreamCut, UpstreamInvalid
from streamsvc.providers.base import Finish, SurrogateJoiner
from streamsvc.providers.finish_words import answer_end
from streamsvc.providers.tool_calls import MAX_DATA_BYTES, CallPiece, ToolCallJoiner
from streamsvc.providers.wording import model_name

_Words: TypeAlias = Reasoning | Text | Refusal

END_WAIT_SECONDS = 5.0
"""How long to wait for the end of the stream after a finish reason that ends the answer."""

_NEVER_WITH_EVERY_CHUNK = frozenset[AnswerEnd](("length", "content_filter", "tool_calls"))
"""Reasons that end an answer even before its first word."""

CUT_SHORT = frozenset[AnswerEnd](("length", "content_filter", "other"))
"""Reasons after which the last tool call may be incomplete."""

WITH_OR_WITHOUT_CALLS = frozenset[AnswerEnd](("stop", "tool_calls"))
"""Reasons that servers confuse; the answer shows which one is right."""


class AnswerSoFar:
    """Collects the contents of an answer's chunks, and emits them.

    Args:
        emit: gets each delta, and a `Finish` whenever the answer may be complete.
        data_of_calls: returns what else the provider wants back with the first tool call.

    Attributes:
        model: the model that answers, as the upstream says.
        has_halves: whether the text may contain halves of surrogate pairs.
        is_whole: whether the answer is complete even if its stream breaks now.
        end_at: when to stop waiting for the end of the stream, on the event loop's clock.
    """

    __slots__ = (
        "_calls",
        "_data_of_calls",
        "_emit",
        "_has_plain_words",
        "_is_refused",
        "_joiners",
        "_provider_data",
        "_reason",
        "_usage",
        "_word",
        "end_at",
        "has_halves",
        "is_whole",
        "model",
    )

    def __init__(
        self,
        emit: Callable[[Delta | Finish], None],
        data_of_calls: Callable[[], ProviderData] | None = None,
    ) -> None:
        self.model: str | None = None
        self.has_halves = False
        self.is_whole = False
        self.end_at = math.inf
        self._emit = emit
        self._data_of_calls = data_of_calls
        self._calls: ToolCallJoiner | None = None
        self._provider_data: Mapping[str, Any] = {}
        self._joiners: dict[
            type[_Words], SurrogateJoiner
        ] = {}  # made when a half comes, which is rare
        self._has_plain_words = False  # text without a reason, since the last reason
        self._is_refused = False
        self._reason: AnswerEnd | None = None
        self._word: str | None = None
        self._usage: Usage | None = None

    @property
    def has_calls(self) -> bool:
        """Whether a piece of a tool call has arrived."""
        return self._calls is not None

    @property
    def is_empty(self) -> bool:
        """Whether nothing of an answer has arrived: no text and no finish reason."""
        return self._reason is None and not self._has_plain_words

    def take(self, reasoning: str, text: str, word: str | None) -> None:
        """Take the contents of one chunk, any of them empty; *word* is the upstream's finish reason.

        Raises:
            ProviderError: the finish reason says that the provider failed.
        """
        if self.has_halves:
            reasoning = self._valid(Reasoning, reasoning)
            text = self._valid(Text, text)
        if reasoning:
            self._emit(Reasoning(reasoning))
        if text:
            self._emit(Text(text))
        if word and (end := answer_end(word)):
            self._take_reason(end, word, has_words=bool(reasoning or text))
        elif not self._has_plain_words and (text or reasoning):
            self._take_words()

    def take_more(
        self,
        reasoning: str,
        text: str,
        word: str | None,
        *,
        refusal: str = "",
        calls: Sequence[CallPiece] = (),
        logprobs: Logprobs | None = None,
    ) -> None:
        """Take a chunk with more than text: the text first, then a piece of a refusal, then pieces of tool calls.

        Raises:
            ProviderError: the finish reason says that the provider failed.
            UpstreamInvalid: the pieces are not tool calls.
        """
        reasoning = self._valid(Reasoning, reasoning)
        text = self._valid(Text, text)
        refusal = self._valid(Refusal, refusal)
        for delta in (Reasoning(reasoning), Text(text), Refusal(refusal)):
            if delta.text:
                self._emit(delta)
        if logprobs is not None:
            self.take_logprobs(logprobs.content, logprobs.refusal)
        if calls:
            self._join(calls)
        has_words = bool(reasoning or text or refusal or calls)
        if word and (end := answer_end(word)):
            self._take_reason(end, word, has_words=has_words)
        elif has_words:
            self._take_words()

    def take_calls(self, pieces: Sequence[CallPiece]) -> None:
        """Take the pieces of tool calls in one chunk, before its finish reason.

        Raises:
            UpstreamInvalid: they are not tool calls.
        """
        self._join(pieces)
        self._take_words()

    def take_logprobs(self, content: tuple[Any, ...], refusal: tuple[Any, ...] = ()) -> None:
        """Take the log probabilities of the latest text's tokens, and of a refusal's, in OpenAI's format."""
        self._emit(Logprobs(content, refusal))
        self._announce()

    def take_provider_data(self, data: Mapping[str, Any]) -> None:
        """Take what the provider wants back with this answer; the last value for each vendor is kept.

        Raises:
            UpstreamInvalid: it is too much.
        """
        self._provider_data = {**self._provider_data, **data}
        if len(msgspec.json.encode(self._provider_data)) > MAX_DATA_BYTES:
            raise UpstreamInvalid
        self._announce()

    def _join(self, pieces: Sequence[CallPiece]) -> None:
        if self._calls is None:
            self._calls = ToolCallJoiner(self._emit)
        self._calls.take(pieces)

    def _valid(self, kind: type[_Words], text: str) -> str:
        """Return the valid part of a text of one kind so far."""
        if not self.has_halves:
            return text
        return self._joiners.setdefault(kind, SurrogateJoiner()).feed(text)

    def _take_words(self) -> None:
        """Note that text without a finish reason has arrived, so the answer has grown."""
        self._has_plain_words = True
        self.is_whole = False
        self.end_at = math.inf

    def _take_reason(self, reason: AnswerEnd, word: str, *, has_words: bool) -> None:
        """Take a finish reason.

        Args:
            reason: the meaning of *word*.
            word: the upstream's finish reason.
            has_words: whether it came with text.
        """
        is_first = self._reason is None
        is_sure = is_first and not has_words and reason in _NEVER_WITH_EVERY_CHUNK
        if self._has_plain_words or is_sure:
            self.is_whole = True
            self.end_at = now() + END_WAIT_SECONDS
        elif is_first:
            self.is_whole = True
        elif has_words:
            self.is_whole = False
            self.end_at = math.inf
        self._reason, self._word = reason, word
        self._has_plain_words = False
        self._announce()

    def block(self, word: str) -> None:
        """Take the upstream's reason for refusing the prompt, as a filter gives it."""
        self.is_whole = True
        self.end_at = now() + END_WAIT_SECONDS
        self._reason, self._word = "content_filter", word
        self._is_refused = True
        self._announce()

    def count(self, usage: Usage | None) -> None:
        """Take the upstream's usage; later numbers replace earlier ones, but zeros do not."""
        if usage is None or usage == self._usage:
            return
        if (before := self._usage) is not None:
            usage = Usage(
                input_tokens=usage.input_tokens or before.input_tokens,
                output_tokens=usage.output_tokens or before.output_tokens,
                reasoning_tokens=usage.reasoning_tokens or before.reasoning_tokens,
                cached_tokens=usage.cached_tokens or before.cached_tokens,
                cache_write_tokens=usage.cache_write_tokens or before.cache_write_tokens,
            )
        if usage != before:
            self._usage = usage
            self._announce()

    def end_without_reason(self) -> None:
        """Take the end of a body that is complete by itself, such as one JSON object."""
        if self._reason is None and self._has_plain_words:
            self._reason = "stop"

    def finish(self) -> Finish:
        """Emit what was held back, and return how the answer ended.

        Raises:
            UpstreamCut: no finish reason has arrived.
            UpstreamInvalid: the arguments of a tool call are not a JSON object.
        """
        if self._reason is None:
            raise UpstreamCut
        for kind, joiner in self._joiners.items():
            if rest := joiner.flush():
                self._emit(kind(rest))
        return self._finish(self._reason)

    def _announce(self) -> None:
        """Emit a `Finish`: how the answer ends if nothing follows."""
        if self.is_whole and self._reason is not None:
            with suppress(UpstreamInvalid):
                self._emit(self._finish(self._reason))

    def _finish(self, reason: AnswerEnd) -> Finish:
        calls: tuple[ToolCallReady, ...] = ()
        if self._calls is not None:
            calls = self._calls.whole(may_be_cut=reason in CUT_SHORT)
        if calls and self._data_of_calls is not None:
            data = {**self._data_of_calls(), **calls[0].provider_data}
            calls = (msgspec.structs.replace(calls[0], provider_data=data), *calls[1:])
        if reason in WITH_OR_WITHOUT_CALLS:  # some servers say `stop` after calls
            reason = "tool_calls" if calls else "stop"
        return Finish(
            reason=reason,
            provider_reason=self._word,
            model=model_name(self.model),
            usage=self._usage,
            is_refused=self._is_refused,
            tool_calls=calls,
            provider_data=self._provider_data,
        )
