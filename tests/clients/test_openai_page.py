"""The programs of `docs/guides/openai-client.md`, taken from the page and run."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import anyio
import pytest

from browser.guide import files_of
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings
from support.parts import find

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "guides" / "openai-client.md").read_text(encoding="utf-8")
FILES = files_of("guides/openai-client.md")
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TEXT = "One two three four five six seven eight nine ten."


async def _run(serve: Serve, directory: Path, program: str, name: str, code: str) -> str:
    """Save a program as a reader would, run it against a service, and return its output."""
    fake = FakeSettings(text=TEXT, reply="text", words_per_second=6, first_word_seconds=0)
    service = await serve(Settings(providers={"fake": fake}))
    (directory / name).write_text(code.replace("http://127.0.0.1:8000", service.url))
    with anyio.fail_after(60):
        process = await asyncio.create_subprocess_exec(
            program, str(directory / name), stdout=PIPE, stderr=PIPE
        )
        output, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    assert len(service.log) == 1
    return output.decode()


async def _run_command(serve: Serve, directory: Path, start: str) -> str:
    """Run the one shell block that starts with these words."""
    [code] = [it for it in COMMANDS if it.startswith(start)]
    return await _run(serve, directory, "bash", "page.sh", code)


async def test_the_python_example_prints_the_answer(serve: Serve, tmp_path: Path) -> None:
    assert await _run(serve, tmp_path, sys.executable, "ask.py", FILES["ask.py"]) == f"{TEXT}\n"


@pytest.mark.node
@pytest.mark.parametrize("package", ["openai6", "openai7"])
async def test_the_node_example_prints_the_answer(
    serve: Serve, tmp_path: Path, package: str
) -> None:
    installed = Path(find("clients")) / package
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "openai").symlink_to(installed)
    assert await _run(serve, tmp_path, "node", "ask.mjs", FILES["ask.mjs"]) == f"{TEXT}\n"


@pytest.mark.needs("curl")
async def test_the_curl_example_prints_the_answer(serve: Serve, tmp_path: Path) -> None:
    said = await _run_command(serve, tmp_path, "curl")
    assert "".join(re.findall(r'"content":"([^"]*)"', said)) == TEXT
    assert said.endswith("data: [DONE]\n\n")


@pytest.mark.needs("curl")
@pytest.mark.promise("resume:no-gap")
async def test_the_resuming_example_prints_the_rest(serve: Serve, tmp_path: Path) -> None:
    said = await _run_command(serve, tmp_path, "generation=")
    assert "".join(re.findall(r'"text":"([^"]*)"', said)) == TEXT.removeprefix("One two ")
    assert '"status":"completed"' in said
