"""Chats of `/api/chat`: resume, stop, keys, limits and drains."""

import anyio
import msgspec
import pytest

from conftest import Serve
from streamsvc.config.settings import AISDKSettings, GenerationSettings, LimitSettings
from streamsvc.errors import CursorLost
from support.asking import answered, chat_stream
from support.eventstream import view
from support.native import until
from support.ui_messages import asked, configuration, post, posted, resume, stop, types


async def test_idle_chat_has_nothing_to_resume(serve: Serve) -> None:
    service = await serve(configuration())
    idle = await resume(service)
    assert (idle.status, bytes(idle.raw)) == (204, b"")
    assert await stop(service) == 204
    with anyio.fail_after(10):
        async with view(service.port, "/api/chat/chat-1/stream", method="HEAD") as head:
            assert head.status == 200


async def test_chat_without_a_grace_is_idle_after_its_answer(
    serve: Serve,
) -> None:
    service = await serve(configuration(ai_sdk=AISDKSettings(grace_seconds=0)))
    for body in (asked(), asked(grace_seconds=0)):
        assert types(await post(service, body))[-1] == "finish"
        assert (await resume(service)).status == 204


@pytest.mark.promise("resume:honest")
async def test_dropped_answer_is_an_error_unless_sent_whole(
    serve: Serve,
) -> None:
    kept = GenerationSettings(keep_finished_seconds=0, keep_abandoned_seconds=0)
    service = await serve(configuration({"words_per_second": 100}, generations=kept))
    async with posted(service, asked(grace_seconds=0.01)) as answer:
        await answer.raw_until(b"text-delta")
    await until(lambda: not len(service.log))
    lost = await resume(service)
    assert (lost.status, bytes(lost.raw).decode()) == (410, CursorLost.message)
    assert types(await post(service, asked()))[-1] == "finish"
    await until(lambda: not len(service.log))
    assert (await resume(service)).status == 204


@pytest.mark.parametrize("chat", ["a/b", "é 😀", "a%2Fb", "x/stream", "?&#", "." * 3, "a" * 255])
async def test_any_id_that_the_sdk_accepts_names_a_chat(serve: Serve, chat: str) -> None:
    service = await serve(configuration())
    await post(service, asked(chat=chat))
    again = await resume(service, chat)
    assert (again.status, types(again)[-1]) == (200, "finish")
    assert await stop(service, chat) == 204
    assert (await resume(service, chat)).status == 204


@pytest.mark.promise("resume:no-gap")
async def test_resumed_step_is_sent_with_the_steps_before(serve: Serve) -> None:
    """The first stream has the step alone: the page has the others. Plain text has no steps at all."""
    service = await serve(configuration({"reasoning": ""}))
    call = {
        "type": "tool-a",
        "toolCallId": "c",
        "state": "output-available",
        "input": {},
        "output": 1,
    }
    body = msgspec.json.decode(asked())
    body["messages"].append(
        {"id": "m2", "role": "assistant", "parts": [{"type": "step-start"}, call]}
    )
    posted_step = await post(service, msgspec.json.encode(body))
    again = await resume(service)
    start, *step = types(posted_step)
    earlier = [
        "start-step",
        "tool-input-start",
        "tool-input-delta",
        "tool-output-available",
        "finish-step",
    ]
    assert types(again) == [start, *earlier, *step]
    assert b'"messageId":"m2"' in posted_step.raw
    assert b'"messageId":"m2"' in again.raw
    plain = await answered(service.port, chat_stream("chat-1"), headers={"Accept": "text/plain"})
    assert bytes(plain.raw).decode() == "The result of a is 1"


async def test_request_sent_twice_with_a_key_is_one_answer(serve: Serve) -> None:
    service = await serve(configuration({"words_per_second": 50}))
    headers = {"Idempotency-Key": "once"}
    async with posted(service, asked(), headers) as answer:
        await answer.raw_until(b"text-delta")
        again = await post(service, asked(), headers)
        assert await answer.body() == bytes(again.raw)
    assert len(service.log) == 1


@pytest.mark.promise("input:clear-error")
async def test_limit_refuses_answers_but_an_idle_chat_stays_idle(serve: Serve) -> None:
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
async def test_answer_can_be_resumed_during_a_drain(serve: Serve) -> None:
    service = await serve(configuration({"first_word_seconds": 60}))
    async with posted(service, asked()) as answer, anyio.create_task_group() as tasks:
        await answer.event()
        tasks.start_soon(service.supervisor.drain, 60)
        await until(lambda: service.supervisor.is_draining)
        refused = await post(service, asked(chat="b"))
        assert (refused.status, b"shutting down" in refused.raw) == (503, True)
        with anyio.fail_after(10):
            async with view(service.port, "/api/chat/chat-1/stream") as back:
                assert (await back.event()).json["type"] == "start"
        tasks.cancel_scope.cancel()


async def test_page_of_another_origin_can_neither_ask_nor_stop(serve: Serve) -> None:
    service = await serve(configuration({"first_word_seconds": 60}))
    elsewhere = {"Origin": "https://elsewhere.test"}
    assert (await post(service, asked(), elsewhere)).status == 403
    async with posted(service, asked()) as answer:
        await answer.event()
        refused = await service.client.post("/api/chat/chat-1/stop", headers=elsewhere)
        assert refused.status_code == 403
        assert service.supervisor.running == 1
