"""Answers that end with their connection, for clients that do not keep it.

Where the client closes the connection after the answer no chunks are needed, and HTTP/1.0 knows none
(RFC 9112, sections 6.1 and 6.3). A FIN is the end of such an answer, so one that is cut needs a reset.
"""

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


def until_closed(
    cycle: RequestResponseCycle, app: ASGI3Application, abort: Callable[[], None]
) -> ASGI3Application:
    """Return *app*, whose answer is sent without chunks if its length is unknown.

    Args:
        cycle: uvicorn's side of the request. It sends chunks whatever the client's version, unless
            it is made to believe in an endless length.
        app: answers this one request.
        abort: cuts the connection where the answer stays incomplete.
    """

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        has_length = True

        async def unframed(message: ASGISendEvent) -> None:
            nonlocal has_length
            if message["type"] == "http.response.start":
                # The head of a stream says keep-alive; uvicorn adds the truth.
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
