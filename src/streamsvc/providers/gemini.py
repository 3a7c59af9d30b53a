"""Google's Gemini API through the google-genai SDK.

The SDK makes the request and sends it; its HTTP client is ours, and a hook takes the body of a good answer
away from it. That is read here: the SDK gives up on a chunk that is not of its types, takes comments for
errors, and never closes the connection of a stream that is left early.
Chunks: google-genai, `types.GenerateContentResponse`.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, cast

import httpx2
import msgspec
from google import genai
from google.genai import errors, types
from typing_extensions import override

from streamsvc.config.settings import GeminiSettings
from streamsvc.errors import UpstreamInvalid
from streamsvc.events import Usage
from streamsvc.messages import Prompt
from streamsvc.providers import lenient
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.base import Delta, Finish, Provider, closed_afterwards
from streamsvc.providers.error_mapping import error_for_answer, raise_stated_error
from streamsvc.providers.gemini_http import error_for_transport, open_client
from streamsvc.providers.response import ResponseReader


class _Part(msgspec.Struct):
    text: str | None = None
    thought: bool | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Any = None
    model_version: str | None = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class _Exchange:
    """What a call to the SDK leads to.

    Attributes:
        response: once there is one.
        body: its body, where it is a success.
    """

    def __init__(self) -> None:
        self.response: httpx2.Response | None = None
        self.body: httpx2.AsyncByteStream | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers if self.response is not None else {}

    async def close(self) -> None:
        if self.response is not None:
            await self.response.aclose()
        if self.body is not None:
            await self.body.aclose()


_exchange: ContextVar[_Exchange] = ContextVar("exchange")
"""That of the generation that runs in this task."""


class _Nothing(httpx2.AsyncByteStream):
    """The body that the SDK is left with."""

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        return
        yield


_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
"""What the SDK raises, by accident or on purpose, when an answer is not of the shape it expects."""

_VERSION = re.compile(r"(.*)/(v[0-9]+[a-z0-9]*)/*")
_DEFAULT_VERSION = "v1"
"""What google-genai asks for (`_api_client.GOOGLE_AI_API_DEFAULT_VERSION`), and Google serves."""


@asynccontextmanager
async def open_provider(settings: GeminiSettings, key: str) -> AsyncIterator[Provider]:
    """Hold the SDK's client, and with it the connections, of one provider entry."""
    async with open_client(settings) as http_client:
        deadlines = http_client.timeout.as_dict()

        async def set_deadlines(request: httpx2.Request) -> None:
            # The SDK sends its own timeout with each request: none at all.
            request.extensions["timeout"] = deadlines

        async def take_body(response: httpx2.Response) -> None:
            exchange = _exchange.get()
            exchange.response = response
            if not response.is_success:
                body = await response.aread()
                raise error_for_answer(response.status_code, body, response.headers)
            exchange.body = cast("httpx2.AsyncByteStream", response.stream)
            response.stream = _Nothing()

        hooks = http_client.event_hooks
        hooks["request"].append(set_deadlines)
        hooks["response"].append(take_body)
        root, version = address(settings.url)
        client = genai.Client(
            api_key=key or "none-needed",
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=root,
                api_version=version,
                httpx_async_client=http_client,
                # Its synchronous half, which nobody uses, would load httpcore2 and certificates: half a
                # second in which no word of anybody flows.
                httpx_client=httpx2.Client(transport=httpx2.BaseTransport(), trust_env=False),
            ),
        )
        yield GeminiProvider(settings, client)


def address(url: str) -> tuple[str, str]:
    """Return the root and the version of an API; *url* says the version where it ends in one."""
    named = _VERSION.fullmatch(url)
    return (named[1], named[2]) if named else (url, _DEFAULT_VERSION)


