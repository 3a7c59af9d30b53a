"""Where a route's errors end, and what is not HTTP."""

from typing import Any

import anyio
import pytest
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from streamsvc.errors import Draining
from streamsvc.hooks import Hooks
from streamsvc.tracecontext import Traces
from streamsvc.web.problems import CrashGuard, Guard, Problems
from streamsvc.web.refusals import Refusals
from streamsvc.web.request_log import RequestLog
from streamsvc.web.routing import Routing
from support.bridge import Connection


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_refusal_after_the_head_is_a_crash(
    *, has_begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A second head would not be HTTP: the server cuts a response that its application leaves incomplete."""

    async def route(_scope: Scope, _receive: Receive, send: Send) -> None:
        if has_begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Draining

    hooks, guard = Hooks(), Guard()
    guard.has_started = True
    answer = RequestLog(CrashGuard(route, Problems({}, Refusals(hooks)), guard), hooks, Traces())
    connection = Connection("GET", "/", {}, b"")
    with anyio.fail_after(10):
        await connection.run(answer)
    assert (connection.status, connection.complete) == ((200, False) if has_begun else (503, True))
    assert ("request.crashed exception=Draining" in caplog.text) == has_begun


async def test_a_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope: dict[str, Any] = {"type": "websocket", "path": "/"}
    await Routing(Router())(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
