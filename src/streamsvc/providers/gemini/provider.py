"""Google's Gemini API through the google-genai SDK.

The SDK makes the request and sends it through our HTTP client, whose hook takes the response's body. We read it
ourselves, because the SDK fails on a chunk that is not of its types, takes comments for errors, and never closes
the connection of a stream that is abandoned.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from google import genai
from google.genai import errors, types
from typing_extensions import override

from streamsvc.config.provider_settings import GeminiSettings
from streamsvc.events import Delta
from streamsvc.messages import Prompt
from streamsvc.provider_errors import UpstreamInvalid
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.base import Finish, Provider, closed_afterwards, trace_fields
from streamsvc.providers.gemini.body import request_body
from streamsvc.providers.gemini.chunks import ChunkReader
from streamsvc.providers.gemini.http import (
    BodyStream,
    ResponseSlot,
    error_for_request,
    open_client,
    response_slot,
)
from streamsvc.providers.gemini.models import address, bare_model
from streamsvc.providers.response import body_reader

_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
"""What the SDK raises, deliberately or by accident, when a response does not have the expected shape."""

_REPLACED = "in the body"
"""The SDK requires contents; those of `request_body` replace them."""


@asynccontextmanager
async def open_provider(settings: GeminiSettings, key: str) -> AsyncIterator[Provider]:
    """Open the SDK's client, and with it the connections, for one provider entry; see `base.OpenProvider`."""
    async with open_client(settings) as http_client:
        root, version = address(settings.url)
        client = genai.Client(
            api_key=key or "none-needed",
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=root,
                api_version=version,
                httpx_async_client=http_client,
                # The synchronous half of the client is never used, but it would load httpcore2 and certificates:
                # half a second in which no stream gets a word.
                httpx_client=httpx2.Client(transport=httpx2.BaseTransport(), trust_env=False),
            ),
        )
        yield GeminiProvider(settings, client)


class GeminiProvider(Provider):
    """One provider entry of kind `gemini`."""

    def __init__(self, settings: GeminiSettings, client: genai.Client) -> None:
        self._settings = settings
        self._client = client

    @override
    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        model = prompt.model or self._settings.model
        slot = ResponseSlot()
        token = response_slot.set(slot)
        try:
            async with closed_afterwards(slot.close):
                stream = await self._ask(model, prompt, slot)
                answer = AnswerSoFar(emit)
                body = body_reader(
                    slot.headers,
                    answer,
                    ChunkReader(answer, bare_model(model)).take,
                    max_bytes=self._settings.max_line_bytes,
                )
                return await body.read(BodyStream(stream).read)
        finally:
            response_slot.reset(token)

    async def _ask(self, model: str, prompt: Prompt, slot: ResponseSlot) -> httpx2.AsyncByteStream:
        """Have the SDK send the request; return the body of the response.

        Raises:
            ProviderError: the call failed, or the response is a refusal; errors of the SDK are mapped to our own.
        """
        config = _config(prompt, request_body(prompt, self._settings))
        try:
            # Nothing is sent before the first step of the iteration.
            chunks = await self._client.aio.models.generate_content_stream(
                model=model, contents=_REPLACED, config=config
            )
            await anext(chunks, None)
        except httpx2.HTTPError as exc:
            raise error_for_request(exc) from exc
        except (errors.APIError, *_UNREADABLE) as exc:
            raise UpstreamInvalid from exc
        if slot.body is None:
            raise UpstreamInvalid
        return slot.body


def _config(prompt: Prompt, body: dict[str, Any]) -> types.GenerateContentConfig:
    """Return the configuration that makes the SDK send *body* unchanged, with the features off that act on their own.

    The SDK's own types would parse the body and write it again: signatures in another alphabet of base64, and 0.4 ms
    of CPU for each message (google-genai 3.6).
    """
    return types.GenerateContentConfig(
        system_instruction=prompt.system or None,
        http_options=types.HttpOptions(extra_body=body, headers=trace_fields(prompt)),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,
    )
