"""`/readyz` of a service in a process: why it is not ready, for operators and load balancers."""

import signal
from pathlib import Path

import anyio
import pytest

from support.process import serve

SETTINGS = {
    "PROVIDERS__FAKE__FAULT": "unavailable",
    "PROVIDERS__FAKE__ATTEMPTS": "1",
    "PROVIDERS__FAKE__CIRCUIT_FAILURES": "1",
    "PROVIDERS__FAKE__CIRCUIT_SECONDS": "60",
    "PROVIDERS__SLOW__KIND": "fake",
    "PROVIDERS__SLOW__FIRST_WORD_SECONDS": "60",
    "SERVER__DRAIN_SECONDS": "30",
}


@pytest.mark.promise("seen:outside")
async def test_readiness_names_open_circuits_and_what_is_left_to_drain(tmp_path: Path) -> None:
    with anyio.fail_after(100):
        async with serve(tmp_path, SETTINGS) as service:
            client = service.client
            assert (await client.get("/readyz")).json()["status"] == "ready"
            await client.get("/stream-ai?prompt=hi")
            state = await client.get("/readyz")
            assert (state.status_code, state.json()["status"]) == (200, "ready")
            [circuit] = state.json()["details"]
            assert (circuit["code"], circuit["provider"]) == ("circuit_open", "fake")
            assert 0 < circuit["seconds"] <= 60
            async with client.stream("GET", "/stream-ai?prompt=hi&provider=slow"):
                service.process.send_signal(signal.SIGTERM)
                await service.logged("drain.started")
                draining = await client.get("/readyz")
                assert draining.status_code == 503
                assert draining.json()["reasons"] == ["draining", "circuit_open"]
                left = draining.json()["details"][0]
                assert (left["generations"], left["seconds"] <= 30) == (1, True)
            assert await service.end() == 0
