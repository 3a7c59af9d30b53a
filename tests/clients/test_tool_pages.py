"""The programs in `docs/guides/tools.md` and `docs/guides/structured-answers.md`, taken from the pages and run.

They run against `python -m streamsvc serve`, with the fake provider. Its answers follow from the question and the schema.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import anyio
import pytest

from browser.guide import files_of
from support.parts import find
from support.process import Running
from support.shared import quiet_service, shared_process

TOOLS = files_of("guides/tools.md")
STRUCTURED = files_of("guides/structured-answers.md")
FILES = {**TOOLS, **STRUCTURED}

WEATHER = (
    'The result of get_weather is {"city":"Paris","celsius":15,"sky":"cloudy"}\n'
    'The result of get_weather is {"city":"London","celsius":16,"sky":"cloudy"}'
)
"""The fake provider's answer to two results of `get_weather`."""

process = shared_process({"providers.fake": {"words_per_second": 0.0, "first_word_seconds": 0.0}})
service = quiet_service()


async def printed(service: Running, directory: Path, *names: str) -> str:
    """Save files as a reader does, run the last one against the service, and return what it prints."""
    for name in names:
        text = FILES[name].replace("http://127.0.0.1:8000", f"http://127.0.0.1:{service.port}")
        (directory / name).write_text(text, encoding="utf-8")
    program = sys.executable if names[-1].endswith(".py") else "node"
    with anyio.fail_after(40):
        process = await asyncio.create_subprocess_exec(
            program, str(directory / names[-1]), stdout=PIPE, stderr=PIPE
        )
        output, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    return output.decode()


def install(directory: Path, **packages: str) -> None:
    """Make installed packages importable in a directory, each by the name that readers know."""
    modules = Path(find("clients"))
    (directory / "node_modules").mkdir()
    (directory / "package.json").write_text('{"type": "module"}')
    for name, package in packages.items():
        (directory / "node_modules" / name).symlink_to(modules / package)


@pytest.mark.node
@pytest.mark.parametrize("package", ["openai6", "openai7"])
async def test_openai_node_runs_both_tool_calls_and_gets_words(
    service: Running, tmp_path: Path, package: str
) -> None:
    install(tmp_path, openai=package)
    assert await printed(service, tmp_path, "tools.js", "openai-tools.mjs") == f"{WEATHER}\n"


async def test_openai_python_runs_both_tool_calls_and_gets_words(
    service: Running, tmp_path: Path
) -> None:
    said = await printed(service, tmp_path, "openai_tools.py")
    assert said.replace('": ', '":').replace(', "', ',"') == f"{WEATHER}\n"


@pytest.mark.node
@pytest.mark.parametrize("package", ["openai6", "openai7"])
async def test_openai_node_parses_an_answer_with_zod(
    service: Running, tmp_path: Path, package: str
) -> None:
    install(tmp_path, openai=package, zod="zod")
    assert await printed(service, tmp_path, "recipe.mjs") == "title: 1 steps, 1 minutes\n"


async def test_openai_python_parses_an_answer_with_pydantic(
    service: Running, tmp_path: Path
) -> None:
    assert await printed(service, tmp_path, "recipe.py") == "title: 1 steps, 1 minutes\n"


@pytest.mark.node
async def test_the_ai_sdk_runs_tools_on_a_server(service: Running, tmp_path: Path) -> None:
    install(tmp_path, ai="ai7", zod="zod", **{"@ai-sdk": "@ai-sdk"})
    assert await printed(service, tmp_path, "server-tools.mjs") == f"{WEATHER}\n"


@pytest.mark.node
async def test_the_ai_sdk_streams_an_object_as_it_grows(service: Running, tmp_path: Path) -> None:
    install(tmp_path, ai="ai7", zod="zod", **{"@ai-sdk": "@ai-sdk"})
    *grown, end = (await printed(service, tmp_path, "output.mjs")).splitlines()
    assert grown[0] == "{}"
    assert grown[-1] == '{"title":"title","minutes":1,"steps":["steps"]}'
    assert len(grown) > 3
    assert end == "title is complete"
