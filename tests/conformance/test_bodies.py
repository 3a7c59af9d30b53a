"""Bodies of a successful response that are not an event stream, and loosely written chunks.

Both APIs are held to the same rules: `streamsvc.providers.response` and `streamsvc.providers.lenient`.
"""

import json

import anyio
import pytest
from provider import (
    UpstreamSubject,
    ask,
    end_of,
    every_upstream,
    finishes,
    texts,
)

from streamsvc.provider_errors import (
    ContextLengthExceeded,
    ProviderError,
    ProviderMisconfigured,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from support.upstreams import (
    CLOSE,
    USAGE,
    Exchange,
    Framing,
    body,
    frame,
    raw,
    status,
    text,
)

pytestmark = pytest.mark.usefixtures("no_certificates")

STREAM = "text/event-stream"
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"


def streamed(subject: UpstreamSubject) -> bytes:
    return (
        subject.wire.token("One ") + subject.wire.token("two") + subject.wire.finish("stop", USAGE)
    )


# An event stream by another name


@every_upstream
@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "text/event-stream;charset=UTF-8", "Text/Event-Stream", "application/json",
     "application/octet-stream", "text/html; charset=utf-8", "binary/nonsense;;"],
)  # fmt: skip
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_event_stream_may_have_any_content_type(
    subject: UpstreamSubject, content_type: str | None, framing: Framing
) -> None:
    deltas, error = await end_of(subject, body(streamed(subject), content_type, framing=framing))
    assert error is None
    assert texts(deltas) == ["One ", "two"]
    assert [end.usage for end in finishes(deltas)] == [USAGE]


@every_upstream
@pytest.mark.parametrize("code", [201, 202, 203, 206])
async def test_any_success_means_the_same(subject: UpstreamSubject, code: int) -> None:
    headers = {"Content-Type": STREAM}
    deltas, error = await end_of(subject, status(code, streamed(subject), headers))
    assert (texts(deltas), error) == (["One ", "two"], None)
    deltas, error = await end_of(subject, status(code, {"id": "job"}))
    assert (deltas, type(error)) == ([], ProviderMisconfigured)


@every_upstream
@pytest.mark.parametrize(
    "before",
    [b"\n\n", b": hello\n\n", b"\xef\xbb\xbf", b"event: message\n", b"id: 1\n", b"retry: 5\n\n", b" \r\n"],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("content_type", [STREAM, None, "text/plain"])
async def test_event_stream_may_begin_with_any_field(
    subject: UpstreamSubject, before: bytes, content_type: str | None
) -> None:
    data = before + streamed(subject)
    deltas, error = await end_of(subject, body(data, content_type))
    assert (texts(deltas), error) == (["One ", "two"], None)


@every_upstream
async def test_kind_of_a_body_may_show_byte_by_byte(subject: UpstreamSubject) -> None:
    async def dribble(to: Exchange) -> None:
        await to.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        to.has_head = True
        await to.send(streamed(subject), piece_bytes=1)

    deltas, error = await end_of(subject, dribble)
    assert (texts(deltas), error) == (["One ", "two"], None)


# One JSON


@every_upstream
@pytest.mark.parametrize("content_type", ["application/json", STREAM, None, "text/plain"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_one_json_instead_of_a_stream_is_the_answer(
    subject: UpstreamSubject, content_type: str | None, framing: Framing
) -> None:
    data = json.dumps(subject.wire.whole("One two"), indent=1).encode()
    async with subject.open(body(data, content_type, framing=framing)) as (api, provider):
        deltas, error = await ask(provider)
        assert len(api.calls) == 1
    assert (texts(deltas), error) == (["One two"], None)
    [end] = finishes(deltas)
    assert (end.reason, end.usage) == ("stop", USAGE)
    assert (end.model or "").endswith("-test-1")


@every_upstream
@pytest.mark.parametrize("join", ["array", "lines"])
async def test_list_of_chunks_or_one_a_line_is_the_answer(
    subject: UpstreamSubject, join: str
) -> None:
    """Gemini sends an array without `alt=sse`; others send JSON lines."""
    wire = subject.wire
    frames = wire.token("One ") + wire.token("two") + wire.stamped("!", usage=USAGE)
    chunks = [json.loads(line[6:]) for line in frames.splitlines() if line]
    data = json.dumps(chunks) if join == "array" else "\n".join(map(json.dumps, chunks))
    deltas, error = await end_of(subject, body(data.encode(), "application/json"))
    assert (texts(deltas), error) == (["One ", "two", "!"], None)
    assert [(end.reason, end.usage) for end in finishes(deltas)] == [("stop", USAGE)]


@every_upstream
async def test_one_json_without_a_reason_is_complete(subject: UpstreamSubject) -> None:
    answer = {
        "choices": [{"message": {"content": "One"}}],
        "candidates": [{"content": {"parts": [{"text": "One"}]}}],
    }
    deltas, error = await end_of(subject, body(json.dumps(answer).encode(), "application/json"))
    assert (texts(deltas), error) == (["One"], None)
    assert [(end.reason, end.provider_reason) for end in finishes(deltas)] == [("stop", None)]


@every_upstream
@pytest.mark.promise("end:exactly-one")
async def test_half_of_one_json_is_a_failure(subject: UpstreamSubject) -> None:
    half = json.dumps(subject.wire.whole("One two")).encode()[:-20]
    for script, expected in (
        ((body(half, "application/json"),), UpstreamInvalid),
        ((body(half, "application/json", framing="close"),), UpstreamInvalid),
        ((raw(half), CLOSE), UpstreamCut),
    ):
        deltas, error = await end_of(subject, *script)
        assert (deltas, type(error)) == ([], expected)


@every_upstream
@pytest.mark.promise("upstream:bounded")
async def test_size_of_one_json_is_bounded(subject: UpstreamSubject) -> None:
    async def endless(to: Exchange) -> None:
        await to.send(b'{"a":"')
        while True:
            await to.send(b"x" * 65_536)

    async with subject.open(endless) as (api, provider):
        assert type((await ask(provider))[1]) is UpstreamInvalid
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()


@every_upstream
async def test_blanks_before_an_answer_are_skipped(subject: UpstreamSubject) -> None:
    """DeepSeek sends empty lines while a request is queued."""
    answer = b"\n" * 100_000 + json.dumps(subject.wire.whole("One")).encode()
    deltas, error = await end_of(subject, body(answer, "application/json"))
    assert (texts(deltas), error) == (["One"], None)


@every_upstream
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 503, "message": "no"}, ProviderUnavailable),
        ({"code": "context_length_exceeded", "message": "no"}, ContextLengthExceeded),
    ],
    ids=repr,
)
@pytest.mark.parametrize("content_type", ["application/json", STREAM, None])
async def test_error_under_200_is_that_error(
    subject: UpstreamSubject, error: object, expected: type[ProviderError], content_type: str | None
) -> None:
    data = json.dumps({"error": error}).encode()
    deltas, seen = await end_of(subject, body(data, content_type))
    assert (deltas, type(seen)) == ([], expected)


