"""`/api/chat` on the wire: UI message streams and their plain-text form, byte for byte."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from conftest import Serve
from streamsvc.config.settings import StreamSettings
from support.asking import TEXT
from support.security import own_headers
from support.tool_calls import WEATHER
from support.transcript import assert_is_transcript
from support.ui_messages import PLAIN, asked, configuration, post, posted, resume, stop, types

ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "-length": {"max_tokens": 3},
    "-content-filter": {"fault": "content_filter"},
    "-failed": {"fault": "cut"},
    "-restart": {"fault": "restart"},
    "-tools": {"tools": [WEATHER]},
    "-tools-cut": {"tools": [WEATHER], "fault": "cut"},
    "-tools-restart": {"tools": [WEATHER], "fault": "restart"},
}


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("name", ANSWERS)
async def test_answer_matches_its_transcripts(serve: Serve, name: str) -> None:
    service = await serve(configuration())
    body = asked(**ANSWERS[name])
    answer = await post(service, body)
    assert answer.is_whole
    assert_is_transcript(bytes(answer.raw), f"ai-sdk{name}")
    plain = await post(service, body, PLAIN)
    assert plain.is_whole == (name in ("", "-tools"))
    assert_is_transcript(bytes(plain.raw), f"plain{name}", is_whole=plain.is_whole)


async def test_stopped_answer_says_so(serve: Serve) -> None:
    service = await serve(configuration({"fault": "stall", "attempts": 1}))
    for name, headers, query in (("ai-sdk", {}, ""), ("plain", PLAIN, ""), ("plain", {}, "?format=plain")):  # fmt: skip
        async with posted(service, asked(), headers, query) as answer:
            await answer.raw_until("é😀".encode())
            assert await stop(service) == 204
            await answer.body()
        assert answer.is_whole == (name == "ai-sdk")
        assert_is_transcript(bytes(answer.raw), f"{name}-stopped", is_whole=answer.is_whole)


async def test_resume_after_a_restart_gets_only_the_new_answer(serve: Serve) -> None:
    service = await serve(configuration())
    assert types(await post(service, asked(fault="restart")))[-1] == "error"
    assert_is_transcript(bytes((await resume(service)).raw), "ai-sdk-restart-resumed")


async def test_head_suits_the_sdk_and_proxies(serve: Serve) -> None:
    service = await serve(configuration())
    answer = await post(service, asked())
    generation = answer.headers["x-generation-id"]
    assert own_headers(answer) == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
        "x-vercel-ai-ui-message-stream": "v1",
        "x-generation-id": generation,
        "connection": "keep-alive",
        "transfer-encoding": "chunked",
    }
    plain = await post(service, asked(), PLAIN)
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert plain.headers["cache-control"] == "no-store, no-transform"
    assert plain.headers["x-accel-buffering"] == "no"


@pytest.mark.promise("alive:ping")
async def test_keepalives_fill_silence_but_not_plain_text(
    serve: Serve,
) -> None:
    stream = StreamSettings(ping_seconds=0.02)
    service = await serve(configuration({"first_word_seconds": 0.1}, stream=stream))
    answer = await post(service, asked())
    assert re.match(rb"(data: [^\n]+\n\n){2}(: ka\n)+data: ", answer.raw)
    assert types(answer)[-1] == "finish"
    plain = await post(service, asked(), PLAIN)
    assert bytes(plain.raw).decode() == TEXT
