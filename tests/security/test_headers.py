"""Every response that a browser may show has the headers that keep it from being more than data."""

import json
from typing import NamedTuple

import pytest

from support.asking import CLIENTS, answered, fetch
from support.eventstream import Answer
from support.process import FAKE, Running
from support.rawhttp import exchange
from support.security import EVERYWHERE, OFTEN_OWN, every_route
from support.shared import quiet_service, shared_process

PAGE = "https://page.test"
PAGES = (
    *("/", "/playground/playground.js", "/playground/icon.svg"),
    *("/operations", "/operations/page/operations.js", "/operations/page/icon.svg"),
)

process = shared_process({"cors": {"origins": [PAGE]}, "providers.fake": FAKE})
service = quiet_service()


class Asked(NamedTuple):
    """A request, and the status of its answer."""

    method: str
    target: str
    status: int
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed
    body: bytes | None = None


ROUTES = [*every_route()]
REFUSED = (
    Asked("GET", "/none", 404),
    Asked("GET", "/v1/none", 404),
    Asked("GET", "/api/chat/none", 404),
    Asked("DELETE", "/v1/generations", 405),
    Asked("POST", "/v1/generations", 400, body=b"<script>"),
    Asked("POST", "/v1/chat/completions", 400, body=b"<script>"),
    Asked("POST", "/api/chat", 400, body=b"<script>"),
    Asked("POST", "/v1/generations", 415, {"Content-Encoding": "gzip"}, b"x"),
    Asked("GET", "/stream-ai?prompt=hi", 403, {"Origin": "https://evil.test"}),
    Asked("GET", "/stream-ai?prompt=hi", 421, {"Host": "evil.test"}),
    Asked("GET", "/stream-ai?prompt=hi", 503, {"Sec-Purpose": "prefetch"}),
    Asked("GET", f"/stream-ai?{'x' * 66_000}", 414),
    Asked("GET", "/healthz", 431, {f"X-{number}": "" for number in range(300)}),
    Asked("OPTIONS", "/stream-ai", 200, {"Origin": PAGE, "Access-Control-Request-Method": "POST"}),
    Asked("OPTIONS", "/stream-ai", 403, {"Origin": "null", "Access-Control-Request-Method": "GET"}),
)


def assert_is_only_data(answer: Answer) -> None:
    """Check the headers of a response that is not a file of the playground."""
    for name, value in EVERYWHERE.items():
        if name == "cache-control":
            assert "no-store" in answer.headers[name]
        else:
            assert answer.headers[name] == value
    kind = answer.headers.get("content-type", "")
    assert "html" not in kind
    assert "script" not in kind


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda it: it)
async def test_every_route_sends_security_headers(service: Running, method: str, path: str) -> None:
    body = b"{}" if method == "POST" else None
    answer = await fetch(service.port, path, method=method, body=body)
    if path in {"/", "/operations"}:
        assert answer.headers.keys() > OFTEN_OWN
    else:
        assert_is_only_data(answer)


@pytest.mark.parametrize("asked", REFUSED, ids=lambda it: f"{it.status}-{it.target[:20]}")
async def test_every_refusal_sends_security_headers(service: Running, asked: Asked) -> None:
    answer = await fetch(
        service.port, asked.target, method=asked.method, headers=asked.headers, body=asked.body
    )
    assert answer.status == asked.status
    assert_is_only_data(answer)


async def test_refusal_of_the_server_itself_sends_security_headers(service: Running) -> None:
    [answer] = (await exchange(service.port, [b"<script>alert(1)</script>\r\n\r\n"])).answers
    assert answer.status == 400
    assert EVERYWHERE.items() <= answer.fields.items()


@pytest.mark.parametrize("name", CLIENTS)
async def test_every_stream_sends_security_headers(service: Running, name: str) -> None:
    """Also to a page that may read it: CORS requests pass by Cross-Origin-Resource-Policy."""
    answer = await answered(service.port, CLIENTS[name].request(), headers={"Origin": PAGE})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert_is_only_data(answer)


async def test_created_and_described_generations_are_not_stored(service: Running) -> None:
    body = json.dumps({"prompt": "hi"}).encode()
    made = await fetch(service.port, "/v1/generations", method="POST", body=body)
    assert made.status == 201
    address = made.headers["location"]
    for answer in (made, await fetch(service.port, address)):
        assert_is_only_data(answer)


@pytest.mark.parametrize("path", PAGES)
async def test_playground_keeps_its_own_policy(service: Running, path: str) -> None:
    """Also in a 304, whose headers replace those of the copy that the browser has."""
    answer = await fetch(service.port, path)
    again = await fetch(service.port, path, headers={"If-None-Match": answer.headers["etag"]})
    assert (answer.status, again.status) == (200, 304)
    for name, value in EVERYWHERE.items():
        assert name in OFTEN_OWN or answer.headers[name] == value
    assert answer.headers["cache-control"] == "no-cache"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert again.headers["content-security-policy"] == answer.headers["content-security-policy"]
