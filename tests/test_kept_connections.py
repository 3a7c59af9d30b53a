"""Idle connections that a server closes do not affect viewers of a real process."""

import json
from pathlib import Path

import anyio
import pytest

from support.eventstream import view
from support.process import serve, write_config
from support.stage import WIRES
from support.upstreams import CLOSE, RESET, Step, finish, text, upstream

WELL = text("Well."), finish()


@pytest.mark.parametrize("kind", WIRES)
@pytest.mark.parametrize("end", [CLOSE, RESET], ids=["closed", "reset"])
@pytest.mark.promise("upstream:rescue")
async def test_closed_kept_connection_costs_no_attempt(
    tmp_path: Path, kind: str, end: Step
) -> None:
    async with upstream() as api:
        api.script(WELL, (end,), WELL)
        entry = {
            "kind": kind,
            "model": "m",
            "api_key_env": "",
            "base_url": f"{api.url}/v1" if kind == "openai" else api.url,
            "attempts": 1,
        }
        write_config(tmp_path, {"providers.kept": entry})
        async with serve(tmp_path, {"PROVIDER": "kept"}) as service:
            for _ in range(2):
                with anyio.fail_after(10):
                    async with view(service.port, "/stream-ai?prompt=Hi") as answer:
                        events = await answer.events()
                types = [json.loads(event.data)["type"] for event in events]
                assert types == ["start", "text", "done"]
                assert events[-1].json["status"] == "completed"
            assert [call.connection for call in api.calls] == [1, 1, 2]
            assert await service.terminate() == 0
            service.assert_quiet()
