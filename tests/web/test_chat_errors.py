"""Errors at the addresses of OpenAI's API: its error objects, whatever goes wrong."""

import json

import pytest

from conftest import Serve
from streamsvc.config.settings import ServerSettings, Settings
from streamsvc.web.openai import _Whole
from support.asking import fetch
from support.chat_completions import (
    ASKED,
    BOUNDED,
    CREATE,
    HURRIED,
    STREAMED,
    assert_is_error,
    post,
)
from support.eventstream import view
from support.service import Service
from support.shared import fresh_upstream, shared_service
from support.upstreams import HOLD, OPENAI, Upstream, text

service = shared_service(BOUNDED)
api = fresh_upstream()


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("method", "target", "body", "expected"),
    [
        ("GET", CREATE, None, (405, None, "method_not_allowed")),
        ("DELETE", f"{CREATE}/abc", None, (404, None, "not_found")),
        ("GET", "/v1/chat/nothing", None, (404, None, "not_found")),
        ("POST", "/v1/models", b"{}", (405, None, "method_not_allowed")),
        ("GET", "/v1/models/none", None, (404, "model", "model_not_found")),
        ("GET", "/v1/models/keyless", None, (404, "model", "model_not_found")),
        ("POST", CREATE, b"{", (400, None, "malformed_request")),
        ("POST", CREATE, b"[]", (400, "body", "invalid_field")),
        ("POST", CREATE, b"x" * 20_001, (413, None, "too_large")),
        ("POST", f"{CREATE}?stream=true", b"{}", (400, "stream", "invalid_field")),
        ("POST", CREATE, b'{"model": "no", "messages": []}', (404, "model", "model_not_found")),
    ],
)  # fmt: skip
async def test_errors_at_openai_addresses_are_its_error_objects(
    service: Service,
    method: str,
    target: str,
    body: bytes | None,
    expected: tuple[int, str | None, str],
) -> None:
    answer = await fetch(service.port, target, method=method, body=body)
    assert_is_error(answer, json.loads(bytes(answer.raw)), *expected)
    assert answer.headers["x-should-retry"] == "false"


async def test_errors_at_other_addresses_are_problem_details(service: Service) -> None:
    for target in ("/v1/generations", "/v1/nothing", "/"):
        answer = await fetch(service.port, target, method="DELETE")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_error_shape_is_right_when_a_proxy_strips_a_path(
    serve: Serve,
) -> None:
    service = await serve(Settings(server=ServerSettings(root_path="/llm")))
    answer, body = await post(service, b"{")
    assert_is_error(answer, body, 400, None, "malformed_request")


async def test_message_that_is_too_long_is_413(service: Service) -> None:
    long = {"role": "user", "content": "x" * 1001}
    answer, body = await post(service, {**ASKED, "messages": [long]})
    assert_is_error(answer, body, 413, "messages", "too_large")


@pytest.mark.promise("input:clear-error")
async def test_error_at_a_limit_says_when_to_retry(api: Upstream, serve: Serve) -> None:
    """Nothing has started, so the client may retry by itself."""
    entry = OPENAI.entry(api.url, max_generations=1)
    service = await serve(Settings(providers={"fake": entry}))
    api.script((text("One "), HOLD))
    async with view(service.port, CREATE, method="POST", body=STREAMED) as running:
        await running.raw_until(b"One ")
        answer, error = await post(service, ASKED)
    assert_is_error(answer, error, 503, None, "overloaded")
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("2", "true")


@pytest.mark.promise("resume:never-regenerate")
async def test_key_used_with_another_request_is_refused(serve: Serve) -> None:
    service = await serve(Settings(providers={"fake": HURRIED}))
    key = {"Idempotency-Key": "one"}
    first, _ = await post(service, ASKED, key)
    second, _ = await post(service, ASKED, key)
    assert first.headers["x-generation-id"] == second.headers["x-generation-id"]
    answer, body = await post(service, {**ASKED, "seed": 1}, key)
    assert_is_error(answer, body, 400, "Idempotency-Key")


@pytest.mark.promise("input:clear-error")
async def test_key_in_the_query_is_refused_by_its_name_there(serve: Serve) -> None:
    service = await serve(Settings(providers={"fake": HURRIED}))
    await post(service, ASKED, target=f"{CREATE}?key=one")
    answer, body = await post(service, {**ASKED, "seed": 1}, target=f"{CREATE}?key=one")
    assert_is_error(answer, body, 400, "key")
    assert "'key'" in body["error"]["message"]


async def test_internal_error_is_an_error_object_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve(Settings(providers={"fake": HURRIED}))

    def crash(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service.supervisor, "viewer_place", crash)
    answer, body = await post(service, ASKED)
    assert_is_error(answer, body, 500, None, "internal_error")


@pytest.mark.promise("resume:honest")
async def test_answer_in_one_piece_whose_log_is_lost_is_an_error() -> None:
    answer = await _Whole("gen_a").answer()
    assert answer.status_code >= 500
    assert json.loads(bytes(answer.body))["error"]["code"] == "not_resumable"
