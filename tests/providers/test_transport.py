"""Our connections as the transport of an SDK's HTTP client."""

import anyio
import httpx2
import pytest

from streamsvc.providers.http.transport import Transport
from support.upstreams import CLOSE, HEAD, RESET, Script, finish, status, text, upstream

PATH = "/v1/models/m:streamGenerateContent"


def client(url: str) -> tuple[httpx2.AsyncClient, Transport]:
    transport = Transport(url, connect_seconds=5, silent_seconds=5)
    return httpx2.AsyncClient(transport=transport, base_url=url), transport


async def test_request_to_another_server_is_refused() -> None:
    http_client, transport = client("http://127.0.0.1:1")
    async with http_client:
        for url in ("http://127.0.0.1:2", "https://127.0.0.1:1", "http://localhost:1"):
            with pytest.raises(httpx2.UnsupportedProtocol):
                await http_client.post(url)
    assert transport.connections == (0, 0)


async def test_whole_body_returns_its_connection_once() -> None:
    async with upstream(text("One"), finish()) as api:
        http_client, transport = client(api.url)
        async with http_client:
            with anyio.fail_after(10):
                for _ in range(2):
                    async with http_client.stream("POST", PATH, json={}) as answer:
                        assert transport.connections == (1, 0)
                        assert b"One" in await answer.aread()
                        assert transport.connections == (0, 1)
                        await answer.aclose()
                    assert transport.connections == (0, 1)
            assert [call.connection for call in api.calls] == [1, 1]


async def test_abandoned_body_closes_its_connection() -> None:
    async with upstream(text("One"), finish()) as api:
        http_client, _ = client(api.url)
        async with http_client:
            with anyio.fail_after(10):
                async with http_client.stream("POST", PATH, json={}) as answer:
                    assert answer.is_success
                await api.calls[0].closed.wait()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ((CLOSE,), httpx2.ConnectError),
        ((RESET,), httpx2.ConnectError),
        ((HEAD, CLOSE), httpx2.ReadError),
        ((text("One"), RESET), httpx2.ReadError),
    ],
    ids=["closed", "reset", "closed after the head", "reset in the body"],
)
async def test_failure_is_raised_as_httpx2s_own(script: Script, expected: type[Exception]) -> None:
    async with upstream(*script) as api:
        http_client, transport = client(api.url)
        async with http_client:
            with anyio.fail_after(10), pytest.raises(expected):
                await http_client.post(PATH, json={})
        assert transport.connections == (0, 0)


async def test_status_and_headers_are_passed_on() -> None:
    async with upstream(status(503, headers={"Retry-After": "7", "X-Other": "x"})) as api:
        http_client, _ = client(api.url)
        async with http_client:
            answer = await http_client.post(PATH, json={"a": 1})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
        assert "x-other" not in answer.headers
        assert api.calls[0].body == {"a": 1}
