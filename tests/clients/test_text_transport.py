"""The text transport of `docs/guides/plain-text.md`, as it stands there, through Vite's dev server."""

import json
from pathlib import Path

import anyio
import pytest

from browser.guide import files_of, save
from browser.pages import vite
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings
from support.parts import find

SCRIPT = Path(__file__).parent / "text_transport.js"
TEXT = "One two three, é😀."


@pytest.mark.node
@pytest.mark.promise("stream:word-by-word")
async def test_the_text_transport_of_the_guide_gets_every_word(
    serve: Serve, tmp_path: Path
) -> None:
    fake = FakeSettings(text=TEXT, reply="text", words_per_second=0, first_word_seconds=0)
    service = await serve(Settings(providers={"fake": fake}))
    for page, name in (("use-chat.md", "vite.config.mjs"), ("plain-text.md", "transport.js")):
        save(tmp_path, name, service="/ai", files=files_of(f"guides/{page}"))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    async with vite(tmp_path, service.port) as url:
        with anyio.fail_after(30):
            run = await anyio.run_process(
                [find("node"), str(SCRIPT), str(tmp_path / "transport.js"), url]
            )
    assert json.loads(run.stdout) == TEXT
