"""Clients that send their POST again after a break get the rest of the answer, not a second one."""

import asyncio
import json
from itertools import chain, repeat
from pathlib import Path

import anyio
import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, Settings
from support.parts import find
from support.proxy import after_events, breaking_proxy, never

HERE = Path(__file__).parent
TEXT = " ".join(f"word{number}" for number in range(12)) + " 😀\r\n\u2028 done."


@pytest.mark.node
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("resume:no-gap")
async def test_the_resent_post_of_fetch_event_source_resumes(
    serve: Serve,
) -> None:
    fake = FakeSettings(text=TEXT, reply="text", words_per_second=60, first_word_seconds=0.1)
    service = await serve(
        Settings(
            generations=GenerationSettings(grace_seconds=20, max_grace_seconds=20),
            providers={"fake": fake},
        )
    )
    cuts = chain(repeat(after_events(3), 3), repeat(never))
    async with breaking_proxy(service.port, cuts) as proxy:
        with anyio.fail_after(30):
            process = await asyncio.create_subprocess_exec(
                find("node"),
                str(HERE / "fetch_event_source.js"),
                f"http://127.0.0.1:{proxy.port}/v1/generations",
                json.dumps({"prompt": "x"}),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
    assert json.loads(output) == {"text": TEXT, "errors": 3, "done": "completed"}
    assert proxy.requests == ["POST /v1/generations HTTP/1.1"] * 4
    assert len(service.log) == 1
