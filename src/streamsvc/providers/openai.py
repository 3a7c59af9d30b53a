"""OpenAI's chat completions, and every server compatible with them, through the openai SDK.

The SDK sends the request (address, credentials, errors of the HTTP layer); the stream itself is
read here, straight from bytes into one small struct a chunk, because an SDK object for each token
costs ten times as much. Chunks: openai SDK, `types/chat/chat_completion_chunk.py`.
"""

import json
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Self

import anyio
import httpx2
import msgspec
import openai
from typing_extensions import override

from streamsvc.errors import ProviderError, ProviderUnavailable, UpstreamCut, UpstreamInvalid
from streamsvc.events import AnswerEnd, Reasoning, Text, Usage
from streamsvc.messages import Prompt
from streamsvc.providers.base import (
    Delta,
    Finish,
    Provider,
    SurrogateJoiner,
    closed_afterwards,
)
from streamsvc.providers.refusal import error_for_status, error_in_stream
from streamsvc.providers.sse import EventStreamDecoder
from streamsvc.providers.transport import Body, Transport, body_of
from streamsvc.providers.upstream import error_for_transport, open_client
from streamsvc.settings import OpenAISettings

USAGE_WAIT_SECONDS = 2.0
"""How long a finished answer waits for its usage chunk, which some servers never send."""

REUSE_SECONDS = 0.1
"""How long a complete answer may take to end its body, so that the connection can be used again."""

FINISH_REASONS: Mapping[str, AnswerEnd] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

_STREAM_OPTIONS = {"include_usage": True, "include_obfuscation": False}
_BAD_REQUEST = 400
_MOST_TOKENS = 2**53
"""What every reader of JSON can count to (RFC 8259, section 6)."""


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


@asynccontextmanager
async def open_provider(settings: OpenAISettings, key: str) -> AsyncIterator[Provider]:
    """Hold the SDK's client, and with it the connections, of one provider entry."""
    async with open_client(settings, Transport()) as http_client:
        client = openai.AsyncOpenAI(
            api_key=key or "none-needed",
            base_url=settings.url,
            http_client=http_client,
            timeout=http_client.timeout,
            max_retries=0,
        )
        # The SDK takes these from the environment; they must not reach another vendor's server.
        client.organization = client.project = None
        client._custom_headers = {}  # noqa: SLF001  # nothing public takes OPENAI_CUSTOM_HEADERS away
        yield OpenAIProvider(settings, client)


class OpenAIProvider(Provider):
    """One provider entry of kind `openai`."""

    def __init__(self, settings: OpenAISettings, client: openai.AsyncOpenAI) -> None:
        self._settings = settings
        self._client = client
        self._stream_options: dict[str, bool] = _STREAM_OPTIONS

    @override
    def generate(self, prompt: Prompt) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        return self._generate(prompt)

    @asynccontextmanager
    async def _generate(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Delta]]:
        try:
            response = await self._send(prompt)
        except openai.APIError as exc:
            raise map_error(exc) from exc
        deltas = _Deltas(response, EventStreamDecoder(self._settings.max_line_bytes))
        async with closed_afterwards(deltas.aclose):
            yield deltas

    async def _send(self, prompt: Prompt) -> httpx2.Response:
        """Send the request; once more without `stream_options` where a server knows none.

        That is remembered when it has helped: what names them may be the prompt, given back.
        """
        try:
            return await self._create(prompt, self._stream_options)
        except openai.APIStatusError as exc:
            refused = exc.status_code in {_BAD_REQUEST, 422}
            if not (refused and self._stream_options and _names_stream_options(exc)):
                raise
        response = await self._create(prompt, {})
        self._stream_options = {}
        return response

    async def _create(self, prompt: Prompt, stream_options: dict[str, bool]) -> httpx2.Response:
        body = request_body(prompt, self._settings)
        if stream_options:
            body["stream_options"] = stream_options
        manager = self._client.chat.completions.with_streaming_response.create(**body)
        # Left through `_generate`, which closes the response shielded; leaving the SDK's own
        # manager would wait for the close inside a cancelled scope, and lose it.
        response = await manager.__aenter__()
        http_response: httpx2.Response = response.http_response
        return http_response


def request_body(prompt: Prompt, settings: OpenAISettings) -> dict[str, Any]:
    """Return the body of `POST /chat/completions` for *prompt*, `stream_options` apart."""
    messages: list[dict[str, str]] = []
    if prompt.system:
        messages.append({"role": "system", "content": prompt.system})
    messages += ({"role": turn.role, "content": turn.content} for turn in prompt.messages)
    body: dict[str, Any] = {
        "model": prompt.model or settings.model,
        "messages": messages,
        "stream": True,
    }
    if prompt.temperature is not None:
        body["temperature"] = prompt.temperature
    if prompt.stop:
        body["stop"] = list(prompt.stop)
    if prompt.seed is not None:
        body["seed"] = prompt.seed
    if prompt.max_tokens is not None:
        body[settings.max_tokens_field] = prompt.max_tokens
    return body


