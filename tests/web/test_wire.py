"""The wire format of the native API, byte for byte, as `docs/reference/http.md` promises it."""

import re

import anyio
import pytest

from conftest import Serve
from streamsvc.config.settings import Settings, StreamSettings
from support.asking import fetch
from support.eventstream import parse, view, wire
from support.native import ASK, HURRIED, NEVER, SILENT, STREAM, at_once, events_of, with_fake
from support.security import own_headers
from support.transcript import assert_is_transcript

BLOCKS = re.compile(
    rb"(?:(?:retry: \d+\n)?id: [A-Za-z0-9._-]{1,63}\n(?:event: [a-z]+\n)?(?:data: [^\r\n]*\n)+\n)+"
)
"""Whole blocks and nothing else: an id only with data, and no line end but LF."""

ANSWER = 'Words,\n  "quotes", \\,\ttabs and 😀. \r\n\n\nThe end.'

GONE = {"Last-Event-ID": f"{NEVER}.3"}
BOUNDED = b'{"prompt": "hi", "max_tokens": 2, "metadata": {"page": "7"}}'


@pytest.mark.promise("end:exactly-one")
async def test_streams_match_their_transcripts(serve: Serve) -> None:
    """A whole, a limited, a failed and a lost stream, each as a file of `tests/transcripts`."""
    service = await serve(
        Settings(
            providers={
                "fake": at_once(ANSWER, reasoning="Let me think."),
                "silent": at_once(ANSWER, first_word_seconds=60, first_token_seconds=0.02),
            }
        )
    )
    for name, target, headers, body in (
        ("native", ASK, {}, None),
        ("text", f"{ASK}&format=text", {}, None),
        ("native-incomplete", "/v1/generations", STREAM, BOUNDED),
        ("native-failed", f"{ASK}&provider=silent", {}, None),
        ("native-not-resumable", ASK, GONE, None),
    ):
        method = "POST" if body else "GET"
        viewer = await fetch(service.port, target, method=method, headers=headers, body=body)
        assert_is_transcript(bytes(viewer.raw), name)
        assert viewer.status == 200
        assert BLOCKS.fullmatch(viewer.raw)
        assert [event.type for event in parse(bytes(viewer.raw))].count("done") == 1


async def test_stopped_answer_says_so(serve: Serve) -> None:
    service = await serve(with_fake(at_once(ANSWER, first_word_seconds=60)))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as viewer:
            generation = viewer.headers["x-generation-id"]
            await service.client.post(f"/v1/generations/{generation}/stop")
            assert_is_transcript(await viewer.body(), "native-stopped")


async def test_stream_head_suits_proxies_and_browsers(serve: Serve) -> None:
    service = await serve(with_fake(HURRIED))
    headers = {"Accept-Encoding": "gzip, br"}
    async with view(service.port, ASK, headers=headers) as viewer:
        assert viewer.status == 200
        generation = viewer.headers["x-generation-id"]
        assert own_headers(viewer) == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store, no-transform",
            "x-accel-buffering": "no",
            "location": f"/v1/generations/{generation}/events",
            "x-generation-id": generation,
            "connection": "keep-alive",
            "transfer-encoding": "chunked",
        }  # fmt: skip


@pytest.mark.promise("stream:word-by-word")
async def test_head_and_start_go_out_before_the_first_token(serve: Serve) -> None:
    service = await serve(with_fake(SILENT))
    for method, target, body in (
        ("GET", ASK, None),
        ("POST", "/v1/generations", b'{"prompt": "hi"}'),
    ):
        with anyio.fail_after(10):
            async with view(
                service.port, target, method=method, headers=STREAM, body=body
            ) as viewer:
                start = await viewer.event()
        assert start.type == "start"
        assert start.json["generation"] == viewer.headers["x-generation-id"]
        assert start.last_event_id == f"{start.json['generation']}.0"


async def test_first_block_of_each_connection_has_the_retry_line(serve: Serve) -> None:
    service = await serve(with_fake(HURRIED, stream=StreamSettings(retry_ms=1234)))
    async with view(service.port, ASK) as viewer:
        await viewer.events()
    generation = viewer.headers["x-generation-id"]
    headers = {"Last-Event-ID": f"{generation}.1"}
    async with view(service.port, f"/v1/generations/{generation}/events", headers=headers) as back:
        await back.events()
    for body in (viewer.raw, back.raw):
        assert body.startswith(b"retry: 1234\nid: gen_")
        assert body.count(b"retry:") == 1


@pytest.mark.promise("alive:ping")
async def test_silence_is_filled_with_lone_comments(serve: Serve) -> None:
    fake = at_once("One two three.", first_word_seconds=0.2)
    service = await serve(with_fake(fake, stream=StreamSettings(ping_seconds=0.04)))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as viewer:
            events = await viewer.events()
    start, pings, rest = re.split(rb"((?:: ka\n)+)", bytes(viewer.raw), maxsplit=1)
    assert BLOCKS.fullmatch(start)
    assert 1 <= pings.count(b": ka\n") <= 5
    assert BLOCKS.fullmatch(rest)
    # A browser does not notice them.
    assert [event.type for event in events] == ["start", "message", "message", "message", "done"]
    assert [event.seq for event in events] == [0, 1, 2, 3, 4]


@pytest.mark.promise("alive:ping")
async def test_no_keepalive_is_sent_while_words_arrive(serve: Serve) -> None:
    """The stream lasts several times the interval, but is never silent for that long."""
    fake = at_once("word " * 30, words_per_second=40)
    service = await serve(with_fake(fake, stream=StreamSettings(ping_seconds=0.3)))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as viewer:
            events = await viewer.events()
    assert events[-1].at - events[0].at > 2 * 0.3
    assert BLOCKS.fullmatch(viewer.raw)


@pytest.mark.promise("alive:ping")
async def test_viewer_that_resumes_into_silence_gets_keepalives(
    serve: Serve,
) -> None:
    service = await serve(with_fake(SILENT, stream=StreamSettings(ping_seconds=0.02)))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as first:
            cursor = (await first.event()).last_event_id
            headers = {"Last-Event-ID": cursor}
            async with view(service.port, ASK, headers=headers) as viewer:
                await viewer.raw_until(b": ka\n: ka\n")
    assert re.fullmatch(rb"(: ka\n)+", viewer.raw)


async def test_head_request_has_no_body_and_creates_nothing(serve: Serve) -> None:
    service = await serve(with_fake(HURRIED))
    async with wire(service.port) as connection:
        for target in (ASK, events_of(NEVER)):
            answer = await connection.ask("HEAD", target)
            assert answer.status == 200
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-store, no-transform"
            # A body would be read as the head of the next answer.
            assert (await (await connection.ask("GET", "/healthz")).json()) == {"status": "ok"}
    assert len(service.log) == 0


async def test_connection_outlives_its_streams(serve: Serve) -> None:
    """Never `Connection: close`: some proxies then cut the end of the answer."""
    service = await serve(with_fake(HURRIED))
    async with wire(service.port) as connection:
        stream = await connection.ask("GET", ASK)
        last = (await stream.events())[-1].last_event_id
        events = stream.headers["location"]
        for target, headers in ((events, {}), (events, {"Last-Event-ID": last}), (ASK, GONE)):
            answer = await connection.ask("GET", target, headers)
            await answer.events()
            assert answer.is_whole
            assert answer.headers.get("connection") != "close"
