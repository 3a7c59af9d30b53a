"""OpenAI's chat completions, and every server compatible with them, through the openai SDK.

The SDK makes the request (address, credentials, what it tells of itself), once for each entry. Requests
like it are sent, and their streams read, here: straight from bytes into one small struct a chunk, because
the SDK's objects for a request cost a millisecond, and those for a token ten times as much as it does.
Chunks: openai SDK, `types/chat/chat_completion_chunk.py`.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx2
import msgspec
import openai
from typing_extensions import override

from streamsvc.errors import UpstreamCut, UpstreamInvalid
from streamsvc.events import AnswerEnd, Reasoning, Text, Usage
from streamsvc.messages import Prompt
from streamsvc.providers.base import Delta, Finish, Provider, SurrogateJoiner
from streamsvc.providers.channel import Channel
from streamsvc.providers.http1 import Connection
from streamsvc.providers.refusal import error_for_status, error_in_stream
from streamsvc.providers.sse import EventStreamDecoder
from streamsvc.providers.upstream import ERROR_BODY_BYTES, ERROR_BODY_SECONDS, quiet_libraries
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
_BAD_REQUESTS = frozenset((400, 422))
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
    """Hold the connections of one provider entry."""
    channel = Channel(await _request(settings, key), connect_seconds=settings.connect_seconds)
    try:
        yield OpenAIProvider(settings, channel)
    finally:
        channel.close()


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

    def __init__(self, settings: OpenAISettings, channel: Channel) -> None:
        self.channel = channel
        self._settings = settings
        self._stream_options: dict[str, bool] = _STREAM_OPTIONS

    @override
    async def generate(self, prompt: Prompt, say: Callable[[Delta], None]) -> Finish:
        answer = _Answer(say, EventStreamDecoder(self._settings.max_line_bytes))
        connection = await self._ask(prompt)
        try:
            await connection.read(answer.take)
            if not answer.is_over:  # what may still come is worth a while, and no failure
                with anyio.move_on_after(USAGE_WAIT_SECONDS), suppress(UpstreamCut):
                    await connection.read(answer.take_usage)
            finish = answer.finish()
            if not connection.is_over:
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
                raise error_for_status(connection.status, refusal, connection.headers)
            connection = await self._post(body)
            if connection.is_success:
                self._stream_options = {}
        if not connection.is_success:
            refusal = await _error_body(connection)
            raise error_for_status(connection.status, refusal, connection.headers)
        if connection.headers.get("content-encoding", "identity").lower() != "identity":
            connection.abort()
            raise UpstreamInvalid
        return connection

    async def _post(self, body: Mapping[str, Any]) -> Connection:
        return await self.channel.post(msgspec.json.encode(body))


async def _error_body(connection: Connection) -> object:
    """Return what an answer says that is no success, up to its bounds, and release its connection."""
    said = bytearray()

    def take(data: bytes) -> bool:
        said.extend(data)
        return len(said) < ERROR_BODY_BYTES

    try:
        with anyio.move_on_after(ERROR_BODY_SECONDS), suppress(UpstreamCut):
            await connection.read(take)
    finally:
        connection.release()
    try:
        body: object = json.loads(said)
    except (ValueError, RecursionError):
        return said.decode(errors="replace")
    return body


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


def _names_stream_options(refusal: object) -> bool:
    text = str(refusal).lower()
    return any(name in text for name in ("stream_options", *_STREAM_OPTIONS))


class _Answer:
    """What the chunks of one answer come to.

    Args:
        say: is given the deltas.
        decoder: cuts the chunks out of the body.

    Attributes:
        is_over: whether the upstream has no more to say.
    """

    __slots__ = (
        "_decoder",
        "_finish_reason",
        "_has_halves",
        "_model",
        "_reasoning_joiner",
        "_say",
        "_text_joiner",
        "_usage",
        "is_over",
    )

    def __init__(self, say: Callable[[Delta], None], decoder: EventStreamDecoder) -> None:
        self.is_over = False
        self._say = say
        self._decoder = decoder
        self._text_joiner = SurrogateJoiner()
        self._reasoning_joiner = SurrogateJoiner()
        self._has_halves = False
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._model: str | None = None

    def take(self, data: bytes) -> bool:
        """Take a part of the body, and say what is in it; return whether the finish reason is to come."""
        for payload in self._decoder.feed(data):
            if payload.startswith(b"{"):
                self._take_chunk(payload)
            elif (said := payload.strip()) == b"[DONE]":
                self.is_over = True
            elif said:  # nothing is a keepalive of some servers
                self._take_chunk(payload)
            if self.is_over:
                return False
        return self._finish_reason is None

    def take_usage(self, data: bytes) -> bool:
        """Do the same behind the finish reason; return whether more may come."""
        self.take(data)
        return not self.is_over

    def _take_chunk(self, payload: bytes) -> None:
        try:
            chunk = _decode_chunk(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            chunk = self._take_halves(payload)
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
            self.is_over = self._finish_reason is not None

    def _take_choice(self, choice: _Choice) -> None:
        delta = choice.delta
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning or ""
            text = delta.content or ""
            if self._has_halves:
                reasoning = self._reasoning_joiner.feed(reasoning)
                text = self._text_joiner.feed(text)
            if reasoning:
                self._say(Reasoning(reasoning))
            if text:
                self._say(Text(text))
        if choice.finish_reason:
            self._finish_reason = choice.finish_reason

    def _take_halves(self, payload: bytes) -> _Chunk:
        """Return a chunk with half an emoji as an escape: msgspec refuses it, the standard library does not."""
        try:
            chunk = msgspec.convert(json.loads(payload), _Chunk)
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise UpstreamInvalid from exc
        self._has_halves = True
        return chunk

    def finish(self) -> Finish:
        """Say what was held back, and return how the answer ended.

        Raises:
            UpstreamCut: nothing has said that it has.
        """
        if self._finish_reason is None:
            raise UpstreamCut
        if rest := self._reasoning_joiner.flush():
            self._say(Reasoning(rest))
        if rest := self._text_joiner.flush():
            self._say(Text(rest))
        return Finish(
            reason=FINISH_REASONS.get(self._finish_reason, "other"),
            provider_reason=self._finish_reason,
            model=self._model,
            usage=self._usage,
        )


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
