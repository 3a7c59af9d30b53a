"""Reads the chunks of OpenAI's chat completions from JSON into an answer.

A chunk is decoded by msgspec straight into one small struct; the SDK's object for it costs ten times as much as
everything else that a token costs here. Chunks that do not fit are read again by `lenient`.
Shapes: openai SDK, `types/chat/chat_completion_chunk.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from streamsvc.events import Usage
from streamsvc.providers import lenient
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.error_mapping import raise_stated_error
from streamsvc.providers.tool_calls import CallPiece


class _Delta(msgspec.Struct):
    tool_calls: Any = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None  # some servers, and a completion that is not streamed
    text: str | None = None  # the older completions API
    finish_reason: str | None = None
    logprobs: Any = None
    error: Any = None  # OpenRouter's place for it


class _Chunk(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class ChunkReader:
    """Reads chunks of chat completions into an answer; of several choices, the first.

    Args:
        answer: collects the contents of the chunks.
    """

    __slots__ = ("_answer", "_has_messages")

    def __init__(self, answer: AnswerSoFar) -> None:
        self._answer = answer
        self._has_messages = False

    def take(self, payload: bytes) -> None:
        """Take the JSON of a chunk, or of a whole completion.

        Raises:
            ProviderError: it is an error, or cannot be read.
        """
        chunks: Iterable[_Chunk]
        try:
            chunks = (_decode_chunk(payload),)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._answer.has_halves = True  # msgspec refuses a JSON escape of half an emoji
            chunks = map(_chunk, lenient.objects(lenient.load(payload)))
        answer = self._answer
        for chunk in chunks:
            if chunk.error or chunk.usage or not chunk.choices:
                self._take_aside(chunk, payload)
            answer.model = chunk.model or answer.model
            for choice in chunk.choices or ():
                if choice.index:
                    continue
                delta = choice.delta
                if delta is None or choice.message is not None or choice.text:
                    delta = self._other_words(choice)
                if delta.tool_calls or delta.refusal or choice.logprobs or choice.error:
                    self._take_rare(choice, delta, payload)
                answer.take(
                    delta.reasoning_content or delta.reasoning or "",
                    delta.content or "",
                    choice.finish_reason,
                )

    def _take_aside(self, chunk: _Chunk, payload: bytes) -> None:
        """Take what a chunk contains besides its choices, or instead of them."""
        if chunk.error or not (chunk.choices or chunk.usage):
            raise_stated_error(chunk.error, payload)
        self._answer.count(_usage(chunk.usage))

    def _take_rare(self, choice: _Choice, delta: _Delta, payload: bytes) -> None:
        """Take what few answers have besides text.

        Raises:
            ProviderError: it is an error, or cannot be read.
        """
        if choice.error:
            raise_stated_error(choice.error, payload)
        if delta.refusal:
            self._answer.take_refusal(delta.refusal)
        if pieces := [_call_piece(it) for it in lenient.objects(delta.tool_calls)]:
            self._answer.take_calls(pieces)
        likely = choice.logprobs.get("content") if isinstance(choice.logprobs, dict) else None
        if likely and isinstance(likely, list):
            self._answer.take_logprobs(tuple(likely))

    def _other_words(self, choice: _Choice) -> _Delta:
        """Return the text of a choice that has no delta, or something besides it.

        A `message` instead of deltas is the answer; after deltas, or besides one, it repeats them and is skipped.
        """
        delta = choice.delta or _Delta()
        is_summary = not self._has_messages and not self._answer.is_empty
        if is_summary or any(msgspec.structs.astuple(delta)):
            return delta
        self._has_messages = choice.message is not None or bool(choice.text)
        return choice.message or _Delta(content=choice.text)


def _chunk(value: Mapping[str, Any]) -> _Chunk:
    """Return a chunk whose shape deviates from the API."""
    return _Chunk(
        model=lenient.word(value.get("model")),
        choices=[_choice(it) for it in lenient.objects(value.get("choices"))],
        usage=value.get("usage"),
        error=value.get("error"),
    )


def _choice(value: Mapping[str, Any]) -> _Choice:
    return _Choice(
        index=lenient.count(value.get("index")),
        delta=_delta(value.get("delta")),
        message=_delta(value.get("message")),
        text="".join(lenient.words(value.get("text"))),
        finish_reason=lenient.word(value.get("finish_reason")),
        logprobs=value.get("logprobs"),
        error=value.get("error"),
    )


def _delta(value: object) -> _Delta | None:
    if not value or isinstance(value, int | float):
        return None
    if not isinstance(value, dict):
        reasoning, text = lenient.words(value)
        return _Delta(content=text, reasoning=reasoning)
    reasoning, text = lenient.words(value.get("content"))
    named = value.get("reasoning_content") or value.get("reasoning")
    return _Delta(
        content=text,
        reasoning=lenient.thoughts(named) or reasoning,
        refusal="".join(lenient.words(value.get("refusal"))),
        tool_calls=value.get("tool_calls"),
    )


def _call_piece(value: Mapping[str, Any]) -> CallPiece:
    """Return a piece of a tool call (`ChoiceDeltaToolCall`), whatever its shape."""
    function = next(lenient.objects(value.get("function")), {})
    extra = value.get("extra_content")
    return CallPiece(
        index=lenient.count(value.get("index")),
        id=lenient.word(value.get("id")),
        name=lenient.word(function.get("name")),
        arguments=function.get("arguments"),
        provider_data=extra if isinstance(extra, dict) else {},
    )


def _usage(usage: object) -> Usage | None:
    """Return the tokens that the upstream counted, if any; an invalid count does not fail the answer."""
    counts = usage if isinstance(usage, dict) else {}
    details = counts.get("completion_tokens_details")
    input_tokens = lenient.count(counts.get("prompt_tokens"))
    output_tokens = lenient.count(counts.get("completion_tokens"))
    if input_tokens is None and output_tokens is None:
        return None
    return Usage(
        input_tokens=input_tokens or 0,
        output_tokens=output_tokens or 0,
        reasoning_tokens=lenient.count(details.get("reasoning_tokens"))
        if isinstance(details, dict)
        else None,
    )
