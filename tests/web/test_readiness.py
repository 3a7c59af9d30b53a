"""`/readyz`: whether new work is accepted, and what an operator should know."""

from collections.abc import Mapping
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings
from streamsvc.hooks import Hooks
from streamsvc.store.health import Health, Trouble
from streamsvc.web.operations import OperationEndpoints
from support.service import Service

DOWN = FakeSettings(
    fault="unavailable", attempts=1, circuit_failures=1, circuit_seconds=60, first_word_seconds=0
)
WELL = FakeSettings(words_per_second=0, first_word_seconds=0)


async def readiness(service: Service, status: int) -> dict[str, Any]:
    answer = await service.client.get("/readyz")
    assert answer.status_code == status
    return dict(answer.json())


async def ask(service: Service) -> httpx2.Response:
    return await service.client.get("/stream-ai?prompt=hi")


def settings(entries: Mapping[str, FakeSettings]) -> Settings:
    return Settings(provider="a", providers=dict(entries))


async def test_process_that_is_well_gives_no_reasons(serve: Serve) -> None:
    service = await serve(settings({"a": WELL}))
    assert await readiness(service, 200) == {"status": "ready", "generations": 0, "viewers": 0}


async def test_open_circuit_is_a_reason_and_the_process_stays_ready(serve: Serve) -> None:
    """A provider fails for all processes alike: without any of them, clients would get no `done`, and no resume."""
    service = await serve(settings({"a": DOWN, "b": WELL}))
    await ask(service)
    state = await readiness(service, 200)
    assert (state["status"], state["reasons"]) == ("ready", ["circuit_open"])
    [detail] = state["details"]
    assert detail.items() >= {"code": "circuit_open", "provider": "a"}.items()
    assert 50 < detail["seconds"] <= 60


async def test_drain_says_how_many_are_left_and_how_long(serve: Serve) -> None:
    slow = FakeSettings(first_word_seconds=60)
    service = await serve(settings({"a": slow}))
    async with (
        service.client.stream("GET", "/stream-ai?prompt=hi"),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(service.supervisor.drain, 30)
        with anyio.fail_after(10):
            while not service.supervisor.is_draining:
                await anyio.lowlevel.checkpoint()
        state = await readiness(service, 503)
        tasks.cancel_scope.cancel()
    assert (state["status"], state["reasons"]) == ("draining", ["draining"])
    [detail] = state["details"]
    assert detail["generations"] == 1
    assert 20 < detail["seconds"] <= 30


@pytest.mark.parametrize("trouble", [Trouble.FULL, None])
async def test_store_says_since_when_or_how_slow(serve: Serve, trouble: Trouble | None) -> None:
    health = Health(Hooks())
    if trouble is None:
        health.worked(0.312, wrote=True)
    else:
        health.failed(trouble, "none")
    service = await serve(settings({"a": WELL}))
    endpoints = OperationEndpoints(
        supervisor=service.supervisor,
        default_provider="a",
        troubles=lambda: health.reasons,
        is_refusing=lambda: trouble is not None,
    )
    [detail] = endpoints._details()
    if trouble is None:
        assert (detail.code, detail.ms, detail.seconds) == ("store_slow", 312, None)
    else:
        assert (detail.code, detail.ms) == ("store_full", None)
        assert detail.seconds is not None
