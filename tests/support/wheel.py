"""The built files of a release, and clean environments to install them in."""

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.parts import find, missing

ROOT = Path(__file__).parents[2]

_OWN_AFFAIR = re.compile(
    r"(PIP_|UV_(?!PROJECT|RUN)|SSL_CERT_|https?_proxy$|no_proxy$)", re.IGNORECASE
)
"""Variables that say how this machine reaches the package index."""

_NO_INDEX = re.compile("error sending request|NewConnectionError|offline|No matching distribution")


@dataclass(frozen=True)
class Files:
    """What is uploaded.

    Attributes:
        wheel: the built distribution.
        sdist: the source distribution.
    """

    wheel: Path
    sdist: Path


def clean(home: Path, path: str) -> dict[str, str]:
    """Return an environment without this project.

    Args:
        home: the home directory; only the caches of packages are this machine's.
        path: where programs are found, before those of the system.
    """
    ours = {name: text for name, text in os.environ.items() if _OWN_AFFAIR.match(name)}
    ours.setdefault("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
    return {**ours, "PATH": f"{path}:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}


def run(
    *command: str | Path, cwd: Path, environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program that may need the package index, to its end; skip the test if the index cannot be reached."""
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode and _NO_INDEX.search(done.stdout + done.stderr):
        missing("the package index")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def built(temporary: pytest.TempPathFactory) -> Files:
    """Return the files of a release; the workers of pytest-xdist build them once.

    `DIST_FILES` names a directory that has them already: `just release-check` checks the very files of a release.
    """
    if directory := os.environ.get("DIST_FILES"):
        return _in(ROOT / directory)
    return _in(made_once(temporary, "dist", lambda place: build(ROOT, place)))


def made_once(temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a directory that the first worker of pytest-xdist that needs it makes for all.

    Args:
        temporary: of the test.
        name: of the directory.
        make: makes it at a path.
    """
    shared = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    place, is_made = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_made.exists():
            make(place)
            is_made.touch()
    return place


def build(source: Path, place: Path, *kinds: str) -> None:
    """Build the files of a release.

    Args:
        source: a tree or a source distribution.
        place: where the files are put.
        kinds: `--wheel`, `--sdist`; without any, the wheel is built from the source distribution, as uv does.
    """
    environ = clean(place.parent, str(Path(find("uv")).parent))
    command = [find("uv"), "build", "--quiet", "--python", sys.executable, *kinds]
    run(*command, "--out-dir", place, source, cwd=place.parent, environ=environ)


def new_environment(place: Path, python: str = sys.executable) -> Path:
    """Make a virtual environment with pip and nothing else; return the directory of its programs."""
    environ = clean(place.parent, "/usr/bin")
    run(find("uv"), "venv", "-q", "--seed", "--python", python, place, cwd=place.parent, environ=environ)  # fmt: skip
    return place / "bin"


def _in(place: Path) -> Files:
    [wheel], [sdist] = place.glob("*.whl"), place.glob("*.tar.gz")
    return Files(wheel, sdist)
