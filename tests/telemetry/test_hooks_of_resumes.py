"""What the hooks report of clients that come back, by what they get."""

import pytest

from conftest import Serve
from streamsvc.hooks import Resumed
from support.logged import Heard
from support.native import ASK, HURRIED, NEVER, with_fake
from support.service import Service

MESSAGE = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
RECORDS = 7
"""Of an answer in five words, with `start` and `done`."""


@pytest.fixture
async def service(serve: Serve) -> Service:
    return await serve(with_fake(HURRIED))


@pytest.fixture
def heard(service: Service) -> Heard:
    return Heard(service.app.state.hooks)


async def answered(service: Service) -> str:
    """Return the generation of a complete answer."""
    answer = await service.client.get(ASK)
    return answer.headers["x-generation-id"]


def resumed(heard: Heard) -> list[tuple[str, int]]:
    return [(it.result, it.replayed) for it in heard.of(Resumed)]


@pytest.mark.parametrize(
    ("seq", "expected"), [(2, ("resumed", RECORDS - 3)), (RECORDS - 1, ("complete", 0))]
)
async def test_cursor_gets_the_rest_or_nothing(
    service: Service, heard: Heard, seq: int, expected: tuple[str, int]
) -> None:
    generation = await answered(service)
    await service.client.get(ASK, headers={"Last-Event-ID": f"{generation}.{seq}"})
    assert resumed(heard) == [expected]
    assert heard.one(Resumed).generation == generation


@pytest.mark.parametrize("cursor", ["nonsense", f"{NEVER}.3"])
@pytest.mark.parametrize("path", [ASK, f"/v1/generations/{NEVER}/events"])
async def test_cursor_of_no_answer_is_gone(
    service: Service, heard: Heard, path: str, cursor: str
) -> None:
    response = await service.client.get(path, headers={"Last-Event-ID": cursor})
    is_refused = cursor == "nonsense" and path != ASK  # without a cursor, it is an unknown address
    assert response.status_code == (404 if is_refused else 200)
    assert resumed(heard) == ([] if is_refused else [("gone", 0)])


async def test_ticket_with_a_cursor_of_no_answer_is_gone(service: Service, heard: Heard) -> None:
    await service.client.get("/v1/stream?ticket=unknown", headers={"Last-Event-ID": f"{NEVER}.3"})
    assert resumed(heard) == [("gone", 0)]


async def test_a_viewer_without_a_cursor_has_not_come_back(service: Service, heard: Heard) -> None:
    generation = await answered(service)
    await service.client.get(f"/v1/generations/{generation}/events")
    await service.client.get(ASK, headers={"Last-Event-ID": f"{generation}.gone"})
    assert resumed(heard) == []


async def test_chat_that_is_resumed_is_replayed(service: Service, heard: Heard) -> None:
    await service.client.get("/api/chat/c/stream")
    await service.client.post("/api/chat", json={"id": "c", "messages": [MESSAGE]})
    assert resumed(heard) == []
    assert (await service.client.get("/api/chat/c/stream")).status_code == 200
    assert resumed(heard) == [("replayed", RECORDS)]
