"""On a machine that lacks parts, tests are skipped, each part is named once, and no other test fails for it."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent

LEAVES_A_LISTENER = """
import gc
import pytest
from support.service import serving
from streamsvc.config.settings import Settings

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def test_that_breaks_off():
    async with serving(Settings(), {{}}) as service:
        await service.client.get("/healthz")
        {how}

def test_that_comes_after():
    gc.collect()
"""

LEAVES_A_SOCKET = """
import asyncio, gc, socket
import pytest

def test_that_breaks_off_with_a_socket():
    held = socket.socket()
    circle = [held]
    circle.append(circle)
    {how}

def test_that_comes_after_the_socket():
    gc.collect()
"""

LEAVES = LEAVES_A_LISTENER + LEAVES_A_SOCKET

NEEDS_PARTS = """
import pytest

@pytest.fixture
def started():
    raise RuntimeError("a fixture ran although its test is skipped")

@pytest.mark.browser
@pytest.mark.parametrize("number", range(5))
def test_a_page(started, number):
    pass

@pytest.mark.needs("nginx", "chromium")
def test_a_proxy(started):
    pass

def test_alone():
    pass
"""


def run(directory: Path, code: str, **environ: str) -> tuple[int, list[str]]:
    """Run tests in a separate pytest with this project's configuration; return its exit code and its lines."""
    (directory / "test_it.py").write_text(code)
    ours = "PYTEST_", "SKIPPED_TESTS"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [
        sys.executable, "-m", "pytest", "-c", str(TESTS.parent / "pyproject.toml"),
        f"--rootdir={directory}", "-p", "conftest", "-p", "no:cacheprovider", "-n", "0", "test_it.py",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=directory,
        env={**clean, "PYTHONPATH": str(TESTS), "CI": "", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_a_skip_makes_no_other_test_fail(tmp_path: Path) -> None:
    status, lines = run(tmp_path, LEAVES.format(how='pytest.skip("no part")'))
    assert "2 passed, 2 skipped" in lines[-1], lines
    assert status == 0


def test_a_failure_makes_no_other_test_fail(tmp_path: Path) -> None:
    _, lines = run(tmp_path, LEAVES.format(how='pytest.fail("broken")'))
    assert "2 failed, 2 passed" in lines[-1], lines


def test_each_missing_part_is_one_line_and_no_fixture_runs(tmp_path: Path) -> None:
    skipped = tmp_path / "skipped"
    status, lines = run(tmp_path, NEEDS_PARTS, PATH=str(tmp_path), SKIPPED_TESTS=str(skipped))
    missing = "Chromium is missing (apt-get install chromium)"
    assert [line for line in lines if "is missing" in line] == [f"SKIPPED [6] {missing}"]
    assert "1 passed, 6 skipped" in lines[-1]
    assert status == 0
    assert len(set(skipped.read_text().splitlines())) == 6


def test_a_missing_part_fails_once_under_ci(tmp_path: Path) -> None:
    status, lines = run(tmp_path, NEEDS_PARTS, PATH=str(tmp_path), CI="true")
    assert "1 passed, 5 skipped, 1 error" in lines[-1]
    assert status == 1
