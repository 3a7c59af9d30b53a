"""The HTTP client that is passed to Google's SDK, and access to the responses that the SDK gets through it."""

from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from typing import cast

import httpx2
from typing_extensions import override

from streamsvc.config.provider_settings import UpstreamSection
from streamsvc.provider_errors import ProviderError, UpstreamInvalid
from streamsvc.providers.error_mapping import (
    error_for_answer,
    error_for_transport,
    transport_errors_mapped,
)
from streamsvc.providers.http.errors import BodyCut, ConnectTimedOut, NoResponse
from streamsvc.providers.http.exchange import Take
from streamsvc.providers.http.transport import Transport
from streamsvc.providers.response import read_refusal
from streamsvc.providers.sdk import quiet_libraries


class ResponseSlot:
    """Receives the response to a generation's request.

    Attributes:
        headers: of the response; empty until it arrives.
        body: its body; None until it arrives.
    """

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {}
        self.body: httpx2.AsyncByteStream | None = None

    async def close(self) -> None:
        """Give the connection back, or close it."""
        if self.body is not None:
            await self.body.aclose()


response_slot: ContextVar[ResponseSlot] = ContextVar("response_slot")
"""The slot of the generation that runs in this task.

The SDK does not say which response belongs to which call, and passes no argument of a call to its HTTP client. But
it calls the client in the caller's task, so the hook finds the slot through a context variable. Without that, a
generation that is abandoned could close another one's connection
(`test_concurrent_calls_close_only_their_own_connection`). Seen with google-genai 3.6.
"""


class _EmptyBody(httpx2.AsyncByteStream):
    """The empty body that the SDK gets instead."""

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        return
        yield


class BodyStream:
    """The body of an httpx2 response, with the contract of `Exchange.read`."""

    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._pieces = aiter(body)

    async def read(self, take: Take) -> None:
        """See `Exchange.read`."""
        try:
            async for data in self._pieces:
                if not take(data):
                    return
        except httpx2.HTTPError as exc:
            raise BodyCut from exc


def open_client(section: UpstreamSection) -> httpx2.AsyncClient:
    """Make the HTTP client of one provider entry.

    The connect deadline is the only one here: a read timeout would count comments and role chunks as an answer,
    so the engine sets the deadlines on tokens. Compression is declined: a compressor on the way may hold back
    tokens. A response hook takes the body of each response before the SDK sees it: an answer goes to the
    `response_slot`, a refusal is read within bounds and raised.

    Raises:
        ProviderUnavailable: the proxy of the environment is of an unsupported kind.
    """
    quiet_libraries()
    with transport_errors_mapped:
        transport = Transport(
            section.url,
            connect_seconds=section.connect_seconds,
            silent_seconds=section.first_token_silence,
        )
    deadlines = httpx2.Timeout(None, connect=section.connect_seconds)

    async def set_deadlines(request: httpx2.Request) -> None:
        # The SDK sets its own timeout on each request: no timeout.
        request.extensions["timeout"] = deadlines.as_dict()

    return httpx2.AsyncClient(
        transport=transport,
        timeout=deadlines,
        headers={"Accept-Encoding": "identity"},
        event_hooks={"request": [set_deadlines], "response": [_take_response]},
    )


async def _take_response(response: httpx2.Response) -> None:
    slot = response_slot.get()
    slot.headers = response.headers
    # The raw bytes: a body that is compressed although we declined it would have no size limit once unpacked.
    slot.body = body = cast("httpx2.AsyncByteStream", response.stream)
    if not response.is_success:
        refusal = await read_refusal(BodyStream(body).read)
        raise error_for_answer(response.status_code, refusal, response.headers)
    # The body refers to its response, and the response to its request, which may be megabytes of images.
    response.request = httpx2.Request(response.request.method, response.request.url)
    response.stream = _EmptyBody()
    # The SDK (google-genai 3.6) refuses any other success, such as 201.
    response.status_code = httpx2.codes.OK


def error_for_request(exc: httpx2.HTTPError) -> ProviderError:
    """Return the error for a request that got no response."""
    match exc:
        case httpx2.ConnectTimeout() | httpx2.PoolTimeout():
            return error_for_transport(ConnectTimedOut())
        case httpx2.DecodingError():
            return UpstreamInvalid()
        case _:
            return error_for_transport(NoResponse(has_begun=False))
