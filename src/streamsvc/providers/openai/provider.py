"""OpenAI's chat completions, and every server compatible with them, through the openai SDK.

The SDK makes one sample request for each entry: URL, credentials, the headers that identify the SDK. All requests
that are sent have this head and our own body, because making each one with the SDK costs a millisecond.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
import openai
from typing_extensions import override

from streamsvc.config.provider_settings import OpenAISettings
from streamsvc.events import Delta
from streamsvc.messages import Prompt
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.base import Finish, Provider, trace_fields
from streamsvc.providers.error_mapping import error_for_answer, transport_errors_mapped
from streamsvc.providers.http.endpoint import Endpoint
from streamsvc.providers.http.exchange import Exchange
from streamsvc.providers.openai.body import BodyWriter
from streamsvc.providers.openai.chunks import ChunkReader
from streamsvc.providers.openai.thoughts import Thoughts, filled
from streamsvc.providers.response import body_reader, drain_for_reuse, read_refusal
from streamsvc.providers.sdk import quiet_libraries

ONE_REQUEST_HEADERS = frozenset(
    (
        "baggage",
        "date",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "x-client-request-id",
        "x-request-id",
        "x-stainless-retry-count",
    )
)
"""Headers that belong to one request. With one idempotency key for all requests, a server would take every prompt for
a retry of the first."""

_STREAM_OPTIONS = {"include_usage": True, "include_obfuscation": False}
_OPTION_NAMES = tuple(name.encode() for name in ("stream_options", *_STREAM_OPTIONS))
_BAD_REQUESTS = frozenset((400, 422))


@asynccontextmanager
async def open_provider(settings: OpenAISettings, key: str) -> AsyncIterator[Provider]:
    """Open the connections of one provider entry; see `base.OpenProvider`."""
    request = await capture_request(settings, key)
    with transport_errors_mapped:
        endpoint = Endpoint(
            request,
            connect_seconds=settings.connect_seconds,
            silent_seconds=settings.first_token_silence,
        )
    try:
        yield OpenAIProvider(settings, endpoint)
    finally:
        endpoint.close()


async def capture_request(settings: OpenAISettings, key: str) -> httpx2.Request:
    """Return a request as the SDK makes it, with an empty body: the head of every request of this entry.

    A transport that sends nothing captures it. Making each request with the SDK costs 0.9 ms of CPU time before the
    first token, more than everything else there. The danger: a header that the SDK makes for one request would
    be frozen and sent with every prompt. So the SDK makes two requests; only headers that are equal in both are
    kept, and `ONE_REQUEST_HEADERS` never are. Seen with openai 3.57, which sends a retry count, and makes an
    idempotency key that it does not send.
    """
    quiet_libraries()
    transport = _CapturingTransport()
    async with openai.AsyncOpenAI(
        api_key=key or "none-needed",
        base_url=settings.url,
        http_client=httpx2.AsyncClient(transport=transport, trust_env=False),
        timeout=None,
        max_retries=0,
    ) as client:
        # The SDK takes these from the environment (OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_CUSTOM_HEADERS), and
        # they must not reach another vendor's server. No public API removes the last: `default_headers` only
        # adds to them. Without this line they are sent (openai 3.57).
        client.organization = client.project = None
        client._custom_headers = {}  # noqa: SLF001
        # Compression is declined: a compressor on the way may hold words back.
        headers = {"Accept-Encoding": "identity"}
        for _ in range(2):
            await client.post(
                "/chat/completions", cast_to=object, body={}, options={"headers": headers}
            )
    return _without_one_request_headers(*transport.requests)


def _without_one_request_headers(request: httpx2.Request, other: httpx2.Request) -> httpx2.Request:
    for name in set(request.headers):
        if name in ONE_REQUEST_HEADERS or request.headers[name] != other.headers.get(name):
            del request.headers[name]
    return request


class _CapturingTransport(httpx2.AsyncBaseTransport):
    """Keeps requests and sends nothing."""

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
        self._writer = BodyWriter(settings)
        self._has_stream_options = True
        self._fills_reasoning = False

    @override
    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        exchange = await self._ask(prompt)
        try:
            model = prompt.model or self._settings.model
            thoughts = Thoughts(model) if prompt.tools else None
            answer = AnswerSoFar(emit, thoughts.data if thoughts else None)
            body = body_reader(
                exchange.headers,
                answer,
                ChunkReader(answer, model, thoughts).take,
                max_bytes=self._settings.max_line_bytes,
            )
            finish = await body.read(exchange.read)
            if body.is_done:
                await drain_for_reuse(exchange)
            return finish
        finally:
            exchange.release()

    async def _ask(self, prompt: Prompt) -> Exchange:
        """Send the request; send it again if the server refuses `stream_options`, or misses reasoning in tool calls.

        That is remembered only if it helped: a refusal that mentions them may just be repeating the prompt.
        """
        body = self._writer.body(prompt)
        has_options, is_filled = self._has_stream_options, self._fills_reasoning
        while True:
            exchange = await self._post(
                _adapted(body, has_options=has_options, is_filled=is_filled), trace_fields(prompt)
            )
            if exchange.is_success:
                self._has_stream_options &= has_options
                self._fills_reasoning |= is_filled
                return exchange
            refusal = await _refusal(exchange)
            mentions = refusal.lower() if exchange.status in _BAD_REQUESTS else b""
            if has_options and any(name in mentions for name in _OPTION_NAMES):
                has_options = False
            elif not is_filled and b"reasoning_content" in mentions and _lacks_reasoning(body):
                is_filled = True
            else:
                raise error_for_answer(exchange.status, refusal, exchange.headers)

    async def _post(self, body: Mapping[str, Any], fields: Mapping[str, str]) -> Exchange:
        with transport_errors_mapped:
            return await self.endpoint.send(msgspec.json.encode(body), fields)


async def _refusal(exchange: Exchange) -> bytes:
    """Return the body of a refusal, and release its connection."""
    try:
        return await read_refusal(exchange.read)
    finally:
        exchange.release()


def _adapted(body: dict[str, Any], *, has_options: bool, is_filled: bool) -> dict[str, Any]:
    """Return the body with what the server accepts."""
    messages = {"messages": filled(body["messages"])} if is_filled else {}
    return {**body, **messages, **({"stream_options": _STREAM_OPTIONS} if has_options else {})}


def _lacks_reasoning(body: Mapping[str, Any]) -> bool:
    return bool(filled(body["messages"]) != body["messages"])
