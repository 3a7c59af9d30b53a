"""The recipes of `docs/guides/testing.md`, run as a reader runs them."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from browser.guide import DOCS, files_of
from streamsvc.script import ACTIONS
from support import parts

PAGE = (DOCS / "guides" / "testing.md").read_text(encoding="utf-8")
FILES = files_of("guides/testing.md")
PYTEST = ("conftest.py", "test_with_server.py", "test_in_process.py")
VITEST = ("streamsvc.js", "vitest.config.js", "ask.js", "ask.test.js")
PLAYWRIGHT = ("playwright.config.js", "chat.html", "chat.spec.js")


def save(directory: Path, names: Sequence[str]) -> None:
    for name in names:
        (directory / name).write_text(FILES[name], encoding="utf-8")


def run(directory: Path, *command: str, **environ: str) -> str:
    """Run a command where `streamsvc` is installed; return what it prints."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PATH": path, "NO_COLOR": "1", "CI": "true", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=55,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


def count_of(*names: str) -> int:
    return sum(
        len(re.findall(r"^(?:def test_|test\()", FILES[name], re.MULTILINE)) for name in names
    )


def test_every_file_of_the_page_is_run() -> None:
    assert sorted(FILES) == sorted((*PYTEST, *VITEST, *PLAYWRIGHT))


def test_page_explains_every_step_of_a_script() -> None:
    rows = PAGE.partition("| key | what happens")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", rows, re.MULTILINE) == [*ACTIONS]


def test_pytest_recipe(tmp_path: Path) -> None:
    save(tmp_path, PYTEST)
    output = run(tmp_path, sys.executable, "-m", "pytest", "-q", "-p", "no:respx")
    assert f"{count_of(*PYTEST)} passed" in output


@pytest.mark.node
def test_vitest_recipe(tmp_path: Path) -> None:
    save(tmp_path, VITEST)
    modules = Path(parts.find("clients"))
    (tmp_path / "node_modules").symlink_to(modules)
    output = run(tmp_path, "node", str(modules / "vitest" / "vitest.mjs"), "run")
    assert f"{count_of(*VITEST)} passed" in output


@pytest.mark.node
@pytest.mark.browser
def test_playwright_recipe(tmp_path: Path) -> None:
    save(tmp_path, PLAYWRIGHT)
    modules = Path(parts.find("clients"))
    (tmp_path / "node_modules").symlink_to(modules)
    config = tmp_path / "playwright.config.js"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    config.write_text(FILES[config.name].replace("8123", port))
    command = str(modules / "@playwright" / "test" / "cli.js")
    output = run(tmp_path, "node", command, "test", CHROMIUM=parts.find("chromium"))
    assert f"{count_of(*PLAYWRIGHT)} passed" in output
