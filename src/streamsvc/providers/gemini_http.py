"""What the providers reached over HTTP share: the client, and its failures turned into our errors."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import cast

import anyio
import httpx2
from typing_extensions import override

from streamsvc.config.settings import UpstreamSection
from streamsvc.errors import (
    ProviderError,
    ProviderTimedOut,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from streamsvc.eventloop import now
from streamsvc.providers.http.transport import Transport

ERROR_BODY_BYTES = 65_536
ERROR_BODY_SECONDS = 2.0
"""How much of an error's body is read, and for how long; the status says the most of it."""


def quiet_libraries() -> None:
    """Keep libraries that write prompts at their lower levels from it, whatever OPENAI_LOG or the like says."""
    for library in ("google_genai", "httpcore2", "httpx2", "openai"):
        logging.getLogger(library).setLevel(logging.WARNING)


def open_client(section: UpstreamSection) -> httpx2.AsyncClient:
    """Make the HTTP client of one provider entry.

    Only the connect deadline is the client's: a read timeout would count comments and role chunks
    as answers, so the deadlines on tokens are the engine's. Compression is declined, because a
    compressor on the way may hold words back. The SDKs read the whole body of an error before they
    raise it; here it ends at a bound.
    """
    quiet_libraries()
    return httpx2.AsyncClient(
        transport=Transport(
            section.url,
            connect_seconds=section.connect_seconds,
            silent_seconds=section.first_token_silence,
        ),
        timeout=httpx2.Timeout(None, connect=section.connect_seconds),
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [_bound_error_body]},
    )


async def _bound_error_body(response: httpx2.Response) -> None:
    if not response.is_success:
        # What was compressed although we declined it has no bound once it is unpacked.
        response.headers.pop("Content-Encoding", None)
        response.stream = _ErrorBody(cast("httpx2.AsyncByteStream", response.stream))


class _ErrorBody(httpx2.AsyncByteStream):
    """The body of an error, up to its bounds; one that breaks off just ends."""

    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._body = body

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        left_bytes = ERROR_BODY_BYTES
        deadline = now() + ERROR_BODY_SECONDS
        chunks = aiter(self._body)
        try:
            while left_bytes > 0:
                chunk = b""
                with anyio.CancelScope(deadline=deadline), suppress(httpx2.HTTPError):
                    chunk = await anext(chunks, b"")
                if not chunk:
                    return
                yield chunk[:left_bytes]
                left_bytes -= len(chunk)
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    @override
    async def aclose(self) -> None:
        await self._body.aclose()


def error_for_transport(exc: httpx2.HTTPError, *, answering: bool) -> ProviderError:
    """Return the error for a failure below HTTP.

    Args:
        exc: what the HTTP library raised.
        answering: whether the answer's head had arrived.
    """
    match exc:
        case httpx2.ConnectTimeout() | httpx2.PoolTimeout():
            return ProviderTimedOut("connect")
        case httpx2.DecodingError():
            return UpstreamInvalid()
        case _ if answering:
            return UpstreamCut()
        case _:
            return ProviderUnavailable()
