"""What a client gets at a limit of its principal, and when the limit lets it in again."""

import logging

import anyio
import msgspec
import pytest

from conftest import Serve
from streamsvc.config.guard_settings import PrincipalLimits
from streamsvc.config.settings import LimitSettings, Settings, StreamSettings
from support.asking import fetch
from support.chat_completions import ASKED, assert_is_error, post
from support.chat_completions import CREATE as CHAT
from support.eventstream import EventStreamParser, view
from support.native import (
    ASK,
    CREATE,
    HURRIED,
    QUESTION,
    SILENT,
    SLOW,
    STREAM,
    at_once,
    created,
    creates,
    events_of,
    follow,
    until,
    until_viewers_are,
    with_fake,
)
from support.service import Service
from support.ui_messages import asked as ui_asked

pytestmark = pytest.mark.promise("door:bounded")

UI_CHAT = "/api/chat"

SPENT = with_fake(HURRIED, principal_limits=PrincipalLimits(requests_per_minute=1))
"""Each client may ask once a minute."""


def at_most(fake: object = SILENT, **limits: int) -> Settings:
    return with_fake(fake, principal_limits=PrincipalLimits(**limits))  # type: ignore[arg-type]


async def spent(serve: Serve) -> Service:
    """Return a service whose only request of this minute has just been made."""
    service = await serve(SPENT)
    await created(service)
    return service


