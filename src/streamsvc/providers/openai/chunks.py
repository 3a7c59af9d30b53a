"""Reads the chunks of OpenAI's chat completions from JSON into an answer.

A chunk is decoded by msgspec straight into one small struct; the SDK's object for it costs ten times as much as
everything else that a token costs here. Chunks that do not fit are read again by `lenient`.
Shapes: openai SDK, `types/chat/chat_completion_chunk.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from streamsvc.providers import lenient
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.error_mapping import raise_stated_error
from streamsvc.providers.openai import rare
from streamsvc.providers.openai.thoughts import TEXTS, Thoughts


class _Delta(msgspec.Struct):
    tool_calls: Any = None
    function_call: Any = None  # the older form of a tool call
    extra_content: Any = None  # what the provider wants back with this message
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None  # OpenRouter's form of it
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
        model: the model that was asked; what the provider wants back is stamped with it.
        thoughts: collects the reasoning, if the provider may need it back.
    """

    __slots__ = ("_answer", "_has_messages", "_model", "_thoughts")

    def __init__(
        self, answer: AnswerSoFar, model: str = "", thoughts: Thoughts | None = None
    ) -> None:
        self._answer = answer
        self._thoughts = thoughts
        self._model = model
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
                if (
                    delta is None
                    or choice.message is not None
                    or choice.text
                    or self._thoughts is not None
                ):
                    delta = self._contents(choice)
                if (
                    delta.tool_calls
                    or delta.refusal
                    or choice.logprobs
                    or delta.function_call
                    or delta.extra_content
                    or choice.error
                ):
                    self._take_rare(choice, delta, payload)
                else:
                    answer.take(
                        delta.reasoning_content or delta.reasoning or "",
                        delta.content or "",
                        choice.finish_reason,
                    )

    def _take_aside(self, chunk: _Chunk, payload: bytes) -> None:
        """Take what a chunk has beside its choices, or instead of them."""
        if chunk.error or not (chunk.choices or chunk.usage):
            raise_stated_error(chunk.error, payload)
        self._answer.count(rare.usage(chunk.usage))

    def _take_rare(self, choice: _Choice, delta: _Delta, payload: bytes) -> None:
        """Take a choice that has more than words.

        Raises:
            ProviderError: it is an error, or cannot be read.
        """
        if choice.error:
            raise_stated_error(choice.error, payload)
        if data := rare.provider_data(delta.extra_content, self._model):
            self._answer.take_provider_data(data)
        self._answer.take_more(
            delta.reasoning_content or delta.reasoning or "",
            delta.content or "",
            choice.finish_reason,
            refusal=delta.refusal or "",
            calls=rare.call_pieces(delta.tool_calls, delta.function_call, self._model),
            logprobs=rare.logprobs(choice.logprobs),
        )

    def _contents(self, choice: _Choice) -> _Delta:
        """Return the contents of a choice, wherever they are, and note its reasoning."""
        delta = choice.delta
        if delta is None or choice.message is not None or choice.text:
            delta = self._other_words(choice)
        if self._thoughts is not None:
            texts = delta.reasoning_content, delta.reasoning
            self._thoughts.take(texts, delta.reasoning_details)
        return delta

    def _other_words(self, choice: _Choice) -> _Delta:
        """Return the contents of a choice that has no delta, or something beside it.

        A `message` instead of deltas is the answer; after deltas, or beside one, it repeats them and is skipped, but
        not tool calls that no delta had.
        """
        delta = choice.delta or _Delta()
        is_summary = not self._has_messages and not self._answer.is_empty
        if is_summary or any(msgspec.structs.astuple(delta)):
            return self._with_calls(delta, choice.message)
        self._has_messages = choice.message is not None or bool(choice.text)
        return choice.message or _Delta(content=choice.text)

    def _with_calls(self, delta: _Delta, message: _Delta | None) -> _Delta:
        """Return a delta with the tool calls of the message beside it, if neither it nor a delta before has any."""
        if message is None or self._answer.has_calls or delta.tool_calls or delta.function_call:
            return delta
        delta.tool_calls, delta.function_call = message.tool_calls, message.function_call
        return delta


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
        return _Delta(content=text, reasoning=reasoning, refusal=lenient.refusals(value))
    content = value.get("content")
    reasoning, text = lenient.words(content)
    named = {name: lenient.thoughts(value[name]) for name in TEXTS if value.get(name) is not None}
    if reasoning and not any(named.values()):
        named["reasoning"] = reasoning
    return _Delta(
        **named,
        content=text,
        reasoning_details=value.get("reasoning_details"),
        refusal="".join(lenient.words(value.get("refusal"))) + lenient.refusals(content),
        tool_calls=value.get("tool_calls"),
        function_call=value.get("function_call"),
        extra_content=value.get("extra_content"),
    )
