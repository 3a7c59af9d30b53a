"""The errors for a status or an error in a stream, in any wrapping."""

import anyio
import pytest
from provider import (
    UpstreamSubject,
    every_upstream,
    finishes,
    texts,
)
from provider import (
    ask as _ask,
)
from provider import (
    end_of as _end_of,
)

from streamsvc.provider_errors import (
    ContextLengthExceeded,
    ProviderAuthFailed,
    ProviderContentFiltered,
    ProviderError,
    ProviderMisconfigured,
    ProviderModelNotFound,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
)
from streamsvc.providers import response as response_module
from support.upstreams import CLOSE, HEAD, HOLD, Exchange, Step, finish, frame, raw, status, text

pytestmark = pytest.mark.usefixtures("no_certificates")


ERRORS = {
    301: ProviderMisconfigured,
    307: ProviderMisconfigured,
    400: ProviderRefused,
    401: ProviderAuthFailed,
    402: ProviderQuotaExhausted,
    403: ProviderAuthFailed,
    404: ProviderModelNotFound,
    407: ProviderMisconfigured,
    408: ProviderUnavailable,
    409: ProviderUnavailable,
    413: ContextLengthExceeded,
    418: ProviderMisconfigured,
    421: ProviderMisconfigured,
    422: ProviderRefused,
    424: ProviderMisconfigured,
    425: ProviderMisconfigured,
    429: ProviderRateLimited,
    500: ProviderUnavailable,
    501: ProviderMisconfigured,
    502: ProviderUnavailable,
    503: ProviderUnavailable,
    529: ProviderUnavailable,
}
"""The error for a status whose body says nothing more."""


@every_upstream
@pytest.mark.parametrize("body", [None, "no object", [], b"\xff<html>"], ids=repr)
@pytest.mark.promise("provider:swap")
async def test_status_becomes_the_same_error_whatever_the_body(
    subject: UpstreamSubject, body: object
) -> None:
    errors = {}
    async with subject.open() as (api, provider):
        api.script(*[(status(code, body),) for code in ERRORS])
        for code in ERRORS:
            deltas, error = await _ask(provider)
            assert deltas == []
            errors[code] = type(error)
    assert errors == ERRORS


@every_upstream
@pytest.mark.promise("end:exactly-one")
async def test_error_chunk_means_what_its_status_would(
    subject: UpstreamSubject,
) -> None:
    errors = {}
    async with subject.open() as (api, provider):
        for code in ERRORS:
            api.script((text("One "), raw(frame({"error": {"code": code}})), finish()))
            deltas, error = await _ask(provider)
            assert (texts(deltas), finishes(deltas)) == (["One "], [])
            errors[code] = type(error)
    # A redirect comes from a server, not from a model.
    assert errors == {**ERRORS, 301: ProviderError, 307: ProviderError}


@every_upstream
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    "said",
    [
        b'data: {"error": {"code": 400, "message": "prompt is too long"}}\n\n',
        b'data: {"error": "prompt is too long", "error_type": "validation"}\n\n',
        b'data: {"object": "error", "message": "prompt is too long", "code": 400}\n\n',
        b'data: {"type": "error", "error": {"message": "prompt is too long"}}\n\n',
        b'data: {"detail": "prompt is too long"}\n\n',
        b'data: {"errors": [{"code": "context_length_exceeded"}]}\n\n',
        b'data: [{"error": {"code": "context_length_exceeded"}}]\n\n',
        b'event: error\ndata: {"message": "prompt is too long"}\n\n',
        b"event: error\ndata: prompt is too long\n\n",
        b'error: {"code": 400, "message": "prompt is too long"}\n\n',
        b"error: prompt is too long\n\n",
    ],
    ids=lambda it: it[:40].decode(),
)
async def test_error_means_the_same_in_any_wrapping(subject: UpstreamSubject, said: bytes) -> None:
    deltas, error = await _end_of(subject, HEAD, raw(said), finish())
    assert (deltas, type(error)) == ([], ContextLengthExceeded)
    if said.startswith(b"data: {"):  # also as a whole body instead of the stream
        body = said.removeprefix(b"data: ").strip()
        deltas, error = await _end_of(subject, status(200, body))
        assert (deltas, type(error)) == ([], ContextLengthExceeded)