async def test_native_refusal_says_which_limit_and_when(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    service = await spent(serve)
    with creates(service, 0):
        for headers in ({}, STREAM):
            refused = await service.client.post(CREATE, json=QUESTION, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            wait = int(refused.headers["retry-after"])
            assert 50 <= wait <= 60
            detail = refused.json()["detail"]
            assert detail == (
                "The limit of requests per minute is reached (principal_limits.requests_per_minute: 1);"
                f" try again in {wait} s."
            )
    assert "code=rate_limited" in caplog.text
    assert "limit=principal_limits.requests_per_minute" in caplog.text


async def test_openai_refusal_is_a_rate_limit_error(serve: Serve) -> None:
    service = await spent(serve)
    answer, body = await post(service, ASKED)
    assert_is_error(answer, body, 429, None, "rate_limit_exceeded")
    assert body["error"]["type"] == "requests"
    assert 50 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["x-should-retry"] == "true"


async def test_chat_refusal_is_a_sentence(serve: Serve) -> None:
    service = await spent(serve)
    refused = await service.client.post(UI_CHAT, content=ui_asked())
    assert refused.status_code == 429
    assert refused.text.startswith("The limit of requests per minute is reached")
    assert 50 <= int(refused.headers["retry-after"]) <= 60


async def test_event_source_is_told_to_come_back_at_the_right_time(serve: Serve) -> None:
    service = await spent(serve)
    with creates(service, 0):
        async with view(service.port, ASK) as viewer:
            assert viewer.status == 200
            body = await viewer.body()
    parser = EventStreamParser()
    assert parser.feed(body) == []
    assert parser.retry_ms is not None
    assert 50_000 <= parser.retry_ms <= 60_000
    assert body == b"retry: %d\n: rate_limited\n" % parser.retry_ms


async def test_browser_that_comes_back_then_is_let_in(serve: Serve) -> None:
    service = await serve(at_most(HURRIED, requests_per_minute=60))
    body, parser = b"", EventStreamParser()
    with anyio.fail_after(20):
        while b": rate_limited" not in body:
            async with view(service.port, ASK) as viewer:
                body = await viewer.body()
        parser.feed(body)
        assert parser.retry_ms is not None
        assert parser.retry_ms <= 1000
        await anyio.sleep(parser.retry_ms / 1000)
        _, events = await follow(service, ASK)
    assert events[-1].type == "done"


async def test_limit_in_all_names_no_figure(serve: Serve) -> None:
    settings = with_fake(HURRIED, limits=LimitSettings(requests_per_minute=1))
    service = await serve(settings)
    await created(service)
    refused = await service.client.post(CREATE, json=QUESTION)
    assert refused.json()["detail"].startswith(
        "The limit of requests per minute is reached (limits.requests_per_minute); try again in "
    )


async def test_generations_at_once(serve: Serve) -> None:
    service = await serve(at_most(max_generations=1))
    generation = await created(service)
    refused = await service.client.post(CREATE, json=QUESTION)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert (
        "answers at once is reached (principal_limits.max_generations: 1); try again later"
        in refused.json()["detail"]
    )
    await service.client.post(f"{CREATE}/{generation}/stop")
    await created(service)


async def test_viewers_at_once(serve: Serve) -> None:
    settings = with_fake(
        SILENT,
        principal_limits=PrincipalLimits(max_viewers=1),
        stream=StreamSettings(retry_ms=1000),
    )
    service = await serve(settings)
    with anyio.fail_after(10):
        async with view(service.port, ASK) as first:
            cursor = {"Last-Event-ID": (await first.event()).last_event_id}
            for target, headers in ((ASK, {}), (ASK, cursor), (first.headers["location"], {})):
                async with view(service.port, target, headers=headers) as second:
                    body = await second.body()
                    assert (second.status, b": rate_limited\n" in body) == (200, True)
            for target, asked in ((CREATE, QUESTION), (CHAT, ASKED), (UI_CHAT, None)):
                content = ui_asked() if asked is None else msgspec.json.encode(asked)
                with creates(service, 0):
                    refused = await service.client.post(target, content=content, headers=STREAM)
                    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
            await created(service)  # which nobody watches
        await until_viewers_are(service, 0)
        async with view(service.port, ASK) as last:
            assert (await last.event()).type == "start"
            last.wire.reset()  # its client is lost
        await until_viewers_are(service, 0)
        async with view(service.port, ASK) as last:
            assert (await last.event()).type == "start"


async def test_refusal_after_a_place_was_kept_gives_the_place_back(serve: Serve) -> None:
    service = await serve(at_most(requests_per_minute=1, max_viewers=1))
    generation = await created(service)
    for _ in range(3):
        refused = await service.client.post(CREATE, json=QUESTION, headers=STREAM)
        assert "of requests per minute is" in refused.json()["detail"]
    async with view(service.port, events_of(generation)) as viewer:
        assert (await viewer.event()).type == "start"


async def test_stopped_answer_gives_unused_tokens_back(serve: Serve) -> None:
    """Its client leaves, and only the words that it has got are charged."""
    settings = with_fake(
        SLOW,
        principal_limits=PrincipalLimits(tokens_per_minute=1000),
        limits=LimitSettings(reserve_tokens=600),
    )
    service = await serve(settings)
    with anyio.fail_after(20):
        for _ in range(3):
            async with view(service.port, ASK) as viewer:
                while (await viewer.event()).type != "message":
                    pass
                refused = await service.client.post(CREATE, json=QUESTION)
                assert refused.status_code == 429
                assert "of tokens per minute is" in refused.json()["detail"]
            await until(lambda: service.supervisor.running == 0)
        await created(service)


async def test_usage_beyond_the_reservation_is_a_debt(serve: Serve) -> None:
    fake = at_once("word " * 500)
    settings = with_fake(
        fake,
        principal_limits=PrincipalLimits(tokens_per_minute=600),
        limits=LimitSettings(reserve_tokens=10),
    )
    service = await serve(settings)
    for _ in range(2):
        await follow(service, ASK)
    refused = await service.client.post(CREATE, json=QUESTION)
    # About 1000 tokens are used, and 11 more must fit into 600.
    assert 35 <= int(refused.headers["retry-after"]) <= 60


async def test_repeat_with_the_same_key_costs_nothing(serve: Serve) -> None:
    service = await serve(SPENT)
    key = {"Idempotency-Key": "one"}
    first = await service.client.post(CREATE, json=QUESTION, headers=key)
    assert first.status_code == 201
    for _ in range(3):
        repeated = await service.client.post(CREATE, json=QUESTION, headers=key)
        assert repeated.json()["id"] == first.json()["id"]
    other = await service.client.post(CREATE, json=QUESTION, headers={"Idempotency-Key": "other"})
    assert other.status_code == 429


async def test_refused_requests_cost_nothing(serve: Serve) -> None:
    service = await serve(SPENT)
    for body in ({}, {"prompt": ""}, {**QUESTION, "provider": "none"}, {**QUESTION, "no": 1}):
        refused = await service.client.post(CREATE, json=body)
        assert refused.status_code == 422
    assert (await fetch(service.port, CREATE, method="POST", body=b"{")).status == 400
    await created(service)


async def test_reading_costs_nothing(serve: Serve) -> None:
    service = await serve(SPENT)
    generation = await created(service)
    for _ in range(3):
        assert (await follow(service, events_of(generation)))[1][-1].type == "done"
        assert (await service.client.get(f"{CREATE}/{generation}")).is_success
        assert (await service.client.post(f"{CREATE}/{generation}/stop")).is_success