@every_upstream
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b'{"code": "context_length_exceeded"}', ContextLengthExceeded),
        (b'{"type": "rate_limit_exceeded"}', ProviderRateLimited),
        (b'{"status": 503, "title": "Service Unavailable"}', ProviderUnavailable),
        (b"The maximum context length is 4096 tokens.", ContextLengthExceeded),
        (b"Error: insufficient balance", ProviderQuotaExhausted),
    ],
    ids=repr,
)
@pytest.mark.parametrize("content_type", ["text/plain", STREAM, None])
async def test_error_of_only_a_code_or_only_words_is_known(
    subject: UpstreamSubject, said: bytes, expected: type[ProviderError], content_type: str | None
) -> None:
    deltas, seen = await end_of(subject, body(said, content_type))
    assert (deltas, type(seen)) == ([], expected)


@every_upstream
async def test_error_in_a_chunk_of_only_a_code_is_known(subject: UpstreamSubject) -> None:
    said = frame({"code": "context_length_exceeded", "request_id": "1"})
    deltas, seen = await end_of(subject, raw(said))
    assert (deltas, type(seen)) == ([], ContextLengthExceeded)


@every_upstream
async def test_bare_json_error_within_a_stream_is_that_error(
    subject: UpstreamSubject,
) -> None:
    bare = json.dumps({"error": {"code": 503, "message": "no"}}, indent=2).encode()
    deltas, error = await end_of(subject, text("One"), raw(bare + b"\n"))
    assert (texts(deltas), type(error)) == (["One"], ProviderUnavailable)


# Other bodies


@every_upstream
@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (PAGE, "text/html"),
        (PAGE, STREAM),
        (PAGE, None),
        (b"\n  <html></html>", "text/html; charset=utf-8"),
        (b"<?xml version='1.0'?><Error/>", "application/xml"),
        (b"", "text/html"),
        (b"Welcome to nginx!", "text/plain"),
        (b"OK", None),
        (b"dat", "text/plain"),
        (b'{"status": "ok"}', "application/json"),
        (b"{}", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'"hello"', "application/json"),
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_other_bodies_are_one_clear_failure(
    subject: UpstreamSubject, data: bytes, content_type: str | None
) -> None:
    async with subject.open(body(data, content_type)) as (api, provider):
        deltas, error = await ask(provider)
        assert (deltas, type(error)) == ([], ProviderMisconfigured)
        assert len(api.calls) == 1
    assert isinstance(error, ProviderMisconfigured)
    assert (error.setting, error.retry_same_provider) == ("base_url", False)


@every_upstream
@pytest.mark.promise("upstream:bounded")
async def test_page_is_refused_at_its_first_byte(subject: UpstreamSubject) -> None:
    async def endless(to: Exchange) -> None:
        await to.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE)
        await anyio.sleep_forever()

    async with subject.open(endless) as (api, provider):
        assert type((await ask(provider))[1]) is ProviderMisconfigured
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()


@every_upstream
@pytest.mark.parametrize("coding", [b"", b"identity", b"utf-8", b"Identity, none"], ids=repr)
async def test_content_coding_that_changes_no_byte_is_accepted(
    subject: UpstreamSubject, coding: bytes
) -> None:
    async def coded(to: Exchange) -> None:
        to.is_over = True
        await to.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: %b\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (coding, len(streamed(subject)), streamed(subject))
        )

    deltas, error = await end_of(subject, coded)
    assert (texts(deltas), error) == (["One ", "two"], None)


@every_upstream
async def test_compressed_body_is_refused(
    subject: UpstreamSubject,
) -> None:
    async def gzipped(to: Exchange) -> None:
        to.is_over = True
        fields = (
            b"Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n"
        )
        await to.write(b"HTTP/1.1 200 OK\r\n%b\r\n\x1f\x8b" % fields)

    assert type((await end_of(subject, gzipped))[1]) is UpstreamInvalid
