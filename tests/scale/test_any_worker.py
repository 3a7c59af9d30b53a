"""What one worker makes, another one serves: the same bytes, the same limits, the same upstream call.

Two workers share a Redis server; each is `python -m streamsvc serve` in its own process. Everything is created on the
first, "here", and used on the second, "there".
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from support.asking import (
    CLIENTS,
    TEXT,
    Request,
    answered,
    chat_stream,
    entries,
    get,
    refusal_of,
    sent,
)
from support.eventstream import Answer, BrowserEvent, parse
from support.fleet import Place, Worker, fleet
from support.native import NEVER
from support.redis_servers import RedisServer
from support.transcript import assert_is_transcript
from support.upstreams import Call, Upstream, paced, upstream

pytestmark = pytest.mark.needs("valkey")

ASK = "/stream-ai?prompt=Hello"
MARK = "é😀"
"""In the last word that a held answer sends."""

FORMATS = {"native": "json", "text": "text", "plain": "plain"}
KEYED = ["native-get", "native", "text", "plain", "openai", "openai-whole", "ai-sdk"]
STREAMS = [name for name in CLIENTS if name != "openai-whole"]
GRACE_SECONDS = 0.5


@dataclass(frozen=True)
class Pair:
    """Two workers, and the model's API that both call as `paced`."""

    here: Worker
    there: Worker
    api: Upstream


