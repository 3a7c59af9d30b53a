"""Google's Gemini API through the google-genai SDK.

The SDK never closes the connection of a stream that is left early, so its HTTP client is ours, and
a hook on it hands us each response to close. Chunks: google-genai, `types.GenerateContentResponse`.
"""

import codecs
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import cast

import anyio
import httpx2
from google import genai
from google.genai import errors, types
from typing_extensions import override

from streamsvc.errors import ProviderAuthFailed, ProviderError, UpstreamCut, UpstreamInvalid
from streamsvc.events import AnswerEnd, Reasoning, Text, Usage
from streamsvc.messages import Prompt
from streamsvc.providers.base import (
    Delta,
    Finish,
    Provider,
    SurrogateJoiner,
    closed_afterwards,
)
from streamsvc.providers.refusal import error_for_status
from streamsvc.providers.upstream import error_for_transport, open_client
from streamsvc.settings import GeminiSettings

END_WAIT_SECONDS = 2.0
"""How long an answer with a finish reason waits for its body to end, or for more: some models give a
reason with every chunk."""

FINISH_REASONS: Mapping[str, AnswerEnd] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}

_responses: ContextVar[list[httpx2.Response]] = ContextVar("responses")
"""The responses of the generation that runs in this task."""


_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
"""What the SDK raises, by accident or on purpose, when an answer is not of the shape it expects."""

_BAD_KEY = "API_KEY_INVALID"
"""The reason that tells a refused key, which has status 400, from other bad requests."""


@asynccontextmanager
async def open_provider(settings: GeminiSettings, key: str) -> AsyncIterator[Provider]:
    """Hold the SDK's client, and with it the connections, of one provider entry."""
    async with open_client(settings) as http_client:
        deadlines = http_client.timeout.as_dict()

        async def set_deadlines(request: httpx2.Request) -> None:
            # The SDK sends its own timeout with each request: none at all.
            request.extensions["timeout"] = deadlines

        async def keep_response(response: httpx2.Response) -> None:
            _responses.get().append(response)
            if response.is_success and "Content-Encoding" not in response.headers:
                body = cast("httpx2.AsyncByteStream", response.stream)
                response.stream = _CheckedBody(body, settings.max_line_bytes)

        hooks = http_client.event_hooks
        hooks["request"].append(set_deadlines)
        hooks["response"].append(keep_response)
        client = genai.Client(
            api_key=key or "none-needed",
            vertexai=False,
            http_options=types.HttpOptions(base_url=settings.url, httpx_async_client=http_client),
        )
        yield GeminiProvider(settings, client)


class GeminiProvider(Provider):
    """One provider entry of kind `gemini`."""

    def __init__(self, settings: GeminiSettings, client: genai.Client) -> None:
        self._settings = settings
        self._client = client

    @override
    async def generate(self, prompt: Prompt, say: Callable[[Delta], None]) -> Finish:
        responses: list[httpx2.Response] = []
        token = _responses.set(responses)

        async def close() -> None:
            for response in responses:
                await response.aclose()

        try:
            async with closed_afterwards(close):
                # Nothing is sent before the first step of the iteration.
                chunks = await self._client.aio.models.generate_content_stream(
                    model=prompt.model or self._settings.model,
                    contents=contents(prompt),
                    config=config(prompt, include_thoughts=self._settings.include_thoughts),
                )
                return await _finish(chunks, responses, say)
        finally:
            _responses.reset(token)


class _CheckedBody(httpx2.AsyncByteStream):
    """The body of a stream, refused where the SDK would replace text or hold any amount of it.

    Comments are left out: the SDK takes them for the JSON of an error.
    """

    def __init__(self, body: httpx2.AsyncByteStream, max_line_bytes: int) -> None:
        self._body = body
        self._max_line_bytes = max_line_bytes
        self._line_bytes = 0
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._is_line_start = True
        self._is_comment = False

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            self._check(chunk)
            yield b"".join(self._without_comments(chunk))

    @override
    async def aclose(self) -> None:
        await self._body.aclose()

    def _check(self, chunk: bytes) -> None:
        try:
            self._decode(chunk)
        except UnicodeDecodeError as exc:
            raise UpstreamInvalid from exc
        line_end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
        self._line_bytes = len(chunk) - line_end - 1 + (self._line_bytes if line_end < 0 else 0)
        if self._line_bytes > self._max_line_bytes:
            raise UpstreamInvalid

    def _without_comments(self, chunk: bytes) -> Iterator[bytes]:
        for line in chunk.splitlines(keepends=True):
            if self._is_line_start:
                self._is_comment = line.startswith(b":")
            if not self._is_comment:
                yield line
            self._is_line_start = line.endswith((b"\n", b"\r"))


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
        seed=prompt.seed,
        thinking_config=types.ThinkingConfig(include_thoughts=True) if include_thoughts else None,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,
    )


