"""OpenAI's chat completions, and every server compatible with them, through the openai SDK.

The SDK makes the request (address, credentials, what it tells of itself), once for each entry. Requests
like it are sent, and their streams read, here: straight from bytes into one small struct a chunk, because
the SDK's objects for a request cost a millisecond, and those for a token ten times as much as it does.
Chunks: openai SDK, `types/chat/chat_completion_chunk.py`.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx2
import msgspec
import openai
from typing_extensions import override

from streamsvc.config.settings import OpenAISettings
from streamsvc.errors import UpstreamCut, UpstreamInvalid
from streamsvc.events import Usage
from streamsvc.messages import Prompt
from streamsvc.providers import lenient
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.base import Delta, Finish, Provider
from streamsvc.providers.error_mapping import error_for_answer, raise_stated_error
from streamsvc.providers.gemini_http import ERROR_BODY_BYTES, ERROR_BODY_SECONDS, quiet_libraries
from streamsvc.providers.http.connection import Connection
from streamsvc.providers.http.endpoint import Endpoint
from streamsvc.providers.response import ResponseReader

REUSE_SECONDS = 0.1
"""How long a complete answer may take to end its body, so that the connection can be used again."""

_STREAM_OPTIONS = {"include_usage": True, "include_obfuscation": False}
_BAD_REQUESTS = frozenset((400, 422))


class _Delta(msgspec.Struct):
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
    error: Any = None  # OpenRouter's place for it


class _Chunk(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


@asynccontextmanager
async def open_provider(settings: OpenAISettings, key: str) -> AsyncIterator[Provider]:
    """Hold the connections of one provider entry."""
    endpoint = Endpoint(
        await _request(settings, key),
        connect_seconds=settings.connect_seconds,
        silent_seconds=settings.first_token_silence,
    )
    try:
        yield OpenAIProvider(settings, endpoint)
    finally:
        endpoint.close()


async def _request(settings: OpenAISettings, key: str) -> httpx2.Request:
    """Return a request as the SDK makes it: address, credentials, and what it tells of itself.

    It makes one, for nobody, and each that is sent is like it but for the body. To have every one made
    by the SDK would cost more than all else that is done before the first token.
    """
    quiet_libraries()
    catcher = _Catcher()
    async with openai.AsyncOpenAI(
        api_key=key or "none-needed",
        base_url=settings.url,
        http_client=httpx2.AsyncClient(transport=catcher, trust_env=False),
        timeout=None,
        max_retries=0,
    ) as client:
        # The SDK takes these from the environment; they must not reach another vendor's server.
        client.organization = client.project = None
        client._custom_headers = {}  # noqa: SLF001  # nothing public takes OPENAI_CUSTOM_HEADERS away
        # A compressor on the way may hold words back.
        headers = {"Accept-Encoding": "identity"}
        await client.post(
            "/chat/completions", cast_to=object, body={}, options={"headers": headers}
        )
    return catcher.requests[-1]


class _Catcher(httpx2.AsyncBaseTransport):
    """Sends nothing anywhere."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return httpx2.Response(200, json={}, request=request)


class OpenAIProvider(Provider):
    """One provider entry of kind `openai`."""

    def __init__(self, settings: OpenAISettings, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._settings = settings
        self._stream_options: dict[str, bool] = _STREAM_OPTIONS

    @override
    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        connection = await self._ask(prompt)
        try:
            answer = AnswerSoFar(emit)
            response = ResponseReader(
                answer,
                _ChunkReader(answer).take,
                content_type=connection.headers.get("content-type", ""),
                max_bytes=self._settings.max_line_bytes,
            )
            finish = await response.read(connection.read)
            if response.is_done and not connection.is_over:
                with anyio.move_on_after(REUSE_SECONDS), suppress(UpstreamCut):
                    await connection.read(lambda _rest: True)
            return finish
        finally:
            connection.release()

    async def _ask(self, prompt: Prompt) -> Connection:
        """Send the request; once more without `stream_options` where a server knows none.

        That is remembered when it has helped: what names them may be the prompt, given back.
        """
        body = request_body(prompt, self._settings)
        options = self._stream_options
        connection = await self._post({**body, "stream_options": options} if options else body)
        if connection.status in _BAD_REQUESTS and options:
            refusal = await _error_body(connection)
            if not _names_stream_options(refusal):
                raise error_for_answer(connection.status, refusal, connection.headers)
            connection = await self._post(body)
            if connection.is_success:
                self._stream_options = {}
        if not connection.is_success:
            refusal = await _error_body(connection)
            raise error_for_answer(connection.status, refusal, connection.headers)
        if connection.headers.get("content-encoding", "identity").lower() != "identity":
            connection.abort()
            raise UpstreamInvalid
        return connection

    async def _post(self, body: Mapping[str, Any]) -> Connection:
        return await self.endpoint.post(msgspec.json.encode(body))


async def _error_body(connection: Connection) -> bytes:
    """Return the body of an answer that is not a success, up to its bounds, and release its connection."""
    said = bytearray()

    def take(data: bytes) -> bool:
        said.extend(data)
        return len(said) < ERROR_BODY_BYTES

    try:
        with anyio.move_on_after(ERROR_BODY_SECONDS), suppress(UpstreamCut):
            await connection.read(take)
    finally:
        connection.release()
    return bytes(said)


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


def _names_stream_options(refusal: bytes) -> bool:
    text = refusal.lower()
    return any(name.encode() in text for name in ("stream_options", *_STREAM_OPTIONS))


class _ChunkReader:
    """Reads chunks of chat completions into an answer; of several choices, the first.

    Args:
        answer: what they come to.
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
            self._answer.has_halves = True  # msgspec refuses an escape of half an emoji
            chunks = map(_chunk, lenient.objects(lenient.load(payload)))
        answer = self._answer
        for chunk in chunks:
            if chunk.error or chunk.usage or not chunk.choices:
                self._take_aside(chunk, payload)
            answer.model = chunk.model or answer.model
            for choice in chunk.choices or ():
                if choice.index:
                    continue
                if choice.error:
                    raise_stated_error(choice.error, payload)
                delta = choice.delta
                if delta is None or choice.message is not None or choice.text:
                    delta = self._said_otherwise(choice)
                answer.take(
                    delta.reasoning_content or delta.reasoning or "",
                    (delta.content or "") + (delta.refusal or ""),
                    choice.finish_reason,
                )

    def _take_aside(self, chunk: _Chunk, payload: bytes) -> None:
        """Take what a chunk has beside its choices, or in their place."""
        if chunk.error or not (chunk.choices or chunk.usage):
            raise_stated_error(chunk.error, payload)
        self._answer.count(_usage(chunk.usage))

    def _said_otherwise(self, choice: _Choice) -> _Delta:
        """Return what a choice says that has no delta, or more than one.

        A `message` in the place of the delta is what is said; after deltas, or beside one, it sums them up.
        """
        delta = choice.delta or _Delta()
        is_summary = not self._has_messages and not self._answer.is_empty
        if is_summary or any(msgspec.structs.astuple(delta)):
            return delta
        self._has_messages = choice.message is not None or bool(choice.text)
        return choice.message or _Delta(content=choice.text)


def _chunk(value: Mapping[str, Any]) -> _Chunk:
    """Return a chunk that is not of the shape it should be."""
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
    )


def _usage(usage: object) -> Usage | None:
    """Return what the upstream counted, if it did; nonsense is no reason to lose an answer."""
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
