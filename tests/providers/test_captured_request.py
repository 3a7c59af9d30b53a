"""The request captured from the openai SDK contains nothing that belongs to a single request."""

import itertools
import uuid
from typing import Any

import httpx2
import openai
import pytest

from streamsvc.config.provider_settings import OpenAISettings
from streamsvc.messages import Prompt, UserMessage
from streamsvc.providers.openai.provider import (
    ONE_REQUEST_HEADERS,
    OpenAIProvider,
    capture_request,
    open_provider,
)
from support.answering import answering
from support.upstreams import OPENAI, finish, text, upstream

SETTINGS = OpenAISettings(model="m", base_url="http://openai.test/v1")
PROMPT = Prompt(messages=(UserMessage("Say it."),))


def head(request: httpx2.Request) -> list[tuple[bytes, bytes]]:
    return sorted(request.headers.raw)


@pytest.fixture
def sdk_headers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Headers that the SDK adds to each request; a value is a string, or an iterator of them."""
    added: dict[str, Any] = {}
    build = openai.AsyncOpenAI._build_request

    def with_added(self: Any, *args: Any, **kwargs: Any) -> httpx2.Request:
        request = build(self, *args, **kwargs)
        for name, value in added.items():
            request.headers[name] = value if isinstance(value, str) else next(value)
        return request

    monkeypatch.setattr(openai.AsyncOpenAI, "_build_request", with_added)
    return added


async def test_two_captured_requests_have_equal_heads() -> None:
    assert head(await capture_request(SETTINGS, "key")) == head(
        await capture_request(SETTINGS, "key")
    )


async def test_captured_request_has_the_sdks_own_headers() -> None:
    headers = (await capture_request(SETTINGS, "key")).headers
    assert headers["authorization"] == "Bearer key"
    assert headers["user-agent"].startswith("AsyncOpenAI/")
    assert headers["accept-encoding"] == "identity"
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", sorted(ONE_REQUEST_HEADERS))
async def test_header_of_one_request_is_not_captured(
    sdk_headers: dict[str, Any], name: str
) -> None:
    sdk_headers[name.title()] = "the same each time"
    assert name not in (await capture_request(SETTINGS, "key")).headers


async def test_header_that_changes_is_not_captured(sdk_headers: dict[str, Any]) -> None:
    sdk_headers["X-New-Request-Number"] = map(str, itertools.count())
    sdk_headers["X-New-Request-Id"] = (str(uuid.uuid4()) for _ in itertools.count())
    sdk_headers["X-New-Constant"] = "constant"
    headers = (await capture_request(SETTINGS, "key")).headers
    assert "x-new-request-number" not in headers
    assert "x-new-request-id" not in headers
    assert headers["x-new-constant"] == "constant"


async def test_header_of_only_the_first_request_is_not_captured(
    sdk_headers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()
    build = openai.AsyncOpenAI._build_request

    def only_first(self: Any, *args: Any, **kwargs: Any) -> httpx2.Request:
        sdk_headers.clear()
        if next(numbers) == 0:
            sdk_headers["X-First"] = "yes"
        return build(self, *args, **kwargs)

    monkeypatch.setattr(openai.AsyncOpenAI, "_build_request", only_first)
    assert "x-first" not in (await capture_request(SETTINGS, "key")).headers


async def test_sent_requests_carry_no_header_of_one_request() -> None:
    async with upstream(text("One"), finish()) as api:
        settings = OPENAI.entry(api.url)
        async with open_provider(settings, "key") as provider:
            assert isinstance(provider, OpenAIProvider)
            for _ in range(2):
                async with answering(provider, PROMPT) as answer:
                    assert [piece async for piece in answer]
        first, second = (dict(call.headers) for call in api.calls)
        assert first == second
        assert not ONE_REQUEST_HEADERS & {name.lower() for name in first}
