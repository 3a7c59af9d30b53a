"""`/api/chat` on the wire, as the AI SDK's front ends use it, and plain text everywhere."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import anyio
import anyio.lowlevel
import msgspec
import pytest

from conftest import Serve
from streamsvc.config.settings import (
    AISDKSettings,
    FakeSettings,
    GenerationSettings,
    LimitSettings,
    Settings,
    StreamSettings,
)
from streamsvc.errors import CursorLost
from support.eventstream import Answer, parse, view
from support.service import Service
from support.transcript import assert_is_transcript

TEXT = 'Words, "quotes", é😀\r\n\u2028 and the end.'
PLAIN = {"Accept": "text/plain"}
HELLO = {"type": "text", "text": "Hello"}


def configuration(fake: Mapping[str, Any] | None = None, **sections: Any) -> Settings:
    values = {
        "kind": "fake",
        "text": TEXT,
        "reasoning": "Let me think.",
        "words_per_second": 0,
        "first_word_seconds": 0,
        "allow_faults": True,
        "attempts": 2,
        "backoff_seconds": 0.01,
        **(fake or {}),
    }
    return Settings(providers={"fake": msgspec.convert(values, FakeSettings)}, **sections)


def asked(*parts: Mapping[str, Any], chat: str = "chat-1", **fields: Any) -> bytes:
    """Return a body as `useChat` sends it."""
    message = {"id": "m1", "role": "user", "parts": list(parts) or [HELLO]}
    body = {"id": chat, "messages": [message], "trigger": "submit-message", **fields}
    return msgspec.json.encode(body)


@asynccontextmanager
async def posted(
    service: Service, body: bytes, headers: Mapping[str, str] | None = None, query: str = ""
) -> AsyncIterator[Answer]:
    with anyio.fail_after(10):
        async with view(
            service.port, f"/api/chat{query}", method="POST", headers=headers, body=body
        ) as answer:
            yield answer


async def post(
    service: Service, body: bytes, headers: Mapping[str, str] | None = None, query: str = ""
) -> Answer:
    async with posted(service, body, headers, query) as answer:
        await answer.body()
    return answer


async def resume(
    service: Service, chat: str = "chat-1", headers: Mapping[str, str] | None = None
) -> Answer:
    with anyio.fail_after(10):
        async with view(service.port, f"/api/chat/{quote(chat, safe='')}/stream", headers=headers) as answer:  # fmt: skip
            await answer.body()
    return answer


async def stop(service: Service, chat: str = "chat-1") -> int:
    answer = await service.client.post(f"/api/chat/{quote(chat, safe='')}/stop")
    return answer.status_code


def types(answer: Answer) -> list[str]:
    events = [event for event in parse(bytes(answer.raw)) if event.data != "[DONE]"]
    return [event.json["type"] for event in events]


# ---- Transcripts

ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "-length": {"max_tokens": 3},
    "-content-filter": {"fault": "content_filter"},
    "-failed": {"fault": "cut"},
    "-restart": {"fault": "restart"},
}


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_are_as_in_the_transcripts(serve: Serve, name: str) -> None:
    service = await serve(configuration())
    body = asked(**ANSWERS[name])
    answer = await post(service, body)
    assert answer.is_whole
    assert_is_transcript(bytes(answer.raw), f"ai-sdk{name}")
    plain = await post(service, body, PLAIN)
    assert plain.is_whole == (name == "")
    assert_is_transcript(bytes(plain.raw), f"plain{name}", is_whole=plain.is_whole)


async def test_a_stopped_answer_says_so(serve: Serve) -> None:
    service = await serve(configuration({"fault": "stall", "attempts": 1}))
    for name, headers, query in (("ai-sdk", {}, ""), ("plain", PLAIN, ""), ("plain", {}, "?format=plain")):  # fmt: skip
        async with posted(service, asked(), headers, query) as answer:
            await answer.raw_until("é😀".encode())
            assert await stop(service) == 204
            await answer.body()
        assert answer.is_whole == (name == "ai-sdk")
        assert_is_transcript(bytes(answer.raw), f"{name}-stopped", is_whole=answer.is_whole)


async def test_the_new_answer_of_a_rescue_is_had_alone_by_who_comes_back(serve: Serve) -> None:
    service = await serve(configuration())
    assert types(await post(service, asked(fault="restart")))[-1] == "error"
    assert_is_transcript(bytes((await resume(service)).raw), "ai-sdk-restart-resumed")


async def test_the_head_is_what_the_sdk_and_proxies_need(serve: Serve) -> None:
    service = await serve(configuration())
    answer = await post(service, asked())
    generation = answer.headers["x-generation-id"]
    assert {name: answer.headers[name] for name in answer.headers.keys() - {"date", "server"}} == {
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


# ---- What is to be had in a chat


async def test_there_is_nothing_to_resume_in_a_chat_that_is_idle(serve: Serve) -> None:
    service = await serve(configuration())
    idle = await resume(service)
    assert (idle.status, bytes(idle.raw)) == (204, b"")
    assert await stop(service) == 204
    with anyio.fail_after(5):
        async with view(service.port, "/api/chat/chat-1/stream", method="HEAD") as head:
            assert head.status == 200


async def test_without_a_grace_a_chat_is_idle_as_soon_as_its_answer_has_been_sent(
    serve: Serve,
) -> None:
    service = await serve(configuration(ai_sdk=AISDKSettings(grace_seconds=0)))
    for body in (asked(), asked(grace_seconds=0)):
        assert types(await post(service, body))[-1] == "finish"
        assert (await resume(service)).status == 204


@pytest.mark.promise("resume:honest")
async def test_an_answer_that_is_no_longer_kept_is_an_error_unless_it_was_sent_whole(
    serve: Serve,
) -> None:
    kept = GenerationSettings(keep_finished_seconds=0, keep_abandoned_seconds=0)
    service = await serve(configuration({"words_per_second": 100}, generations=kept))
    async with posted(service, asked(grace_seconds=0.01)) as answer:
        await answer.raw_until(b"text-delta")
    with anyio.fail_after(5):
        while len(service.log):
            await anyio.lowlevel.checkpoint()
    lost = await resume(service)
    assert (lost.status, bytes(lost.raw).decode()) == (410, CursorLost.message)
    assert types(await post(service, asked()))[-1] == "finish"
    with anyio.fail_after(5):
        while len(service.log):
            await anyio.lowlevel.checkpoint()
    assert (await resume(service)).status == 204


@pytest.mark.parametrize("chat", ["a/b", "é 😀", "a%2Fb", "x/stream", "?&#", "." * 3, "a" * 255])
async def test_any_id_that_the_sdk_takes_is_the_id_of_a_chat(serve: Serve, chat: str) -> None:
    service = await serve(configuration())
    await post(service, asked(chat=chat))
    again = await resume(service, chat)
    assert (again.status, types(again)[-1]) == (200, "finish")
    assert await stop(service, chat) == 204
    assert (await resume(service, chat)).status == 204


async def test_one_request_sent_twice_with_a_key_is_one_answer(serve: Serve) -> None:
    service = await serve(configuration({"words_per_second": 50}))
    headers = {"Idempotency-Key": "once"}
    async with posted(service, asked(), headers) as answer:
        await answer.raw_until(b"text-delta")
        again = await post(service, asked(), headers)
        assert await answer.body() == bytes(again.raw)
    assert len(service.log) == 1


# ---- What is asked


async def test_the_words_of_a_history_go_to_the_model_and_its_other_parts_stay(
    serve: Serve,
) -> None:
    service = await serve(configuration({"reply": "echo", "reasoning": ""}))
    silent = ["reasoning", "step-start", "source-url", "source-document", "data-status"]
    parts = [{"type": kind, "text": "hidden", "data": {}} for kind in silent]
    answer = await post(service, asked(*parts, {"type": "text", "text": "One "}, *parts, {"type": "text", "text": "two."}))  # fmt: skip
    said = [event.json.get("delta", "") for event in parse(bytes(answer.raw)) if event.data != "[DONE]"]  # fmt: skip
    assert "".join(said) == "One two."


async def test_an_answer_without_words_is_left_out_of_the_history(serve: Serve) -> None:
    service = await serve(configuration())
    history = [
        {"role": "system", "parts": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "parts": [HELLO]},
        {"role": "assistant", "parts": [{"type": "step-start"}]},
        {"role": "user", "parts": [HELLO]},
    ]
    body = msgspec.json.encode({"id": "a", "messages": history})
    assert types(await post(service, body))[-1] == "finish"


REFUSED: Mapping[str, tuple[bytes, int, str]] = {
    "file": (
        asked(HELLO, {"type": "file", "mediaType": "image/png", "url": "data:,"}),
        422,
        "Parts of the type 'file' are not supported. (messages[0].parts[1])",
    ),
    "tool": (
        asked({"type": "tool-weather", "toolCallId": "1", "state": "output-available"}),
        422,
        "Parts of the type 'tool-weather' are not supported. (messages[0].parts[0])",
    ),
    "text-is-no-text": (
        asked({"type": "text", "text": 5}),
        422,
        "Invalid 'messages[0].parts[0].text': expected string or null, got integer.",
    ),
    "empty": (asked({"type": "text", "text": " "}), 422, "The content is empty. (messages[0].content)"),
    "unknown-field": (asked(tools=[]), 422, "Unknown field 'tools'."),
    "grace": (asked(grace_seconds=1e6), 422, "The field 'grace_seconds' is at most 120."),
    "provider": (asked(provider="nobody"), 422, "Unknown 'provider' 'nobody'; configured are: fake."),
    "no-json": (b"{", 400, "The body is not JSON: it ends too early, at line 1, column 2."),
    "long-id": (asked(chat="a" * 256), 422, "Invalid 'id': expected string of length <= 255."),
    "trigger": (asked(trigger="x"), 422, "'trigger'; accepted: submit-message, regenerate-message."),
    "no-id": (b'{"messages": []}', 422, "The field 'id' is missing."),
}  # fmt: skip


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_wrong_is_a_sentence_in_plain_text(serve: Serve, name: str) -> None:
    """The hook shows the body of an error as it is."""
    body, status, sentence = REFUSED[name]
    service = await serve(configuration())
    answer = await post(service, body)
    assert answer.status == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert bytes(answer.raw).decode().endswith(sentence)
    assert len(service.log) == 0


@pytest.mark.promise("input:clear-error")
async def test_at_a_limit_new_answers_are_refused_and_an_idle_chat_is_idle(serve: Serve) -> None:
    limits = LimitSettings(max_viewers=1)
    service = await serve(configuration({"first_word_seconds": 60}, limits=limits))
    async with posted(service, asked()) as answer:
        await answer.event()
        for busy in (await post(service, asked(chat="b")), await resume(service)):
            assert busy.status == 503
            assert busy.headers["retry-after"] == "2"
            assert b"limits.max_viewers" in busy.raw
        assert (await resume(service, "b")).status == 204


@pytest.mark.promise("drain:no-loss")
async def test_while_it_drains_an_answer_can_still_be_resumed(serve: Serve) -> None:
    service = await serve(configuration({"first_word_seconds": 60}))
    async with posted(service, asked()) as answer, anyio.create_task_group() as tasks:
        await answer.event()
        tasks.start_soon(service.supervisor.drain, 60)
        with anyio.fail_after(5):
            while not service.supervisor.is_draining:
                await anyio.lowlevel.checkpoint()
        refused = await post(service, asked(chat="b"))
        assert (refused.status, b"shutting down" in refused.raw) == (503, True)
        with anyio.fail_after(5):
            async with view(service.port, "/api/chat/chat-1/stream") as back:
                assert (await back.event()).json["type"] == "start"
        tasks.cancel_scope.cancel()


async def test_a_page_of_another_origin_can_neither_ask_nor_stop(serve: Serve) -> None:
    service = await serve(configuration({"first_word_seconds": 60}))
    elsewhere = {"Origin": "https://elsewhere.test"}
    assert (await post(service, asked(), elsewhere)).status == 403
    async with posted(service, asked()) as answer:
        await answer.event()
        refused = await service.client.post("/api/chat/chat-1/stop", headers=elsewhere)
        assert refused.status_code == 403
        assert service.supervisor.running == 1


@pytest.mark.promise("alive:ping")
async def test_silence_is_filled_with_lone_comment_lines_and_plain_text_is_left_alone(
    serve: Serve,
) -> None:
    stream = StreamSettings(ping_seconds=0.02)
    service = await serve(configuration({"first_word_seconds": 0.1}, stream=stream))
    answer = await post(service, asked())
    assert re.match(rb"(data: [^\n]+\n\n){2}(: ka\n)+data: ", answer.raw)
    assert types(answer)[-1] == "finish"
    plain = await post(service, asked(), PLAIN)
    assert bytes(plain.raw).decode() == TEXT


# ---- Plain text from the native endpoints


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("how", ["accept", "format"])
async def test_plain_text_from_every_endpoint_is_whole_or_broken_off(
    serve: Serve, how: str
) -> None:
    service = await serve(configuration())
    headers, mark = (PLAIN, "") if how == "accept" else ({}, "format=plain")
    for fault, is_whole in (("none", True), ("cut", False), ("restart", False), ("unavailable", False)):  # fmt: skip
        for method, target, body in (
            ("GET", f"/stream-ai?prompt=Hello&fault={fault}&{mark}", None),
            ("POST", f"/v1/generations?{mark}", {"prompt": "Hello", "fault": fault}),
            ("POST", f"/api/chat?{mark}", {"id": "a", "messages": [{"role": "user", "parts": [HELLO]}], "fault": fault}),
        ):  # fmt: skip
            with anyio.fail_after(10):
                async with view(
                    service.port,
                    target,
                    method=method,
                    headers=headers,
                    body=msgspec.json.encode(body) if body else None,
                ) as answer:
                    said = (await answer.body()).decode()
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert answer.is_whole is is_whole
            assert said == TEXT if is_whole else TEXT.startswith(said)


@pytest.mark.promise("cancel:disconnect")
async def test_leaving_plain_text_stops_the_answer(serve: Serve) -> None:
    service = await serve(configuration({"words_per_second": 1, "reasoning": ""}))
    async with posted(service, asked(), PLAIN) as answer:
        await answer.raw_until(b"Words, ")
    with anyio.fail_after(5):
        while service.supervisor.running:
            await anyio.lowlevel.checkpoint()
    generation = answer.headers["x-generation-id"]
    snapshot = (await service.client.get(f"/v1/generations/{generation}")).json()
    assert snapshot["outcome"] == "no_viewers"


async def test_a_client_that_takes_anything_is_given_what_is_usual(serve: Serve) -> None:
    """Such as axios, which names plain text behind JSON."""
    service = await serve(configuration())
    anything = {"Accept": "application/json, text/plain, */*"}
    assert types(await post(service, asked(), anything))[-1] == "finish"
    created = await service.client.post("/v1/generations", json={"prompt": "x"}, headers=anything)
    assert created.status_code == 201


async def test_an_unknown_format_is_refused_by_name(serve: Serve) -> None:
    service = await serve(configuration())
    answer = await post(service, asked(), query="?format=json")
    assert answer.status == 422
    assert bytes(answer.raw).decode() == "Unknown 'format' 'json'; accepted: plain, ui."
