"""Each way to stop an answer, against `python -m streamsvc serve` as a process of its own."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import anyio
import pytest

from support.asking import CLIENTS, entries, get, sent
from support.eventstream import wire
from support.process import Running, serve, write_config
from support.transcript import assert_is_transcript

STREAMS = [name for name in CLIENTS if name != "openai-whole"]
FORMATS = {"native": "json", "text": "text", "plain": "plain"}
CHATS = [name for name, client in CLIENTS.items() if client.wraps == "chat"]


@pytest.fixture(scope="module")
async def process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    directory = tmp_path_factory.mktemp("serve")
    write_config(directory, entries())
    async with serve(directory, {"AI_SDK__GRACE_SECONDS": "0"}) as running:
        yield running
        assert await running.terminate() == 0


@pytest.fixture
def service(process: Running) -> Iterator[Running]:
    """Give the process of the module, which complains of nothing."""
    since = len(process.output)
    yield process
    process.assert_quiet(since=since)


async def until_running(service: Running, count: int) -> None:
    """Wait until as many answers are being written."""
    while (await service.client.get("/readyz")).json()["generations"] != count:
        pass


@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize("name", STREAMS)
async def test_a_stop_is_told_to_the_viewer_in_its_dialect(service: Running, name: str) -> None:
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
    """Two of each, who follow at the same place: all get the bytes that one alone gets."""
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
async def test_a_stop_of_a_chat_is_told_in_its_dialect(service: Running, name: str) -> None:
    client = CLIENTS[name]
    async with sent(service.port, client.request("held", chat=name)) as answer:
        await answer.raw_until("é😀".encode())
        for _ in range(2):  # again, and nothing happens
            assert (await service.client.post(f"/api/chat/{name}/stop")).status_code == 204
        body = await answer.body()
    assert_is_transcript(body, f"serve/{client.transcript}-stopped", is_whole=answer.is_whole)
    await service.logged(f"id={answer.headers['x-generation-id']} .*outcome=client_stop")


@pytest.mark.promise("cancel:stop")
async def test_the_next_question_of_a_chat_stops_the_answer_before(service: Running) -> None:
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
async def test_leaving_before_the_answer_in_one_piece_stops_it(service: Running) -> None:
    since = len(service.output)
    body = json.dumps(CLIENTS["openai-whole"].request("held").body).encode()
    with anyio.fail_after(20):
        async with wire(service.port) as connection:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            await connection.send(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
            await until_running(service, 1)
        await until_running(service, 0)
        await service.logged("outcome=no_viewers", since=since)
