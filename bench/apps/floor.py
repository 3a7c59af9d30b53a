"""The floor: the least that a relay in Python can do. `python -m bench.apps.floor PORT UPSTREAM_PORT`.

A raw ASGI application on uvicorn, uvloop and httptools; the upstream's chunks are cut by hand, and
each is passed on as it is, with one send. No log, no resume, no parsing, no deadline; it only closes
the upstream when the client goes.
"""

import asyncio
import sys

import anyio
import uvicorn
from starlette.types import Receive, Scope, Send

_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]


class Floor:
    """The application.

    Args:
        upstream_port: where the upstream is, on the loopback.
    """

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope["method"] == "POST":
            body = await _body(receive)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_when_gone, receive, tasks.cancel_scope)
                await self._relay(body, send)
                tasks.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _relay(self, body: bytes, send: Send) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        try:
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: upstream\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            await reader.readuntil(b"\r\n\r\n")
            rest = b""
            while data := await reader.read(65536):
                rest += data
                at = 0
                while (line_end := rest.find(b"\r\n", at)) >= 0:
                    size = int(rest[at:line_end], 16)
                    if size == 0:
                        return
                    end = line_end + 2 + size
                    if len(rest) < end + 2:
                        break
                    block = rest[line_end + 2 : end]
                    await send({"type": "http.response.body", "body": block, "more_body": True})
                    at = end + 2
                rest = rest[at:]
        finally:
            writer.transport.abort()


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


if __name__ == "__main__":
    uvicorn.run(
        Floor(int(sys.argv[2])),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        backlog=4096,
    )
