"""A client of a service in this process: no port, no sockets, and words arrive as they are written."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx2
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.applications import Starlette
from typing_extensions import override

from streamsvc.app import create_app
from streamsvc.config.load import load
from streamsvc.testing.settings import CONFIG, SettingsTree, environment

_Message = MutableMapping[str, Any]


@asynccontextmanager
async def client(settings: SettingsTree | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield an `httpx2.AsyncClient` whose requests go to a service in this process; needs asyncio.

        async with client() as http:
            answer = await http.post("/v1/generations", json={"prompt": "Hello"})

    Closing a response that streams is a disconnect, as closing a tab is.

    Args:
        settings: as of `serve`.

    Raises:
        ConfigError: a line for each mistake in the settings.
    """
    environ = environment(settings or {})
    app = create_app(load(CONFIG, environ), environ)
    async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
        async with httpx2.AsyncClient(
            transport=_Transport(app, tasks), base_url="http://localhost", timeout=None
        ) as http:
            yield http
        tasks.cancel_scope.cancel()


class _Transport(httpx2.AsyncBaseTransport):
    """Calls an ASGI application. httpx2's own transport returns a response only when all of it is there."""

    def __init__(self, app: Starlette, tasks: TaskGroup) -> None:
        self._app = app
        self._tasks = tasks

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        send, receive = anyio.create_memory_object_stream[bytes]()
        exchange = _Exchange(await request.aread(), send)
        self._tasks.start_soon(exchange.run, self._app, _scope(request))
        await exchange.has_begun.wait()
        return httpx2.Response(
            exchange.status,
            headers=exchange.headers,
            stream=_Body(receive, exchange),
            request=request,
        )


class _Exchange:
    """One request and its response, as the application sees them.

    Attributes:
        has_begun: set when there is a status.
        has_left: set when the client has closed the response.
    """

    def __init__(self, body: bytes, send: MemoryObjectSendStream[bytes]) -> None:
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_begun = anyio.Event()
        self.has_left = anyio.Event()
        self._request: _Message | None = {"type": "http.request", "body": body}
        self._body = send

    async def run(
        self,
        app: Callable[[Any, Any, Any], Awaitable[None]],
        scope: _Message,
    ) -> None:
        """Call the application."""
        with self._body:
            try:
                await app(scope, self._receive, self._send)
            finally:
                self.has_begun.set()

    async def _receive(self) -> _Message:
        if (request := self._request) is not None:
            self._request = None
            return request
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
            self.has_begun.set()
        elif (data := message.get("body")) and not self.has_left.is_set():
            with suppress(anyio.BrokenResourceError):  # the client may leave meanwhile
                await self._body.send(data)


class _Body(httpx2.AsyncByteStream):
    """The body of a response, as it is written."""

    def __init__(self, chunks: MemoryObjectReceiveStream[bytes], exchange: _Exchange) -> None:
        self._chunks = chunks
        self._exchange = exchange

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            yield chunk

    @override
    async def aclose(self) -> None:
        self._exchange.has_left.set()
        self._chunks.close()


def _scope(request: httpx2.Request) -> _Message:
    """Return what a server says of a request (ASGI specification, HTTP connection scope)."""
    path = request.url.raw_path.partition(b"?")[0]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": path,
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "server": (request.url.host, request.url.port or 80),
        "client": ("127.0.0.1", 0),
        "extensions": {},
        "state": {},
    }
