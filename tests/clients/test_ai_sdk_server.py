"""The AI SDK on a server, unmodified, with the service as its OpenAI-compatible provider."""

import asyncio
import json
from asyncio.subprocess import PIPE
from pathlib import Path

import anyio
import pytest

from support.parts import find
from support.process import FAKE, Running
from support.shared import quiet_service, shared_process

process = shared_process({"providers.fake": {**FAKE, "reply": "auto"}})
service = quiet_service()

EVENT = {"name": "name", "people": ["people"]}


@pytest.mark.node
@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("library", ["ai6", "ai7"])
async def test_tools_of_a_server_and_structured_answers(service: Running, library: str) -> None:
    """Two turns with parallel calls, an object as it grows, and an object in one piece."""
    script = Path(__file__).with_name("ai_sdk_server.js")
    url = f"http://127.0.0.1:{service.port}"
    with anyio.fail_after(40):
        program = await asyncio.create_subprocess_exec(
            find("node"), script, library, url, stdout=PIPE, stderr=PIPE
        )
        output, errors = await program.communicate()
    assert (program.returncode, errors.decode()) == (0, "")
    seen = json.loads(output)
    assert seen["ran"] == [{"city": city} for city in ("Paris", "London", "Rome", "London")]
    for turn, city in zip(seen["turns"], ("Paris", "Rome"), strict=True):
        assert turn["steps"] == ["tool-calls", "stop"]
        assert turn["text"] == "\n".join(
            f'The result of get_weather is {{"city":"{it}","sky":"clear"}}'
            for it in (city, "London")
        )
    assert seen["object"] == EVENT
    assert seen["grown"]["whole"] == EVENT
    assert seen["grown"]["seen"] > 1
