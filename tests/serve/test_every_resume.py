"""Each way to resume an answer of `python -m streamsvc serve` in its own process."""

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
from support.eventstream import BrowserEvent, parse
from support.native import NEVER
from support.process import Running
from support.shared import quiet_service, shared_process

ASK = "/stream-ai?prompt=Hello"
KEYED = ["native-get", "native", "text", "plain", "openai", "openai-whole", "ai-sdk"]

process = shared_process(entries(), {"GENERATIONS__GRACE_SECONDS": "60"})
service = quiet_service()


async def finished(service: Running) -> tuple[str, list[BrowserEvent]]:
    """Read a whole answer; return its generation and its events."""
    answer = await answered(service.port, get(ASK))
    return answer.headers["x-generation-id"], parse(bytes(answer.raw))


def returns(generation: str, cursor: str) -> dict[str, tuple[Request, dict[str, str]]]:
    """Return each request that resumes a native stream, and its headers."""
    header = {"Last-Event-ID": cursor}
    events = f"/v1/generations/{generation}/events"
    posted = CLIENTS["native"].request()
    return {
        "EventSource": (get(ASK), header),
        "EventSource by parameter": (get(f"{ASK}&last_event_id={cursor}"), {}),
        "events": (get(events), header),
        "events by parameter": (get(f"{events}?last_event_id={cursor}"), {}),
        "POST": (posted, header),
    }


WAYS = list(returns("", ""))


@pytest.mark.promise("resume:no-gap")
@pytest.mark.parametrize("way", WAYS)
async def test_cursor_gets_the_rest_and_then_204(service: Running, way: str) -> None:
    generation, events = await finished(service)
    for at, event in enumerate(events[:-1]):
        request, headers = returns(generation, event.last_event_id)[way]
        answer = await answered(service.port, request, headers=headers)
        assert (answer.status, parse(bytes(answer.raw))) == (200, events[at + 1 :])
    request, headers = returns(generation, events[-1].last_event_id)[way]
    assert (await answered(service.port, request, headers=headers)).status == 204


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.parametrize("way", WAYS)
async def test_lost_connection_resumes_while_the_model_writes(service: Running, way: str) -> None:
    async with sent(service.port, CLIENTS["native"].request("held")) as answer:
        generation = answer.headers["x-generation-id"]
        events = [await answer.event() for _ in range(3)]
    request, headers = returns(generation, events[-1].last_event_id)[way]
    async with sent(service.port, request, headers=headers) as answer:
        assert answer.headers["x-generation-id"] == generation
        events += [await answer.event() for _ in range(4)]
        assert (await service.client.post(f"/v1/generations/{generation}/stop")).status_code == 200
        events += await answer.events()
        assert answer.is_whole
    assert [event.seq for event in events] == list(range(8))
    assert events[-1].json["outcome"] == "client_stop"


@pytest.mark.promise("resume:honest")
@pytest.mark.parametrize("way", WAYS)
async def test_cursor_of_a_lost_answer_is_not_resumable(service: Running, way: str) -> None:
    request, headers = returns(NEVER, f"{NEVER}.4")[way]
    answer = await answered(service.port, request, headers=headers)
    [done] = parse(bytes(answer.raw))
    assert (answer.status, done.json["error"]["code"]) == (200, "not_resumable")
    request, headers = returns(NEVER, done.last_event_id)[way]
    assert (await answered(service.port, request, headers=headers)).status == 204


@pytest.mark.promise("resume:honest")
async def test_foreign_cursor_creates_nothing(service: Running) -> None:
    answer = await answered(service.port, get(f"{ASK}&last_event_id=7"))
    [done] = parse(bytes(answer.raw))
    assert done.json["error"]["code"] == "not_resumable"
    posted = CLIENTS["native"].request()
    answer = await answered(service.port, posted, headers={"Last-Event-ID": "7"})
    assert refusal_of(answer, "problem") == (422, "invalid_field")
    generation, events = await finished(service)
    answer = await answered(
        service.port, get(f"/v1/generations/{generation}/events?last_event_id=7")
    )
    assert parse(bytes(answer.raw)) == events


@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.parametrize("name", KEYED)
async def test_key_attaches_to_its_first_request_and_no_other(service: Running, name: str) -> None:
    client = CLIENTS[name]
    key = {"Idempotency-Key": f"key of {name}"}
    first, again = [await answered(service.port, client.request(), headers=key) for _ in range(2)]
    assert first.status == again.status == 200
    assert first.raw == again.raw
    assert first.headers["x-generation-id"] == again.headers["x-generation-id"]
    refused = await answered(service.port, client.request("held"), headers=key)
    status, code = refusal_of(refused, client.shape)
    assert status in {400, 422}
    assert code in {"invalid_field", None}


@pytest.mark.promise("resume:no-gap")
async def test_use_chat_replays_a_running_answer(service: Running) -> None:
    chat = "a chat of ours"
    async with sent(service.port, CLIENTS["ai-sdk"].request("held", chat=chat)) as answer:
        begun = await answer.raw_until("é😀".encode())
    async with sent(service.port, chat_stream(chat)) as replay:
        assert (await replay.raw_until("é😀".encode())).startswith(begun)
        assert (await service.client.post(f"/api/chat/{chat}/stop")).status_code == 204
        body = await replay.body()
        assert replay.is_whole
    assert b'{"type":"abort"' in body
    assert body.endswith(b"data: [DONE]\n\n")
    assert (await answered(service.port, chat_stream(chat))).status == 204


@pytest.mark.promise("resume:no-gap")
async def test_use_chat_replays_an_answer_that_may_be_lost(service: Running) -> None:
    answer = await answered(service.port, CLIENTS["ai-sdk"].request(chat="sent"))
    assert answer.raw.endswith(b'{"type":"finish","finishReason":"stop"}\n\ndata: [DONE]\n\n')
    replay = await answered(service.port, chat_stream("sent"))
    assert (replay.status, replay.raw) == (200, answer.raw)
    assert (await answered(service.port, chat_stream("never asked"))).status == 204


@pytest.mark.promise("fan-out:shared")
async def test_snapshot_has_the_text_that_viewers_got(service: Running) -> None:
    generation, events = await finished(service)
    snapshot = (await service.client.get(f"/v1/generations/{generation}")).json()
    assert (snapshot["status"], snapshot["text"]) == ("completed", TEXT)
    assert snapshot["last_event_id"] == events[-1].last_event_id
