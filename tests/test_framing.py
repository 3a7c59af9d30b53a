"""Framing of requests and responses: upgrades, versions, chunks, trailers and limits."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.lowlevel
import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import LimitSettings, ServerSettings, Settings
from support.process import serve as serve_process
from support.rawhttp import Exchange, exchange

TEXT = "FastAPI is the future of AI development."
QUICK = Settings(
    providers={"fake": FakeSettings(words_per_second=0, first_word_seconds=0, text=TEXT)},
    limits=LimitSettings(max_body_bytes=100_000),
)
HOST = b"Host: localhost\r\n"
BODY = b'{"prompt": "hi"}'
CHUNKED = (
    b"5\r\n" + BODY[:5] + b"\r\n" + b"%x" % len(BODY[5:]) + b"\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"
)
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
EXPECT = b"Expect: 100-continue\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
WEBSOCKET = (
    b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HEALTH = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
CREATE = b"POST /v1/generations HTTP/1.1\r\n" + HOST


class Case(NamedTuple):
    """The bytes to send, and the expected status of each response; the last response closes the connection."""

    sent: bytes
    statuses: Sequence[int]


CASES = {
    "h2c-get": Case(HEALTH[:-2] + H2C + b"\r\n" + LAST, (200, 200)),
    "h2c-length": Case(CREATE + H2C + LENGTH + b"\r\n" + BODY + LAST, (201, 200)),
    "h2c-chunks": Case(CREATE + H2C + CHUNKS + b"\r\n" + CHUNKED + LAST, (201, 200)),
    "h2c-again": Case((CREATE + H2C + LENGTH + b"\r\n" + BODY) * 3 + LAST, (201, 201, 201, 200)),
    "websocket": Case(HEALTH[:-2] + WEBSOCKET + b"\r\n" + LAST, (200, 200)),
    "tls": Case(HEALTH[:-2] + b"Connection: upgrade\r\nUpgrade: TLS/1.2\r\n\r\n" + LAST, (200, 200)),
    "offer-alone": Case(HEALTH[:-2] + b"Upgrade: h2c\r\n\r\n" + LAST, (200, 200)),
    "connection-alone": Case(HEALTH[:-2] + b"Connection: upgrade\r\n\r\n" + LAST, (200, 200)),
    "a-request-as-body": Case(
        CREATE + H2C + b"Content-Length: %d\r\n\r\n" % len(LAST) + LAST + LAST, (400, 200)
    ),
    "old-version-with-offer": Case(
        b"GET /healthz HTTP/1.0\r\n" + HOST + H2C + b"\r\n", (200,)
    ),
    "connect": Case(b"CONNECT example.test:443 HTTP/1.1\r\n" + HOST + b"\r\n" + HEALTH, (501,)),
    "http2": Case(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    "scheme-without-path": Case(
        b"GET http://localhost?a=b HTTP/1.1\r\n" + HOST + b"\r\n" + LAST, (200, 200)
    ),
    "trailers": Case(
        CREATE + CHUNKS + b"\r\n" + CHUNKED[:-2] + b"X-A: b\r\n\r\n" + LAST, (201, 200)
    ),
    "closing-trailer": Case(
        CREATE + CHUNKS + b"\r\n" + CHUNKED[:-2] + b"Connection: close\r\n\r\n" + LAST, (201,)
    ),
    "single-byte-chunks": Case(
        CREATE + CHUNKS + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n" + LAST,
        (201, 200),
    ),
    "chunk-extensions": Case(
        CREATE + CHUNKS + b"\r\n" + CHUNKED.replace(b"5\r\n", b'5;a=b;c="d"\r\n') + LAST, (201, 200)
    ),
    "long-target": Case(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n" + LAST, (414,)),
    "endless-head": Case(HEALTH[:-2] + b"X-A: b\r\n" * 60_000, (431,)),
    "fields-without-end": Case(HEALTH[:-2] + b"X-A: b\r\n" * 300, (431,)),
    "trailers-without-end": Case(
        CREATE + CHUNKS + b"\r\n" + CHUNKED[:-2] + b"X-A: b\r\n" * 300, (431,)
    ),
    "long-field": Case(HEALTH[:-2] + b"X-A: " + b"b" * 400_000, (431,)),
    "requests-without-end": Case(HEALTH * 500, (200,) * 65 + (429,)),
    "endless-blank-lines": Case(b"\r\n" * 200_000, (431,)),
    "endless-trailer": Case(
        CREATE + CHUNKS + b"\r\n" + CHUNKED[:-2] + b"X-A: b\r\n" * 60_000, (431,)
    ),
    "endless-trailer-field": Case(
        CREATE + CHUNKS + b"\r\n" + CHUNKED[:-2] + b"X-A: " + b"b" * 400_000, (400,)
    ),
    "endless-extension": Case(CREATE + CHUNKS + b"\r\n5;" + b"a" * 400_000, (400,)),
    "endless-extensions": Case(
        CREATE + CHUNKS + b"\r\n" + (b"1;" + b"a" * 900 + b"\r\nx\r\n") * 500, (400,)
    ),
    "endless-trailer-after-refusal": Case(
        CREATE + CHUNKS + b"\r\n30d40\r\n" + b"a" * 200_000 + b"\r\n0\r\n" + b"X-A: b\r\n" * 400_000,
        (413,),
    ),
    "garbage-in-body": Case(CREATE + CHUNKS + b"\r\nzz\r\n", (400,)),
    "garbage-in-an-expected-body": Case(CREATE + EXPECT + CHUNKS + b"\r\nzz\r\n", (400,)),
    "trailers-of-an-expected-body": Case(
        CREATE + EXPECT + CHUNKS + b"\r\n" + CHUNKED[:-2] + b"X-A: b\r\n" * 300, (431,)
    ),
    "garbage-in-a-waiting-expected-body": Case(
        HEALTH + CREATE + EXPECT + CHUNKS + b"\r\nzz\r\n", (200, 400)
    ),
    "garbage-after-an-expected-body": Case(
        CREATE + EXPECT + LENGTH + b"\r\n" + BODY + b"\0\0\0\r\n\r\n", (201, 400)
    ),
    "garbage-after": Case(HEALTH + b"\0\0\0\r\n\r\n", (200, 400)),
    "length-and-chunks": Case(CREATE + LENGTH + CHUNKS + b"\r\n" + BODY + LAST, (400,)),
    "large-body": Case(
        CREATE + b"Content-Length: 3000000\r\n\r\n" + b"a" * 3_000_000 + LAST, (413, 200)
    ),
}  # fmt: skip


def in_pieces(sent: bytes, size: int) -> list[bytes]:
    return [sent[start : start + size] for start in range(0, len(sent), size)]


def check(case: Case, seen: Exchange) -> None:
    assert [answer.status for answer in seen.answers] == list(case.statuses)
    for answer in seen.answers:
        if answer.status >= 400:
            problem = json.loads(answer.body)
            assert problem["status"] == answer.status
            assert problem["detail"].endswith(".")
            assert problem["code"]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("size", [7, 1 << 30], ids=["pieces", "whole"])
@pytest.mark.parametrize("name", CASES)
async def test_each_request_gets_one_response_however_it_is_framed(
    serve: Serve, name: str, size: int
) -> None:
    case = CASES[name]
    if len(case.sent) > 10_000 and size < 1000:
        size = 10_007
    service = await serve(QUICK)
    check(case, await exchange(service.port, in_pieces(case.sent, size)))


@pytest.mark.promise("input:clear-error")
async def test_a_process_frames_requests_alike_and_logs_no_warning(tmp_path: Path) -> None:
    settings = {"LIMITS__MAX_BODY_BYTES": "100000"}
    async with serve_process(tmp_path, settings) as service:
        for case in CASES.values():
            check(case, await exchange(service.port, [case.sent]))
        assert await service.terminate() == 0
    service.assert_quiet()
    assert "malformed_request=" in service.output


async def test_a_trailer_does_not_leak_into_the_next_request(serve: Serve) -> None:
    service = await serve(QUICK)
    sent = CREATE + CHUNKS + b"\r\n" + CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n"
    sent += CREATE + LENGTH + b"Connection: close\r\n\r\n" + BODY
    seen = await exchange(service.port, [sent])
    assert [answer.status for answer in seen.answers] == [201, 201]


OLD = {"1.0": b"HTTP/1.0\r\n", "1.1-close": b"HTTP/1.1\r\nConnection: close\r\n"}


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("version", OLD)
async def test_a_response_ended_by_close_has_no_chunk_sizes(serve: Serve, version: str) -> None:
    service = await serve(QUICK)
    target = b"GET /stream-ai?prompt=hi&format=plain " + OLD[version] + HOST + b"\r\n"
    seen = await exchange(service.port, [target])
    [answer] = seen.answers
    assert answer.body.decode() == TEXT
    assert answer.is_until_closed
    assert answer.fields["connection"] == "close"
    assert not seen.was_reset
    for target in (b"GET /healthz ", b"GET /nowhere ", b"HEAD /stream-ai?prompt=hi "):
        seen = await exchange(service.port, [target + OLD[version] + HOST + b"\r\n"])
        assert "content-length" in seen.answers[0].fields


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("version", OLD)
async def test_a_cut_response_without_chunks_ends_in_a_reset(serve: Serve, version: str) -> None:
    """A FIN marks the end of such a response, so a FIN would make it look complete."""
    fake = FakeSettings(
        words_per_second=0, first_word_seconds=0, text=TEXT, fault="cut", attempts=1
    )
    service = await serve(Settings(providers={"fake": fake}))
    target = b"GET /stream-ai?prompt=hi&format=plain " + OLD[version] + HOST + b"\r\n"
    seen = await exchange(service.port, [target])
    assert seen.was_reset
    assert TEXT.startswith(seen.answers[0].body.decode())


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "part", ["nothing", "half a head", "half a body", "one byte after another"]
)
async def test_a_request_that_does_not_arrive_in_time_gets_408(serve: Serve, part: str) -> None:
    service = await serve(
        Settings(server=ServerSettings(request_seconds=0.5), providers=QUICK.providers)
    )
    sent = {
        "nothing": b"",
        "half a head": HEALTH[:20],
        "half a body": CREATE + LENGTH + b"\r\n" + BODY[:5],
        "one byte after another": CREATE,
    }[part]
    with anyio.fail_after(15):
        async with await anyio.connect_tcp("127.0.0.1", service.port) as stream:
            await stream.send(sent) if sent else None
            raw = b""
            while True:
                with anyio.move_on_after(0.1):
                    try:
                        raw += await stream.receive()
                    except anyio.EndOfStream:
                        break
                if part == "one byte after another":
                    with anyio.CancelScope():
                        await stream.send(b"x")
    assert raw.startswith(b"HTTP/1.1 408 ") if sent else raw == b""
    assert b'"code":"request_timeout"' in raw or not sent
    while len(service.server.server_state.connections) > 1:  # one is the test client's own
        await anyio.lowlevel.checkpoint()


async def test_a_slow_answer_does_not_count_as_a_late_request(serve: Serve) -> None:
    fake = FakeSettings(words_per_second=5, first_word_seconds=0.5, text="one two three four five")
    settings = Settings(server=ServerSettings(request_seconds=0.2), providers={"fake": fake})
    service = await serve(settings)
    target = b"GET /stream-ai?prompt=hi&format=plain HTTP/1.0\r\n" + HOST + b"\r\n"
    seen = await exchange(service.port, [target])
    assert seen.answers[0].body == b"one two three four five"


@pytest.mark.needs("curl")
@pytest.mark.promise("input:clear-error")
async def test_a_body_arrives_although_curl_offers_http2(tmp_path: Path) -> None:
    async with serve_process(tmp_path, {}) as service:
        url = f"http://127.0.0.1:{service.port}/v1"
        ask = ["curl", "-sS", "--http2", "-d", BODY.decode(), f"{url}/generations"]
        done = await anyio.run_process([*ask, "--next", "-sS", "--http2", f"{url}/models"])
        created, _, models = done.stdout.decode().partition("}{")
        assert '"status":"running"' in created
        assert '"object":"list"' in models
        assert await service.terminate() == 0
    service.assert_quiet()
