"""Calls an ASGI application without a server, over a connection that a test can cut.

`httpx2.ASGITransport` never delivers an endless stream, and Starlette's test client ends one by cancellation.
Here a cut is an `http.disconnect`, as a server sends it.
"""

from collections.abc import MutableMapping
from typing import Any, Self
from urllib.parse import urlsplit

import anyio
import anyio.abc
from starlette.types import ASGIApp


class Connection:
    """One request and its response.

    Attributes:
        scope: the scope of the request.
        status: the status of the response, once its head is there.
        body: the body so far.
        complete: whether the response has ended cleanly.
        ended: set when the application has returned.
    """

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        url = urlsplit(target)
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": url.path,
            "raw_path": url.path.encode(),
            "query_string": url.query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        }
        self._request_body: bytes | None = body
        self._gone = anyio.Event()
        self.status: int | None = None
        self.body = b""
        self.complete = False
        self.ended = anyio.Event()
        self.grown = anyio.Event()

    @classmethod
    def open(
        cls, app: ASGIApp, tasks: anyio.abc.TaskGroup, target: str, *,
        method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b"",
    ) -> Self:  # fmt: skip
        connection = cls(method, target, headers or {}, body)
        tasks.start_soon(connection.run, app)
        return connection

    def cut(self) -> None:
        """Cut the connection: whatever the application sends from now on is lost."""
        self._gone.set()

    async def run(self, app: ASGIApp) -> None:
        """Run the application until it returns."""
        try:
            await app(self.scope, self._receive, self._send)
        finally:
            self.ended.set()
            self._grow()

    async def _receive(self) -> MutableMapping[str, Any]:
        if self._request_body is not None:
            body, self._request_body = self._request_body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not self.complete:
            await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")
            self.complete = not message.get("more_body", False)
            if self.complete:
                self._gone.set()
        self._grow()

    def _grow(self) -> None:
        self.grown.set()
        self.grown = anyio.Event()