@pytest.fixture(scope="module")
async def workers(
    valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    directory = tmp_path_factory.mktemp("fleet")
    async with upstream(paced(0.02)) as api:
        paced_entry = {"kind": "openai", "model": "m", "api_key_env": "", "base_url": api.url}
        sections = {
            **entries(),
            "providers.paced": dict[str, object](paced_entry),
            "log": dict[str, object](prefix="any-worker"),
        }
        async with fleet(directory, [Place(redis_url=valkey.url)] * 2, sections) as (here, there):
            yield Pair(here, there, api)
            for worker in (here, there):
                assert await worker.running.terminate() == 0


@pytest.fixture
def pair(workers: Pair) -> Iterator[Pair]:
    """Yield the workers, which log no warning or error during a test."""
    since = [len(worker.output) for worker in (workers.here, workers.there)]
    yield workers
    for worker, begin in zip((workers.here, workers.there), since, strict=True):
        worker.running.assert_quiet(since=begin)


def events_of(generation: str, format_name: str = "json") -> Request:
    return get(f"/v1/generations/{generation}/events?format={format_name}")


def generation_of(answer: Answer) -> str:
    return answer.headers["x-generation-id"]


async def stop(worker: Worker, generation: str) -> Any:
    """Stop a generation through a worker; return the snapshot."""
    answer = await worker.client.post(f"/v1/generations/{generation}/stop")
    assert answer.status_code == 200
    return answer.json()


async def snapshot(worker: Worker, generation: str) -> Any:
    answer = await worker.client.get(f"/v1/generations/{generation}")
    assert answer.status_code == 200
    return answer.json()


# Bytes


@pytest.mark.promise("scale:any-worker")
@pytest.mark.parametrize("name", FORMATS)
async def test_running_answer_has_the_same_bytes_there(pair: Pair, name: str) -> None:
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(
            sent(pair.here.port, CLIENTS["native"].request("held"))
        )
        generation = generation_of(here)
        viewers = [
            await stack.enter_async_context(sent(port, events_of(generation, FORMATS[name])))
            for port in (pair.there.port, pair.here.port)
        ]
        for viewer in (here, *viewers):
            await viewer.raw_until(MARK.encode())
        stopped = await stop(pair.there, generation)
        bodies = [await viewer.body() for viewer in viewers]
        assert bodies[0] == bodies[1]
        assert_is_transcript(bodies[0], f"serve/{name}-stopped", is_whole=viewers[0].is_whole)
        assert stopped["outcome"] == "client_stop"


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.parametrize("name", KEYED)
async def test_key_of_here_attaches_there(pair: Pair, name: str) -> None:
    """Also in the dialects without an address for their events."""
    client = CLIENTS[name]
    key = {"Idempotency-Key": f"key of {name}"}
    first = await answered(pair.here.port, client.request(), headers=key)
    again = await answered(pair.there.port, client.request(), headers=key)
    assert first.status == again.status == 200
    assert first.raw == again.raw
    assert generation_of(first) == generation_of(again)
    assert_is_transcript(bytes(again.raw), f"serve/{client.transcript}-completed")
    refused = await answered(pair.there.port, client.request("held"), headers=key)
    assert refusal_of(refused, client.shape)[0] in {400, 422}


@pytest.mark.promise("scale:any-worker")
async def test_key_used_on_both_at_once_starts_one_answer(pair: Pair) -> None:
    key = {"Idempotency-Key": "at once"}
    generations: set[str] = set()

    async def ask(worker: Worker) -> None:
        answer = await answered(worker.port, CLIENTS["native"].request(), headers=key)
        assert answer.status == 200
        generations.add(generation_of(answer))

    async with anyio.create_task_group() as tasks:
        for worker in (pair.here, pair.there) * 4:
            tasks.start_soon(ask, worker)
    assert len(generations) == 1


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("resume:no-gap")
async def test_every_cursor_resumes_there(pair: Pair) -> None:
    whole = await answered(pair.here.port, get(ASK))
    generation, events = generation_of(whole), parse(bytes(whole.raw))
    for at, event in enumerate(events[:-1]):
        header = {"Last-Event-ID": event.last_event_id}
        for request in (get(ASK), events_of(generation)):
            answer = await answered(pair.there.port, request, headers=header)
            assert (answer.status, parse(bytes(answer.raw))) == (200, events[at + 1 :])
    header = {"Last-Event-ID": events[-1].last_event_id}
    assert (await answered(pair.there.port, get(ASK), headers=header)).status == 204


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("resume:no-gap")
async def test_running_answer_resumes_there_at_its_last_word(pair: Pair) -> None:
    """The viewer has words that are not stored yet; it gets no word twice, and none is missing."""
    request = CLIENTS["native"].request("paced", grace_seconds=20)
    async with sent(pair.here.port, request) as answer:
        generation = generation_of(answer)
        events = [await answer.event() for _ in range(5)]
    for worker in (pair.there, pair.here, pair.there):
        header = {"Last-Event-ID": events[-1].last_event_id}
        async with sent(worker.port, events_of(generation), headers=header) as answer:
            events += [await answer.event() for _ in range(5)]
    await stop(pair.there, generation)
    assert [event.seq for event in events] == list(range(20))


@pytest.mark.promise("scale:any-worker")
async def test_snapshot_is_the_same_there(pair: Pair) -> None:
    async with sent(pair.here.port, CLIENTS["native"].request("held")) as answer:
        generation = generation_of(answer)
        async with sent(pair.there.port, events_of(generation)) as viewer:
            await viewer.raw_until(MARK.encode())  # so it is stored
            running = await snapshot(pair.there, generation)
            assert running == await snapshot(pair.here, generation)
            assert running["status"] == "running"
            assert MARK in running["text"]
            stopped = await stop(pair.there, generation)
            assert stopped == await snapshot(pair.there, generation)
            assert stopped == await snapshot(pair.here, generation)
    whole = await answered(pair.here.port, get(ASK))
    finished = await snapshot(pair.there, generation_of(whole))
    assert (finished["status"], finished["text"]) == ("completed", TEXT)
    assert finished == await snapshot(pair.here, generation_of(whole))


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("resume:honest")
async def test_unknown_generation_is_unknown_there_too(pair: Pair) -> None:
    for path in ("", "/events"):
        missing = await pair.there.client.get(f"/v1/generations/{NEVER}{path}")
        assert (missing.status_code, missing.json()["code"]) == (404, "generation_not_found")
    answer = await answered(
        pair.there.port, events_of(NEVER), headers={"Last-Event-ID": f"{NEVER}.4"}
    )
    [done] = parse(bytes(answer.raw))
    assert done.json["error"]["code"] == "not_resumable"


# useChat


@pytest.mark.promise("scale:any-worker")
async def test_chat_of_here_resumes_and_stops_there(pair: Pair) -> None:
    chat = "a chat of two workers"
    client = CLIENTS["ai-sdk"]
    async with sent(pair.here.port, client.request("held", chat=chat)) as answer:
        begun = await answer.raw_until(MARK.encode())
        async with sent(pair.there.port, chat_stream(chat)) as replay:
            assert await replay.raw_until(MARK.encode()) == begun
            assert (await pair.there.client.post(f"/api/chat/{chat}/stop")).status_code == 204
            body = await replay.body()
            assert body == await answer.body()
    assert_is_transcript(body, "serve/ai-sdk-stopped")
    assert (await answered(pair.there.port, chat_stream(chat))).status == 204


@pytest.mark.promise("scale:any-worker")
async def test_finished_chat_replays_there(pair: Pair) -> None:
    answer = await answered(pair.here.port, CLIENTS["ai-sdk"].request(chat="sent here"))
    replay = await answered(pair.there.port, chat_stream("sent here"))
    assert (replay.status, replay.raw) == (200, answer.raw)


@pytest.mark.promise("scale:any-worker")
async def test_next_question_there_stops_the_answer_here(pair: Pair) -> None:
    client = CLIENTS["ai-sdk"]
    async with sent(pair.here.port, client.request("paced", chat="two questions")) as before:
        call = await newest_call(pair, before)
        after = await answered(pair.there.port, client.request(chat="two questions"))
        assert after.raw.endswith(b"data: [DONE]\n\n")
        assert b'{"type":"abort"' in await before.body()
        await closed(call)


# The upstream's socket


async def newest_call(pair: Pair, answer: Answer) -> Call:
    """Return the call for an answer, once a word has come from it."""
    await answer.raw_until(b"word")
    return pair.api.calls[-1]


async def closed(call: Call) -> None:
    """Wait until the upstream sees its connection close."""
    with anyio.fail_after(10):
        await call.closed.wait()


async def words(answer: Answer, count: int) -> list[BrowserEvent]:
    """Return the next events with a word."""
    events: list[BrowserEvent] = []
    while len(events) < count:
        event = await answer.event()
        events += [event] if event.type == "message" else []
    return events


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize("name", STREAMS)
async def test_stop_there_closes_the_upstream_call(pair: Pair, name: str) -> None:
    async with sent(pair.here.port, CLIENTS[name].request("paced")) as answer:
        call = await newest_call(pair, answer)
        assert (await stop(pair.there, generation_of(answer)))["outcome"] == "client_stop"
        await closed(call)
        await answer.body()


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("cancel:stop")
async def test_chat_stopped_there_closes_the_upstream_call(pair: Pair) -> None:
    request = CLIENTS["ai-sdk"].request("paced", chat="stopped there")
    async with sent(pair.here.port, request) as answer:
        call = await newest_call(pair, answer)
        stopped = await pair.there.client.post("/api/chat/stopped%20there/stop")
        assert stopped.status_code == 204
        await closed(call)
        assert b'{"type":"abort"' in await answer.body()


Leave = Callable[[Pair], tuple[Worker, Worker]]
ORDERS: dict[str, Leave] = {
    "there": lambda pair: (pair.here, pair.there),
    "here": lambda pair: (pair.there, pair.here),
}


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("last", ORDERS)
async def test_last_viewer_leaving_closes_the_call(pair: Pair, last: str) -> None:
    """Viewers on both workers count together; without a grace period the last one ends the call, wherever it is."""
    first, second = ORDERS[last](pair)
    body = {"prompt": "hi", "provider": "paced"}
    generation = (await pair.here.client.post("/v1/generations", json=body)).json()["id"]
    async with sent(second.port, events_of(generation)) as staying:
        call = await newest_call(pair, staying)
        async with sent(first.port, events_of(generation)) as leaving:
            await words(leaving, 2)
        await words(staying, 10)
        assert not call.closed.is_set()
    await closed(call)
    await pair.here.running.logged(rf"finished id={generation} .*outcome=no_viewers")


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("cancel:disconnect")
async def test_only_viewer_there_is_the_first_and_the_last(pair: Pair) -> None:
    body = {"prompt": "hi", "provider": "paced"}
    created = await pair.here.client.post("/v1/generations", json=body)
    async with sent(pair.there.port, events_of(created.json()["id"])) as viewer:
        call = await newest_call(pair, viewer)
    await closed(call)


@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("cancel:disconnect")
async def test_grace_period_begins_when_the_last_viewer_there_leaves(pair: Pair) -> None:
    request = CLIENTS["native"].request("paced", grace_seconds=GRACE_SECONDS)
    async with sent(pair.here.port, request) as creator:
        call = await newest_call(pair, creator)
        there = events_of(generation_of(creator))
        async with sent(pair.there.port, there) as first:
            await words(first, 1)
    async with sent(pair.there.port, there) as back:  # in time
        await words(back, 1)
        left_at = anyio.current_time()
    await closed(call)
    assert call.closed_at is not None
    assert call.closed_at - left_at >= GRACE_SECONDS
