"""HTTP/1.1 to upstreams by aiohttp, under the SDKs' own HTTP library: its parser is written in C.

The SDKs bring such a transport along; this one says exactly what has failed, keeps to our bounds, and
lets the body be read as it comes from the parser, without the layers of a general client.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from typing_extensions import override

KEEPALIVE_SECONDS = 5.0
"""How long an idle connection is kept for the next request."""

_BODY = "streamsvc.body"
"""The extension of a response that has its `Body`."""


class Body(Protocol):
    """The body of an answer, as it comes."""

    async def read(self) -> bytes:
        """Return what there is, at least one byte; nothing at the end.

        Raises:
            httpx2.HTTPError: the connection broke.
        """
        ...


def body_of(response: httpx2.Response) -> Body:
    """Return the body of an answer, whatever transport it came by."""
    body: Body | None = response.extensions.get(_BODY)
    return body or _AnyBody(response)


class _AnyBody(Body):
    """Through the layers of the general client."""

    def __init__(self, response: httpx2.Response) -> None:
        self._chunks = response.aiter_bytes()

    @override
    async def read(self) -> bytes:
        return await anext(self._chunks, b"")


class _ParserBody(Body):
    """Straight from the parser."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content

    @override
    async def read(self) -> bytes:
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise httpx2.ReadError(type(exc).__name__) from exc


class _Stream(httpx2.AsyncByteStream):
    """The same for the general client, which reads errors so."""

    def __init__(self, response: aiohttp.ClientResponse, body: Body) -> None:
        self._response = response
        self._body = body

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._body.read():
            yield data

    @override
    async def aclose(self) -> None:
        """Give the connection back if the body has been read to its end, else close it."""
        self._response.release()


class Transport(httpx2.AsyncBaseTransport):
    """The connections to one upstream; how many there are is bounded elsewhere.

    Made in a running event loop. Proxies are those of the environment. Its other habit, to look into
    `.netrc` for each request, is left out: it takes a thread, and refuses a request that has a key.
    """

    def __init__(self) -> None:
        self._proxies = getproxies()
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=KEEPALIVE_SECONDS,
            ssl=httpx2.create_ssl_context(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        timeouts = request.extensions.get("timeout", {})
        with _mapped():
            response = await self._session.request(
                request.method,
                str(request.url),
                headers=request.headers.multi_items(),
                data=await request.aread(),
                allow_redirects=False,
                proxy=self._proxy(request.url),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=timeouts.get("connect"), sock_read=timeouts.get("read")
                ),
            )
        body = _ParserBody(response)
        return httpx2.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=_Stream(response, body),
            request=request,
            extensions={"http_version": b"HTTP/1.1", _BODY: body},
        )

    @override
    async def aclose(self) -> None:
        await self._session.close()

    def _proxy(self, url: httpx2.URL) -> str | None:
        proxy = self._proxies.get(url.scheme)
        return None if proxy is None or proxy_bypass(url.host) else proxy


@contextmanager
def _mapped() -> Iterator[None]:
    """Say in the words of the general client what failed before the head of an answer."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as exc:
        raise httpx2.ConnectTimeout(type(exc).__name__) from exc
    except aiohttp.ClientConnectorError as exc:
        raise httpx2.ConnectError(type(exc).__name__) from exc
    except aiohttp.ClientResponseError as exc:
        raise httpx2.RemoteProtocolError(type(exc).__name__) from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise httpx2.ReadError(type(exc).__name__) from exc