def map_error(exc: openai.APIError) -> ProviderError:
    """Return our error for one of the SDK's; none of its text is kept."""
    match exc:
        case openai.APIStatusError():
            return error_for_status(exc.status_code, exc.body, exc.response.headers)
        case openai.APIConnectionError(__cause__=httpx2.HTTPError() as cause):
            return error_for_transport(cause, answering=False)
        case openai.APIResponseValidationError():
            return UpstreamInvalid()
        case _:
            return ProviderUnavailable()


def _names_stream_options(exc: openai.APIStatusError) -> bool:
    text = str(exc.body).lower()
    return any(name in text for name in ("stream_options", *_STREAM_OPTIONS))


class _Deltas:
    """Iterates over the deltas of one response. Not a generator: it may be left at any point."""

    def __init__(self, response: httpx2.Response, decoder: EventStreamDecoder) -> None:
        self._response = response
        self._body: Body = body_of(response)
        self._decoder = decoder
        self._text_joiner = SurrogateJoiner()
        self._reasoning_joiner = SurrogateJoiner()
        self._has_halves = False
        self._ready: deque[Delta] = deque()
        self._finish_reason: str | None = None
        self._usage_deadline = math.inf
        self._usage: Usage | None = None
        self._model: str | None = None
        self._failure: ProviderError | None = None
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise StopAsyncIteration
            await self._read_more()
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Close the upstream connection, or give it back where the answer is complete."""
        if self._over:
            with anyio.move_on_after(REUSE_SECONDS), suppress(httpx2.HTTPError):
                while await self._body.read():
                    pass
        await self._response.aclose()

    async def _read_more(self) -> None:
        """Read the network once; what it brought is ready afterwards."""
        try:
            if self._finish_reason is None:
                chunk = await self._body.read()
            else:
                chunk = b""
                with anyio.CancelScope(deadline=self._usage_deadline):
                    chunk = await self._body.read()
        except httpx2.HTTPError as exc:
            if self._finish_reason is None:
                raise error_for_transport(exc, answering=True) from exc
            chunk = b""
        if not chunk:
            self._end()
            return
        try:
            for payload in self._decoder.feed(chunk):
                self._take(payload)
                if self._over:
                    return
        except ProviderError as exc:
            self._failure = exc  # raised behind the words that came before it

    def _take(self, payload: bytes) -> None:
        match payload.strip():
            case b"":  # a keepalive of some servers
                pass
            case b"[DONE]":
                self._end()
            case _:
                self._take_chunk(self._parse(payload))

    def _take_chunk(self, chunk: _Chunk) -> None:
        if chunk.error:
            raise error_in_stream(chunk.error)
        if chunk.model:
            self._model = chunk.model
        for choice in chunk.choices or ():
            if not choice.index:
                self._take_choice(choice)
        if chunk.usage and (usage := _usage(chunk.usage)):
            # Before the finish it is the count so far, or the only one that ever comes.
            self._usage = usage
            if self._finish_reason is not None:
                self._end()

    def _take_choice(self, choice: _Choice) -> None:
        delta = choice.delta
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning or ""
            text = delta.content or ""
            if self._has_halves:
                reasoning = self._reasoning_joiner.feed(reasoning)
                text = self._text_joiner.feed(text)
            if reasoning:
                self._ready.append(Reasoning(reasoning))
            if text:
                self._ready.append(Text(text))
        if choice.finish_reason:
            if self._finish_reason is None:
                self._usage_deadline = anyio.current_time() + USAGE_WAIT_SECONDS
            self._finish_reason = choice.finish_reason

    def _parse(self, payload: bytes) -> _Chunk:
        try:
            return _decode_chunk(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
        try:
            # msgspec refuses half an emoji as an escape; the standard library lets it through.
            chunk = msgspec.convert(json.loads(payload), _Chunk)
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise UpstreamInvalid from exc
        self._has_halves = True
        return chunk

    def _end(self) -> None:
        """The upstream has no more to say: give the finish, if there was one."""
        if self._finish_reason is None:
            raise UpstreamCut
        if rest := self._reasoning_joiner.flush():
            self._ready.append(Reasoning(rest))
        if rest := self._text_joiner.flush():
            self._ready.append(Text(rest))
        self._ready.append(
            Finish(
                reason=FINISH_REASONS.get(self._finish_reason, "other"),
                provider_reason=self._finish_reason,
                model=self._model,
                usage=self._usage,
            )
        )
        self._over = True


def _usage(usage: object) -> Usage | None:
    """Return what the upstream counted, if it did; nonsense is no reason to lose an answer."""
    counts = usage if isinstance(usage, dict) else {}
    details = counts.get("completion_tokens_details")
    input_tokens, output_tokens, reasoning_tokens = (
        tokens if type(tokens) is int and 0 <= tokens <= _MOST_TOKENS else None
        for tokens in (
            counts.get("prompt_tokens"),
            counts.get("completion_tokens"),
            details.get("reasoning_tokens") if isinstance(details, dict) else None,
        )
    )
    if input_tokens is None and output_tokens is None:
        return None
    return Usage(
        input_tokens=input_tokens or 0,
        output_tokens=output_tokens or 0,
        reasoning_tokens=reasoning_tokens,
    )