async def _finish(
    chunks: AsyncIterator[types.GenerateContentResponse],
    responses: list[httpx2.Response],
    say: Callable[[Delta], None],
) -> Finish:
    """Say what comes, and return how it ended."""
    answer = _Answer()
    while (chunk := await _read(chunks, responses, answer)) is not None:
        for delta in _readable(answer.take(chunk)):
            say(delta)
    finish = answer.finish()
    for delta in answer.rest():
        say(delta)
    return finish


async def _read(
    chunks: AsyncIterator[types.GenerateContentResponse],
    responses: list[httpx2.Response],
    answer: "_Answer",
) -> types.GenerateContentResponse | None:
    """Return the next chunk, or None at the end; the SDK's errors are made ours."""
    try:
        return await _next(chunks, answer.end_at)
    except errors.APIError as exc:
        raise map_error(exc, _headers(responses)) from exc
    except httpx2.HTTPError as exc:
        if not answer.has_reason:
            raise error_for_transport(exc, answering=_is_answering(responses)) from exc
    except _UNREADABLE as exc:
        raise _unreadable(responses) from exc
    return None


def _readable(deltas: Iterator[Delta]) -> Iterator[Delta]:
    """Go through the deltas of a chunk; one that is not of the shape it should be is the upstream's error."""
    try:
        yield from deltas
    except _UNREADABLE as exc:
        raise UpstreamInvalid from exc


async def _next(
    chunks: AsyncIterator[types.GenerateContentResponse], end_at: float
) -> types.GenerateContentResponse | None:
    """Return the next chunk; None at the end of the stream, and when its time is over."""
    with anyio.CancelScope(deadline=end_at):
        return await anext(chunks, None)
    return None


def _is_answering(responses: list[httpx2.Response]) -> bool:
    """Tell whether the head of an answer has arrived, and not that of an error."""
    return bool(responses) and responses[-1].is_success


def _unreadable(responses: list[httpx2.Response]) -> ProviderError:
    if responses and not _is_answering(responses):
        return error_for_status(responses[-1].status_code, None, _headers(responses))
    return UpstreamInvalid()


def _headers(responses: list[httpx2.Response]) -> Mapping[str, str]:
    return responses[-1].headers if responses else {}


def map_error(exc: errors.APIError, headers: Mapping[str, str]) -> ProviderError:
    """Return our error for one of the SDK's; none of its text is kept."""
    if _BAD_KEY in str(exc.details):
        return ProviderAuthFailed()
    return error_for_status(exc.code, exc.details, headers)


class _Answer:
    """What the chunks so far come to. Usage is cumulative, and the end is not announced.

    Attributes:
        end_at: until when more may come, on the event loop's clock.
    """

    def __init__(self) -> None:
        self.end_at = math.inf
        self._text_joiner = SurrogateJoiner()
        self._reasoning_joiner = SurrogateJoiner()
        self._reason: AnswerEnd | None = None
        self._provider_reason: str | None = None
        self._usage: Usage | None = None
        self._model: str | None = None

    @property
    def has_reason(self) -> bool:
        """Whether the model has said why it stopped."""
        return self._reason is not None

    def take(self, chunk: types.GenerateContentResponse) -> Iterator[Delta]:
        """Yield the deltas of one chunk."""
        self._model = chunk.model_version or self._model
        if chunk.usage_metadata:
            self._usage = usage(chunk.usage_metadata)
        if chunk.prompt_feedback and chunk.prompt_feedback.block_reason and not chunk.candidates:
            self._reason = "content_filter"
            self._provider_reason = chunk.prompt_feedback.block_reason.value
        for candidate in (chunk.candidates or [])[:1]:
            for part in (candidate.content and candidate.content.parts) or []:
                yield from self._take_part(part)
            if candidate.finish_reason:
                self._provider_reason = candidate.finish_reason.value
                self._reason = FINISH_REASONS.get(self._provider_reason, "other")
        if self._reason is not None:
            self.end_at = anyio.current_time() + END_WAIT_SECONDS

    def _take_part(self, part: types.Part) -> Iterator[Delta]:
        if part.thought:
            if text := self._reasoning_joiner.feed(part.text or ""):
                yield Reasoning(text)
        elif text := self._text_joiner.feed(part.text or ""):
            yield Text(text)

    def rest(self) -> Iterator[Delta]:
        """Yield what was held back."""
        if rest := self._reasoning_joiner.flush():
            yield Reasoning(rest)
        if rest := self._text_joiner.flush():
            yield Text(rest)

    def finish(self) -> Finish:
        """Return how the answer ended.

        Raises:
            UpstreamCut: the stream ended, and nothing said that the answer had.
        """
        if self._reason is None:
            raise UpstreamCut
        return Finish(
            reason=self._reason,
            provider_reason=self._provider_reason,
            model=self._model,
            usage=self._usage,
        )


def usage(metadata: types.GenerateContentResponseUsageMetadata) -> Usage:
    """Return the tokens; Gemini counts thoughts apart from the answer."""
    thoughts = metadata.thoughts_token_count
    return Usage(
        input_tokens=metadata.prompt_token_count or 0,
        output_tokens=(metadata.candidates_token_count or 0) + (thoughts or 0),
        reasoning_tokens=thoughts,
    )
