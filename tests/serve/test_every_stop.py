"""Each way to stop an answer of `python -m streamsvc serve` in its own process."""

import json
from contextlib import AsyncExitStack

import anyio
import pytest

from support.asking import CLIENTS, entries, get, sent
from support.eventstream import wire
from support.process import Running
from support.shared import quiet_service, shared_process
from support.transcript import assert_is_transcript

STREAMS = [name for name in CLIENTS if name != "openai-whole"]
FORMATS = {"native": "json", "text": "text", "plain": "plain"}
CHATS = [name for name, client in CLIENTS.items() if client.wraps == "chat"]


process = shared_process(entries(), {"AI_SDK__GRACE_SECONDS": "0"})
service = quiet_service()


async def until_running(service: Running, count: int) -> None:
    """Wait until this many generations are running."""
    while (await service.client.get("/readyz")).json()["generations"] != count:
        pass


@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize("name", STREAMS)
async def test_stop_is_reported_to_the_viewer_in_its_dialect(service: Running, name: str) -> None:
    client = CLIENTS[name]
    async with sent(service.port, client.request("held")) as answer:
        generation = answer.headers["x-generation-id"]
        await answer.raw_until("é😀".encode())
        stopped = await service.client.post(f"/v1/generations/{generation}/stop")
        assert stopped.json()["outcome"] == "client_stop"
        body = await answer.body()
    assert answer.is_whole == (client.transcript != "plain")
    assert_is_transcript(body, f"serve/{client.transcript}-stopped", is_whole=answer.is_whole)
    await service.logged(f"generation.finished id={generation} .*outcome=client_stop")


@pytest.mark.promise("fan-out:shared")
async def test_viewers_in_several_dialects_share_an_answer(service: Running) -> None:
    """Two in each dialect, at the same event: all get the bytes that a single viewer gets."""
    names = [*FORMATS] * 2
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(
            sent(service.port, CLIENTS["native"].request("held"))
        )
        generation = first.headers["x-generation-id"]
        events = f"/v1/generations/{generation}/events"
        viewers = [
            await stack.enter_async_context(
                sent(service.port, get(f"{events}?format={FORMATS[name]}"))
            )
            for name in names
        ]
        for viewer in (first, *viewers):
            await viewer.raw_until("é😀".encode())
        await service.client.post(f"/v1/generations/{generation}/stop")
        for name, viewer in zip(["native", *names], (first, *viewers), strict=True):
            body = await viewer.body()
            assert_is_transcript(body, f"serve/{name}-stopped", is_whole=viewer.is_whole)


@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize("name", CHATS)
async def test_stop_of_a_chat_is_reported_in_its_dialect(service: Running, name: str) -> None:
    client = CLIENTS[name]
    async with sent(service.port, client.request("held", chat=name)) as answer:
        await answer.raw_until("é😀".encode())
        for _ in range(2):  # the second changes nothing
            assert (await service.client.post(f"/api/chat/{name}/stop")).status_code == 204
        body = await answer.body()
    assert_is_transcript(body, f"serve/{client.transcript}-stopped", is_whole=answer.is_whole)
    await service.logged(f"id={answer.headers['x-generation-id']} .*outcome=client_stop")


@pytest.mark.promise("cancel:stop")
async def test_next_question_of_a_chat_stops_the_running_answer(service: Running) -> None:
    client = CLIENTS["ai-sdk"]
    async with sent(service.port, client.request("held", chat="one")) as before:
        await before.raw_until("é😀".encode())
        async with sent(service.port, client.request(chat="one")) as after:
            assert (await after.body()).endswith(b"data: [DONE]\n\n")
        assert b'{"type":"abort"' in await before.body()


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("name", STREAMS)
async def test_leaving_stops_the_answer(service: Running, name: str) -> None:
    async with sent(service.port, CLIENTS[name].request("held")) as answer:
        generation = answer.headers["x-generation-id"]
        await answer.raw_until("é😀".encode())
    await service.logged(f"generation.finished id={generation} .*outcome=no_viewers")


@pytest.mark.promise("cancel:disconnect")
async def test_leaving_before_an_unstreamed_answer_stops_it(service: Running) -> None:
    since = len(service.output)
    body = json.dumps(CLIENTS["openai-whole"].request("held").body).encode()
    with anyio.fail_after(20):
        async with wire(service.port) as connection:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            await connection.send(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
            await until_running(service, 1)
        await until_running(service, 0)
        await service.logged("outcome=no_viewers", since=since)