class GeminiProvider(Provider):
    """One provider entry of kind `gemini`."""

    def __init__(self, settings: GeminiSettings, client: genai.Client) -> None:
        self._settings = settings
        self._client = client

    @override
    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        exchange = _Exchange()
        token = _exchange.set(exchange)
        try:
            async with closed_afterwards(exchange.close):
                body = await self._ask(prompt, exchange)
                answer = AnswerSoFar(emit)
                response = ResponseReader(
                    answer,
                    _ChunkReader(answer).take,
                    content_type=exchange.headers.get("content-type", ""),
                    max_bytes=self._settings.max_line_bytes,
                )
                return await response.read(_Body(body).read)
        finally:
            _exchange.reset(token)

    async def _ask(self, prompt: Prompt, exchange: _Exchange) -> httpx2.AsyncByteStream:
        """Have the SDK send the request; return the body of the answer.

        Raises:
            ProviderError: there is none; the SDK's errors are made ours.
        """
        try:
            # Nothing is sent before the first step of the iteration.
            chunks = await self._client.aio.models.generate_content_stream(
                model=prompt.model or self._settings.model,
                contents=contents(prompt),
                config=config(prompt, include_thoughts=self._settings.include_thoughts),
            )
            await anext(chunks, None)
        except httpx2.HTTPError as exc:
            raise error_for_transport(exc, answering=False) from exc
        except (errors.APIError, *_UNREADABLE) as exc:
            raise UpstreamInvalid from exc
        if (
            exchange.body is None
            or exchange.headers.get("content-encoding", "identity") != "identity"
        ):
            raise UpstreamInvalid
        return exchange.body


class _Body:
    """The body of an answer, as `ResponseReader` reads it."""

    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._pieces = aiter(body)

    async def read(self, take: Callable[[bytes], bool]) -> None:
        """Hand the body to *take* until that returns False or the body ends.

        Raises:
            ProviderError: it broke off.
        """
        try:
            async for data in self._pieces:
                if not take(data):
                    return
        except httpx2.HTTPError as exc:
            raise error_for_transport(exc, answering=True) from exc


def contents(prompt: Prompt) -> list[types.Content]:
    """Return the turns of *prompt*; Gemini calls the assistant `model`."""
    roles = {"user": "user", "assistant": "model"}
    return [
        types.Content(role=roles[turn.role], parts=[types.Part(text=turn.content)])
        for turn in prompt.messages
    ]


def config(prompt: Prompt, *, include_thoughts: bool) -> types.GenerateContentConfig:
    """Return the parameters of *prompt*, and no behaviour of the SDK's own."""
    return types.GenerateContentConfig(
        system_instruction=prompt.system or None,
        temperature=prompt.temperature,
        max_output_tokens=prompt.max_tokens,
        stop_sequences=list(prompt.stop) or None,
        seed=None if prompt.seed is None else _int32(prompt.seed),
        thinking_config=types.ThinkingConfig(include_thoughts=True) if include_thoughts else None,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,
    )


def _int32(seed: int) -> int:
    """Return the lowest 32 bits of a seed, signed: the API takes no more (`GenerationConfig.seed`)."""
    return (seed + 2**31) % 2**32 - 2**31


class _ChunkReader:
    """Reads chunks into an answer. Usage is cumulative, and the end is not announced.

    Args:
        answer: what they come to.
    """

    def __init__(self, answer: AnswerSoFar) -> None:
        self._answer = answer

    def take(self, payload: bytes) -> None:
        """Take the JSON of a chunk, or of a list of chunks.

        Raises:
            ProviderError: it is an error, or cannot be read.
        """
        chunks: Iterable[_Chunk]
        try:
            chunks = (_decode_chunk(payload),)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._answer.has_halves = (
                True  # msgspec refuses an escape of half an emoji, and that only
            )
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
                parts = (candidate.content and candidate.content.parts) or ()
                answer.take(
                    "".join(part.text or "" for part in parts if part.thought),
                    "".join(part.text or "" for part in parts if not part.thought),
                    candidate.finish_reason,
                )


def _chunk(value: Mapping[str, Any]) -> _Chunk:
    """Return a chunk that is not of the shape it should be."""
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
    )


def _part(value: object) -> _Part:
    if not isinstance(value, dict):
        return _Part("".join(lenient.words(value)))
    return _Part("".join(lenient.words(value.get("text"))), thought=bool(value.get("thought")))


def usage(metadata: object) -> Usage | None:
    """Return the tokens; Gemini counts thoughts apart from the answer."""
    if not isinstance(metadata, dict) or not metadata:
        return None
    prompt, answer, thoughts = (
        lenient.count(metadata.get(f"{name}TokenCount"))
        for name in ("prompt", "candidates", "thoughts")
    )
    return Usage(
        input_tokens=prompt or 0,
        output_tokens=(answer or 0) + (thoughts or 0),
        reasoning_tokens=thoughts,
    )