@every_upstream
@pytest.mark.parametrize("depth", [100, 800, 20_000])
@pytest.mark.promise("end:exactly-one")
async def test_deeply_nested_error_body_is_an_error_like_others(
    subject: UpstreamSubject, depth: int
) -> None:
    nested = b"[" * depth + b"]" * depth
    _, error = await _end_of(subject, status(400, nested))
    assert type(error) is ProviderRefused
    _, error = await _end_of(subject, status(503, b'{"error":%b}' % nested))
    assert type(error) is ProviderUnavailable
    _, error = await _end_of(subject, raw(b'data: {"error":%b}\n\n' % nested))
    assert isinstance(error, ProviderError)


@every_upstream
@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize("rest", [CLOSE, HOLD], ids=["breaks off", "never goes on"])
async def test_refusal_keeps_its_status_when_its_body_breaks(
    subject: UpstreamSubject, rest: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_module, "REFUSAL_SECONDS", 0.05)
    script = status(429, b"half", {"Content-Length": "100"}), rest
    async with subject.open(*script) as (api, provider):
        assert type((await _ask(provider))[1]) is ProviderRateLimited
        with anyio.fail_after(10):
            await api.until(lambda: api.calls[0].hung_up or api.calls[0].closed_at)


@every_upstream
@pytest.mark.promise("upstream:bounded")
async def test_endless_refusal_body_is_read_up_to_a_bound(subject: UpstreamSubject) -> None:
    """A compressed body, which can expand to any size, is not read at all."""
    sent_bytes = 0

    async def endless(to: Exchange) -> None:
        nonlocal sent_bytes
        encoding = b"Content-Encoding: gzip\r\n" if len(api.calls) > 1 else b""
        await to.write(b"HTTP/1.1 500 Scripted\r\nContent-Type: text/plain\r\n%b\r\n" % encoding)
        while True:
            await to.write(b"x" * 4096)
            sent_bytes += 4096

    async with subject.open(endless) as (api, provider):
        for number in range(2):
            assert type((await _ask(provider))[1]) is ProviderUnavailable
            with anyio.fail_after(10):
                await api.calls[number].closed.wait()
    # The rest is in the buffers of the kernel.
    assert sent_bytes < 50_000_000


@every_upstream
@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens.",
        "The input token count (40000) exceeds the maximum number of tokens allowed (32000).",
        "the request exceeds the available context size",
        "prompt is too long",
    ],
)
async def test_too_long_prompt_is_recognised_by_its_sentence(
    subject: UpstreamSubject, words: str
) -> None:
    error = {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}
    _, seen = await _end_of(subject, status(400, {"error": error}))
    assert type(seen) is ContextLengthExceeded


@every_upstream
@pytest.mark.promise("provider:swap")
async def test_filtered_prompt_is_recognised_by_its_code(
    subject: UpstreamSubject,
) -> None:
    """It is not retried with any provider."""
    error = {"code": "content_filter", "message": "no"}
    _, seen = await _end_of(subject, status(400, {"error": error}))
    assert isinstance(seen, ProviderContentFiltered)
    assert (seen.code, seen.retryable) == ("content_filter", False)


@every_upstream
@pytest.mark.promise("secret:kept")
async def test_upstream_text_stays_out_of_the_error(
    subject: UpstreamSubject,
) -> None:
    body = {"error": {"code": 500, "message": "sk-secret of org-secret", "status": "sk-secret"}}
    _, error = await _end_of(subject, status(500, body))
    assert isinstance(error, ProviderError)
    assert "secret" not in f"{error!s} {error!r} {error.message} {vars(error)}"
