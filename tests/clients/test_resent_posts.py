"""Clients that send their POST again after a break get the rest of the answer, not a second one."""

import json
from collections.abc import Mapping
from itertools import chain, repeat
from pathlib import Path

import anyio
import pytest

from browser.guide import files_of, save
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, Settings, StreamSettings
from support.parts import find
from support.proxy import after_events, breaking_proxy, never

HERE = Path(__file__).parent
TEXT = " ".join(f"word{number}" for number in range(12)) + " 😀\r\n\u2028 done."


async def follow(directory: Path, port: int, body: Mapping[str, object]) -> Mapping[str, object]:
    """Run `follow.js` of the guide with a question; return what it has received."""
    save(directory, "follow.js", service="", files=files_of("guides/fetch.md"))
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "node_modules").symlink_to(HERE / "node_modules")
    url = f"http://127.0.0.1:{port}/v1/generations"
    script = str(HERE / "fetch_event_source.js")
    command = [find("node"), script, str(directory / "follow.js"), url, json.dumps(body)]
    with anyio.fail_after(30):
        run = await anyio.run_process(command)
    got: Mapping[str, object] = json.loads(run.stdout)
    return got


@pytest.mark.node
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("resume:no-gap")
async def test_the_resent_post_of_fetch_event_source_resumes(serve: Serve, tmp_path: Path) -> None:
    """With the lines of the guide; a refusal is not sent again."""
    fake = FakeSettings(text=TEXT, reply="text", words_per_second=60, first_word_seconds=0.1)
    service = await serve(
        Settings(
            generations=GenerationSettings(grace_seconds=20, max_grace_seconds=20),
            stream=StreamSettings(retry_ms=100),
            providers={"fake": fake},
        )
    )
    (tmp_path / "refused").mkdir()
    cuts = chain(repeat(after_events(3), 3), repeat(never))
    async with breaking_proxy(service.port, cuts) as proxy:
        got = await follow(tmp_path, proxy.port, {"prompt": "x"})
        assert got == {"text": TEXT, "done": "completed", "refused": None}
        assert proxy.requests == ["POST /v1/generations HTTP/1.1"] * 4
        got = await follow(tmp_path / "refused", proxy.port, {"prompt": ""})
        assert got == {"text": "", "done": None, "refused": "The prompt is empty."}
        assert len(proxy.requests) == 5
    assert len(service.log) == 1
