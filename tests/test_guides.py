"""The commands of the quickstart and the guides, run as a reader runs them, and which test runs each of their files."""

import importlib.metadata
import itertools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from browser.guide import DOCS, files_of
from streamsvc.config.load import load
from support.process import Running, serve
from support.shared import shared_process

ROOT = DOCS.parent
PAGES = ["quickstart.md", *sorted(f"guides/{page.name}" for page in (DOCS / "guides").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVICE = "http://127.0.0.1:8000"
SHOWN_ONLY = {"", "text", "toml", "console"}
"""Blocks that are no programs: drawings, excerpts of what is printed, and settings."""

FAKE = {
    "words_per_second": 0.0,
    "first_word_seconds": 0.0,
    "backoff_seconds": 0.01,
    "circuit_failures": 0,
    "allow_faults": True,
}
process = shared_process({"providers.fake": FAKE, "cors": {"origins": ["http://127.0.0.1:8001"]}})


def commands(page: str) -> Iterator[list[str]]:
    """Return the words of each command in the shell blocks of a page; files are not commands."""
    for language, code in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if language == "sh" and not code.startswith(("#", "generation=")):
            yield from words_of(code.replace("\\\n", " "))


def words_of(code: str) -> Iterator[list[str]]:
    """Return the words of each command; a quotation may have several lines."""
    text = ""
    for line in code.splitlines():
        text += line + "\n"
        try:
            words = shlex.split(text, comments=True)
        except ValueError:  # a quotation goes on in the next line
            continue
        text = ""
        for _, command in itertools.groupby(words, "&&".__ne__):
            if "&&" not in (those := list(command)):
                yield those


COMMANDS = [(page, command) for page in PAGES for command in commands(page)]


def starting(program: str) -> list[tuple[str, list[str]]]:
    """Return the commands that run a program, with their pages."""
    return [
        (page, command)
        for page, command in COMMANDS
        if next(word for word in command if "=" not in word) == program
    ]


def serve_settings() -> set[tuple[str, ...]]:
    return {
        tuple(word for word in command if word.startswith("STREAMSVC_"))
        for _, command in starting("uv")
        if command[-2:] == ["streamsvc", "serve"]
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_guide_is_a_file_or_a_command(page: str) -> None:
    files = set(files_of(page).values())
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("\n```") // 2
    assert [
        code
        for language, code in blocks
        if code not in files and language not in {*SHOWN_ONLY, "sh"}
    ] == []


def test_every_file_of_a_guide_is_named_by_a_test_of_that_guide() -> None:
    modules = [file.read_text() for file in (ROOT / "tests").rglob("*.py")]
    named = {
        page: "".join(text for text in modules if page.rpartition("/")[2] in text) for page in PAGES
    }
    assert [
        (page, name) for page in PAGES for name in files_of(page) if f'"{name}"' not in named[page]
    ] == []


def test_every_command_of_a_guide_is_of_a_kind_that_is_tried() -> None:
    known = (
        *starting("uv"), *starting("curl"), *starting("npm"), *starting("npx"),
        *starting("pip"), *starting("python3"), *starting("."), *starting("export"),
    )  # fmt: skip
    assert [command for command in COMMANDS if command not in known] == []


@pytest.mark.parametrize("chosen", sorted(serve_settings()))
def test_the_settings_of_a_guide_are_accepted(tmp_path: Path, chosen: tuple[str, ...]) -> None:
    environ = {"OPENAI_API_KEY": "sk-test", **dict(word.split("=", 1) for word in chosen)}
    settings = load(tmp_path / "config.toml", environ, text="")
    origins = environ.get("STREAMSVC_CORS__ORIGINS", "")
    assert settings.cors.origins == tuple(filter(None, origins.split(",")))


async def test_the_service_starts_with_the_key_and_the_origins_of_a_guide(tmp_path: Path) -> None:
    [new_key] = [it for _, it in starting("uv") if it[3:6] == ["streamsvc", "key", "new"]]
    await anyio.run_process([sys.executable, "-m", *new_key[3:]], cwd=tmp_path)
    [chosen] = [it for it in serve_settings() if any("KEYS_FILE" in word for word in it)]
    settings = dict(word.removeprefix("STREAMSVC_").split("=", 1) for word in chosen)
    async with serve(tmp_path, settings) as running:
        assert await running.is_ready()
        for origin in settings["CORS__ORIGINS"].split(","):
            got = await running.client.get("/v1/providers", headers={"Origin": origin})
            assert got.status_code == 401
            assert got.headers["Access-Control-Allow-Origin"] == origin


@pytest.mark.needs("curl")
async def test_the_curl_commands_of_the_guides_are_answered(process: Running) -> None:
    tried = starting("curl")
    for page, command in tried:
        url = f"http://127.0.0.1:{process.port}"
        here = [word.replace(SERVICE, url) for word in command]
        with anyio.fail_after(20):
            done = await anyio.run_process([*here, "--fail-with-body"], check=False)
        assert (page, command, done.returncode) == (page, command, 0), done.stdout
        assert done.stdout
    assert tried


def test_the_packages_that_a_guide_installs_are_those_that_are_tested() -> None:
    pinned = json.loads((ROOT / "tests" / "clients" / "package.json").read_text())["dependencies"]
    names = {re.sub(r"\d+$", "", name) for name in pinned}
    names |= {re.sub(r"npm:(.+)@.*", r"\1", version) for version in pinned.values()}
    for page, command in starting("npm"):
        if command[1] == "install":
            wanted = {word for word in command[2:] if not word.startswith("-")}
            assert wanted <= names, page
    for _, command in starting("pip"):
        for package in {*command[2:]} - {"uv"}:
            assert importlib.metadata.version(package)
