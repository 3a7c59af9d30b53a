"""Responses that end with their connection, for clients that do not keep it open.

Such a response needs no chunked encoding, which HTTP/1.0 does not have (RFC 9112, sections 6.1 and 6.3). It ends
at a FIN, so an incomplete one must be cut by a reset.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_RESET = struct.pack("ii", 1, 0)
"""`struct linger`: on, for zero seconds, so that closing sends a reset (socket(7))."""


def cut_by_reset(transport: asyncio.Transport) -> None:
    """Make a connection that is aborted next end in a reset.

    A response without chunks or a length ends at a FIN, so the client would take an incomplete one for complete (RFC
    9112, section 8).
    """
    accepted: socket.socket = transport.get_extra_info("socket")
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def until_closed(
    cycle: RequestResponseCycle, app: ASGI3Application, abort: Callable[[], None]
) -> ASGI3Application:
    """Return *app*, with its response not chunked if the length is unknown.

    uvicorn sends chunks even to HTTP/1.0 clients, which cannot read them (0.54.0). So the cycle gets the length
    `sys.maxsize`, which no response reaches, and its true length with the last part of the body.

    Args:
        cycle: uvicorn's side of the request.
        app: answers this one request.
        abort: cuts the connection if the response stays incomplete.
    """

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        has_length = True

        async def unframed(message: ASGISendEvent) -> None:
            nonlocal has_length
            if message["type"] == "http.response.start":
                # The head of a stream says keep-alive; uvicorn adds `close`.
                headers = [field for field in message["headers"] if field[0] != b"connection"]
                message = {**message, "headers": headers}
                has_length = any(name == b"content-length" for name, _ in headers)
                if not has_length:
                    cycle.chunked_encoding = False
                    cycle.expected_content_length = sys.maxsize
            elif message["type"] == "http.response.body" and not (
                has_length or message.get("more_body", False)
            ):
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        try:
            await app(scope, receive, unframed)
        finally:
            if cycle.response_started and not cycle.response_complete:
                abort()

    return run
