"""An idempotency key stands for one generation."""

import anyio
import pytest

from conftest import Serve
from streamsvc.config.settings import GenerationSettings
from support.native import (
    ASK,
    CREATE,
    HURRIED,
    QUESTION,
    SILENT,
    creates,
    finished,
    follow,
    until_forgotten,
    with_fake,
)
from support.service import Service
from support.shared import shared_service

service = shared_service(with_fake(HURRIED))


@pytest.mark.promise("resume:never-regenerate")
async def test_same_key_attaches_to_the_first_generation(service: Service) -> None:
    """As a header or as a parameter, with GET or POST."""
    key = {"Idempotency-Key": "k1"}
    with creates(service, 1):
        generation, events = await finished(service, f"{ASK}&key=k1")
        assert await finished(service, f"{ASK}&key=k1") == (generation, events)
        assert await follow(service, ASK, key) == (200, events)
        for url, headers in ((CREATE, key), (f"{CREATE}?key=k1", {})):
            response = await service.client.post(url, json=QUESTION, headers=headers)
            assert response.json()["id"] == generation
    with creates(service, 2):
        assert (await finished(service, f"{ASK}&key=k2"))[0] != generation
        assert (await finished(service))[0] != generation


@pytest.mark.promise("resume:never-regenerate")
async def test_concurrent_requests_with_one_key_create_one_generation(serve: Serve) -> None:
    service = await serve(with_fake(SILENT))
    generations: list[str] = []

    async def create() -> None:
        response = await service.client.post(
            CREATE, json=QUESTION, headers={"Idempotency-Key": "k"}
        )
        generations.append(response.json()["id"])

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(create)
    assert len(generations) == 10
    assert len(set(generations)) == len(service.log) == 1


@pytest.mark.promise("input:clear-error")
async def test_key_with_another_request_is_refused(service: Service) -> None:
    key = {"Idempotency-Key": "k3"}
    first = await service.client.post(CREATE, json=QUESTION, headers=key)
    with creates(service, 0):
        for body in (
            {"prompt": "ho"},
            {**QUESTION, "max_tokens": 3},
            {**QUESTION, "grace_seconds": 1},
            {**QUESTION, "metadata": {"a": "b"}},
        ):
            response = await service.client.post(CREATE, json=body, headers=key)
            assert response.status_code == 422
            assert response.json()["field"] == "Idempotency-Key"
        again = await service.client.post(CREATE, json=QUESTION, headers=key)
        assert again.json()["id"] == first.json()["id"]


@pytest.mark.promise("input:clear-error")
async def test_refusal_names_the_field_as_the_client_gave_it(service: Service) -> None:
    """The key as a parameter or a header, the provider entry as `provider`."""
    await service.client.post(f"{CREATE}?key=k4", json=QUESTION)
    for url, body, headers, field in (
        (f"{CREATE}?key=k4", {"prompt": "ho"}, {}, "key"),
        (CREATE, {"prompt": "ho"}, {"Idempotency-Key": "k4"}, "Idempotency-Key"),
        (CREATE, {**QUESTION, "provider": "nobody"}, {}, "provider"),
    ):
        refused = (await service.client.post(url, json=body, headers=headers)).json()
        assert refused["field"] == field
        assert repr(field) in refused["detail"]
    refused = (await service.client.get("/stream-ai?prompt=other&key=k4")).json()
    assert refused["field"] == "key"


async def test_key_is_free_again_once_its_generation_is_dropped(serve: Serve) -> None:
    forgetful = GenerationSettings(keep_finished_seconds=0.01)
    service = await serve(with_fake(HURRIED, generations=forgetful))
    first, _ = await finished(service, f"{ASK}&key=k")
    with anyio.fail_after(10):
        await until_forgotten(service, first)
    second, _ = await finished(service, "/stream-ai?prompt=other&key=k")
    assert second != first
