"""Reads the chunks of Gemini's streams from JSON into an answer.

Shapes: google-genai, `types.GenerateContentResponse`. Chunks that do not fit are read again by `lenient`.
Images, code that ran at Google and other parts without words or calls are skipped.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from streamsvc.events import Usage
from streamsvc.providers import lenient
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.error_mapping import raise_stated_error
from streamsvc.providers.gemini.calls import CallReader
from streamsvc.providers.gemini.logprobs import logprobs
from streamsvc.providers.gemini.parts import AnswerParts
from streamsvc.providers.tool_calls import CallPiece


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: Any = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None
    logprobs_result: Any = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Any = None
    model_version: str | None = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class ChunkReader:
    """Reads chunks into an answer. Usage is cumulative, and nothing announces the end of the stream.

    Args:
        answer: collects the contents of the chunks.
        model: the model that was asked.
    """

    def __init__(self, answer: AnswerSoFar, model: str) -> None:
        self._answer = answer
        self._parts = AnswerParts(model, answer.take_provider_data)
        self._calls = CallReader(self._parts)

    def take(self, payload: bytes) -> None:
        """Take the JSON of a chunk, or of a list of chunks.

        Raises:
            ProviderError: it is an error, or cannot be read.
        """
        chunks: Iterable[_Chunk]
        try:
            chunks = (_decode_chunk(payload),)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._answer.has_halves = True  # msgspec refuses a JSON escape of half an emoji
            chunks = map(_chunk, lenient.objects(lenient.load(payload)))
        for chunk in chunks:
            if chunk.error or not chunk.candidates:
                raise_stated_error(chunk.error, payload)
            self._take(chunk)

    def _take(self, chunk: _Chunk) -> None:
        answer = self._answer
        if chunk.model_version:
            answer.model = chunk.model_version
        answer.count(usage(chunk.usage_metadata))
        if not chunk.candidates and chunk.prompt_feedback and chunk.prompt_feedback.block_reason:
            answer.block(chunk.prompt_feedback.block_reason)
        for candidate in chunk.candidates or ():
            if not candidate.index:
                self._take_candidate(candidate)

    def _take_candidate(self, candidate: _Candidate) -> None:
        reasoning = text = ""
        calls: list[list[CallPiece]] = []
        for part in (candidate.content and candidate.content.parts) or ():
            if part.function_call is not None:
                calls.append(self._calls.take(part.function_call, part.thought_signature or ""))
            elif part.thought:
                reasoning += part.text or ""
            elif part.text or part.thought_signature:
                self._parts.take_text(part.text or "", part.thought_signature or "")
                text += part.text or ""
        answer = self._answer
        if candidate.logprobs_result and (likely := logprobs(candidate.logprobs_result)):
            answer.take_logprobs(likely)
        if calls:
            answer.take(reasoning, text, None)
            reasoning = text = ""
            for pieces in filter(None, calls):
                answer.take_calls(pieces)
        answer.take(reasoning, text, candidate.finish_reason)


def _chunk(value: Mapping[str, Any]) -> _Chunk:
    """Return a chunk whose shape deviates from the API."""
    feedback = next(lenient.objects(value.get("promptFeedback")), {})
    return _Chunk(
        candidates=[_candidate(it) for it in lenient.objects(value.get("candidates"))],
        prompt_feedback=_Feedback(lenient.word(feedback.get("blockReason"))),
        usage_metadata=value.get("usageMetadata"),
        model_version=lenient.word(value.get("modelVersion")),
        error=value.get("error"),
    )


def _candidate(value: Mapping[str, Any]) -> _Candidate:
    content = value.get("content")
    parts = content.get("parts") if isinstance(content, dict) else content
    return _Candidate(
        index=lenient.count(value.get("index")),
        content=_Content([_part(it) for it in (parts if isinstance(parts, list) else (parts,))]),
        finish_reason=lenient.word(value.get("finishReason")),
        logprobs_result=value.get("logprobsResult"),
    )


def _part(value: object) -> _Part:
    if not isinstance(value, dict):
        return _Part("".join(lenient.words(value)))
    signature = value.get("thoughtSignature")
    return _Part(
        "".join(lenient.words(value.get("text"))),
        thought=bool(value.get("thought")),
        thought_signature=signature if isinstance(signature, str) else None,
        function_call=value.get("functionCall"),
    )


def usage(metadata: object) -> Usage | None:
    """Return the tokens that the upstream counted (`types.GenerateContentResponseUsageMetadata`).

    Gemini counts thoughts apart from the answer, and the results of its own tools apart from the prompt; what it
    took from its cache is part of the prompt.
    """
    if not isinstance(metadata, dict) or not metadata:
        return None
    prompt, results, answer, thoughts, cached = (
        lenient.count(metadata.get(f"{name}TokenCount"))
        for name in ("prompt", "toolUsePrompt", "candidates", "thoughts", "cachedContent")
    )
    return Usage(
        input_tokens=(prompt or 0) + (results or 0),
        output_tokens=(answer or 0) + (thoughts or 0),
        reasoning_tokens=thoughts,
        cached_tokens=cached,
    )
