"""Bad requests to the native API: a wrong query, header, method or address."""

from collections.abc import Mapping

import pytest

from support.asking import fetch
from support.native import CREATE, NEVER
from support.problems import BOUNDED, assert_is_problem
from support.service import Service
from support.shared import shared_service

service = shared_service(BOUNDED)

LONG_KEY = {"Idempotency-Key": "k" * 256}
STREAM_AI = "/stream-ai?prompt=hi"
ONE = f"{CREATE}/{NEVER}"
REQUESTS: list[tuple[str, str, Mapping[str, str], int, str | None]] = [
    ("GET", "/stream-ai", {}, 422, "prompt"),
    ("GET", "/stream-ai?prompt=", {}, 422, "prompt"),
    ("GET", "/stream-ai?prompt=%20%0A", {}, 422, "prompt"),
    ("GET", f"/stream-ai?prompt={'x' * 1001}", {}, 413, "prompt"),
    ("GET", "/stream-ai?prompt=hi&prompt=ho", {}, 422, "prompt"),
    ("GET", "/stream-ai?promt=hi", {}, 422, "promt"),
    ("GET", f"{STREAM_AI}&temperature=1", {}, 422, "temperature"),
    ("GET", f"{STREAM_AI}&%FF=1", {}, 422, "\ufffd"),
    ("GET", f"{STREAM_AI}&provider=other", {}, 422, "provider"),
    ("GET", f"{STREAM_AI}&fault=cut", {}, 422, "fault"),
    ("GET", f"{STREAM_AI}&fault=cut&fault=cut", {}, 422, "fault"),
    ("GET", f"{STREAM_AI}&format=xml", {}, 422, "format"),
    ("GET", f"{STREAM_AI}&format=", {}, 422, "format"),
    ("HEAD", f"{STREAM_AI}&format=xml", {}, 422, "format"),
    ("GET", f"{STREAM_AI}&key={'k' * 256}", {}, 422, "key"),
    ("GET", STREAM_AI, LONG_KEY, 422, "Idempotency-Key"),
    ("POST", CREATE, LONG_KEY, 422, "Idempotency-Key"),
    ("POST", f"{CREATE}?format=xml", {}, 422, "format"),
    ("POST", f"{CREATE}?prompt=hi", {}, 422, "prompt"),
    ("GET", f"{ONE}/events?from=1", {}, 422, "from"),
    ("GET", f"{ONE}/events?format=xml", {}, 422, "format"),
    ("GET", f"{ONE}/events", {}, 404, None),
    ("GET", ONE, {}, 404, None),
    ("POST", f"{ONE}/stop", {}, 404, None),
    ("GET", "/none", {}, 404, None),
    ("GET", "/playground/none.js", {}, 404, None),
    ("POST", "/", {}, 405, None),
    ("GET", "/stream-ai/x", {}, 404, None),
    ("GET", "/v1", {}, 404, None),
    ("POST", STREAM_AI, {}, 405, None),
    ("GET", CREATE, {}, 405, None),
    ("DELETE", ONE, {}, 405, None),
    ("GET", f"{ONE}/stop", {}, 405, None),
    ("OPTIONS", CREATE, {}, 405, None),
    ("PROPFIND", "/healthz", {}, 405, None),
]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "field"), REQUESTS, ids=range(len(REQUESTS))
)
async def test_wrong_request_is_refused_by_the_name_of_its_mistake(
    service: Service,
    method: str,
    target: str,
    headers: Mapping[str, str],
    status: int,
    field: str | None,
) -> None:
    before = len(service.log)
    body = b'{"prompt": "hi"}' if method == "POST" else None
    answer = await fetch(service.port, target, method=method, headers=headers, body=body)
    if method == "HEAD":
        assert answer.status == status
    else:
        assert_is_problem(answer, status, field)
    assert ("allow" in answer.headers) == (status == 405)
    assert len(service.log) == before


@pytest.mark.parametrize("path", ["/stream-ai/?prompt=a", "/v1/generations/", "/healthz/"])
async def test_trailing_slash_is_not_redirected(service: Service, path: str) -> None:
    assert_is_problem(await fetch(service.port, path), 404, None)
