"""Keys and what belongs to their principals, over two workers that share Redis, each in its own process."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
import pytest

from support.api_keys import KeysFile, bearer
from support.asking import entries
from support.eventstream import view
from support.fleet import Place, Worker, fleet
from support.native import NEVER
from support.redis_servers import RedisServer

pytestmark = pytest.mark.needs("valkey")

MESSAGE = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
BOUND_SECONDS = 20


@dataclass(frozen=True)
class Pair:
    """Two workers with the same keys file; each principal has a key."""

    here: Worker
    there: Worker
    keys: KeysFile
    mine: str
    other: str


@pytest.fixture(scope="module")
async def workers(
    valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    directory = tmp_path_factory.mktemp("principals")
    keys = KeysFile(directory / "keys.toml")
    mine, other = keys.add("team-a"), keys.add("team-b")
    sections = {
        **entries(),
        "auth": dict[str, object](keys_file=str(keys.path)),
        "log": dict[str, object](prefix="principals"),
        "generations": dict[str, object](max_grace_seconds=60),
    }
    async with fleet(directory, [Place(redis_url=valkey.url)] * 2, sections) as (here, there):
        yield Pair(here, there, keys, mine, other)
        for worker in (here, there):
            assert await worker.running.terminate() == 0
            worker.running.assert_quiet()


async def ask(
    worker: Worker, key: str, method: str, path: str, body: Any = None, **headers: str
) -> httpx2.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await worker.client.request(method, path, headers={**bearer(key), **fields}, json=body)


@pytest.mark.promise("door:own")
@pytest.mark.promise("scale:any-worker")
async def test_another_worker_knows_whose_an_answer_is(workers: Pair) -> None:
    created = await ask(workers.here, workers.mine, "POST", "/v1/generations", {"prompt": "hi"})
    own = created.json()["id"]
    for method, path, cursor in (
        ("GET", "/v1/generations/ID", ""),
        ("GET", "/v1/generations/ID/events", ""),
        ("GET", "/v1/generations/ID/events", "ID.1"),
        ("GET", "/stream-ai?prompt=hi", "ID.1"),
        ("POST", "/v1/generations/ID/stop", ""),
    ):
        answers = []
        for generation in (own, NEVER):
            headers = {"Last-Event-ID": cursor.replace("ID", generation)} if cursor else {}
            target = path.replace("ID", generation)
            answer = await ask(workers.there, workers.other, method, target, **headers)
            answers.append((answer.status_code, answer.text.replace(generation, "ID")))
        assert answers[0] == answers[1], (method, path)
    mine = await ask(workers.there, workers.mine, "GET", f"/v1/generations/{own}/events")
    assert '"status":"completed"' in mine.text


@pytest.mark.promise("door:own")
async def test_keys_and_chats_of_principals_meet_on_no_worker(workers: Pair) -> None:
    ids = []
    for worker, key in (
        (workers.here, workers.mine),
        (workers.there, workers.other),
        (workers.there, workers.mine),
    ):
        body = {"prompt": "hi"}
        answer = await ask(worker, key, "POST", "/v1/generations", body, Idempotency_Key="order")
        ids.append(answer.json()["id"])
    assert ids[0] == ids[2] != ids[1]
    chat: dict[str, object] = {"id": "shared", "messages": [MESSAGE], "provider": "held"}
    asked = {**chat, "grace_seconds": 30}
    sent: Mapping[str, str] = {**bearer(workers.mine), "Content-Type": "application/json"}
    async with workers.here.client.stream("POST", "/api/chat", json=asked, headers=sent) as answer:
        generation = answer.headers["x-generation-id"]
        for method, path in (("GET", "stream"), ("POST", "stop")):
            other = await ask(workers.there, workers.other, method, f"/api/chat/shared/{path}")
            assert other.status_code == 204
        theirs = {**chat, "provider": "fake"}  # their own chat: it takes nothing over
        answer_of_other = await ask(workers.there, workers.other, "POST", "/api/chat", theirs)
        assert answer_of_other.headers["x-generation-id"] != generation
        snapshot = await ask(workers.there, workers.mine, "GET", f"/v1/generations/{generation}")
        assert snapshot.json()["status"] == "running"
    stopped = await ask(workers.there, workers.mine, "POST", "/api/chat/shared/stop")
    assert stopped.status_code == 204
    with anyio.fail_after(BOUND_SECONDS):
        await workers.here.running.logged(f"id={generation}.*outcome=client_stop")


@pytest.mark.promise("door:closed")
async def test_revoked_key_is_cut_on_every_worker(workers: Pair) -> None:
    key = workers.keys.add("team-c")
    path = "/stream-ai?prompt=hi&provider=held"
    with anyio.fail_after(BOUND_SECONDS):
        for worker in (workers.here, workers.there):
            while (await ask(worker, key, "GET", "/v1/models")).status_code != 200:
                pass
        async with (
            view(workers.here.port, path, headers=bearer(key)) as one,
            view(workers.there.port, path, headers=bearer(key)) as two,
        ):
            await one.raw_until(b"quotes")
            await two.raw_until(b"quotes")
            workers.keys.revoke(key)
            for answer in (one, two):
                assert b"done" not in await answer.body()
                assert not answer.is_whole
    for worker in (workers.here, workers.there):
        assert (await ask(worker, key, "GET", "/v1/models")).status_code == 401
        assert (await ask(worker, workers.mine, "GET", "/v1/models")).status_code == 200
