"""What the Dockerfile runs, as a script in a clean place: build, install, serve as another user, health check."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import anyio
import httpx2
import pytest

from support.deployment import PLACE
from support.process import RUNNING_ON
from support.redis_servers import free_port
from support.service import CLIENT_SECONDS
from support.wheel import clean, run

ROOT = Path(__file__).parents[2]
USER = 10001
RECIPE = (PLACE / "Dockerfile").read_text().replace("\\\n", "")
BUILD, IMAGE = re.split(r"^(?=FROM )", RECIPE, flags=re.MULTILINE)[1:]
HEALTHY = re.findall(r"^HEALTHCHECK .* CMD \[(.*)\]$", IMAGE, re.MULTILINE)[0]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that every user can reach; pytest's own are only for the user who runs it."""
    path = Path(tempfile.mkdtemp(prefix="image"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def here(text: str, place: Path) -> str:
    """Return a text of the Dockerfile with its paths in the place of the test."""
    return re.sub(r"(?<![\w.])/(src|dist|opt|etc/streamsvc)\b", rf"{place}/\1", text)


@pytest.fixture(scope="module")
def installed(place: Path) -> Path:
    """The directory of the programs that the first stage leaves for the second."""
    for copied in re.findall(r"^COPY (\S.*) \./?(?:src)?$", BUILD, re.MULTILINE):
        for name in copied.split():
            source, target = ROOT / name, place / "src" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    # The image's Python is that of this machine, with a pip of its own.
    subprocess.run([sys.executable, "-m", "venv", place / "python"], check=True)
    lines = [here(line, place) for line in re.findall(r"^RUN (.*)$", BUILD, re.MULTILINE)]
    environ = clean(place / "home", f"{place}/python/bin")
    run("bash", "-euc", "\n".join(lines), cwd=place / "src", environ=environ)
    return place / "opt" / "streamsvc" / "bin"


def user(program: Path) -> int | None:
    """Return the image's user, if this one may become that, and that one may run a program."""
    if os.geteuid() == 0:
        with suppress(OSError):
            subprocess.run([program, "-c", ""], user=USER, check=True)
            return USER
    return None


def variables(place: Path, port: int) -> Mapping[str, str]:
    """Return the environment of the container, with another port, and open to everybody as in its first lines."""
    set_there = dict(re.findall(r"(STREAMSVC_\w+)=(\S+)", IMAGE.partition("\nENV ")[2]))
    return {
        **clean(place / "home", str(place / "opt" / "streamsvc" / "bin")),
        **set_there,
        "STREAMSVC_SERVER__PORT": str(port),
        "STREAMSVC_AUTH__ALLOW_ANONYMOUS": "true",
    }


@pytest.mark.unmeasured
@pytest.mark.timeout(300)
@pytest.mark.long
async def test_what_the_image_runs_serves_and_is_healthy(place: Path, installed: Path) -> None:
    port = free_port()
    environ = variables(place, port)
    assert environ["STREAMSVC_SERVER__HOST"] == "0.0.0.0"
    home = place / "etc" / "streamsvc"
    home.mkdir(parents=True)
    command = [installed / "streamsvc", *IMAGE_COMMAND[1:]]
    with anyio.fail_after(100):
        async with await anyio.open_process(
            command, cwd=home, env=environ, stdout=None, user=user(installed / "python")
        ) as process:
            assert process.stderr is not None
            log = ""
            while not RUNNING_ON_ALL.search(log):
                log += (await process.stderr.receive()).decode()
            assert await is_healthy(installed, environ)
            async with httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=CLIENT_SECONDS
            ) as client:
                assert '"status":"completed"' in (await client.get("/stream-ai?prompt=hi")).text
            process.terminate()
            assert await process.wait() == 0
    assert not await is_healthy(installed, environ)


RUNNING_ON_ALL = re.compile(RUNNING_ON.pattern.replace(r"127\.0\.0\.1", r"0\.0\.0\.0"))
IMAGE_COMMAND = re.findall(r'"([^"]+)"', re.findall(r"^CMD (.*)$", IMAGE, re.MULTILINE)[0])


async def is_healthy(installed: Path, environ: Mapping[str, str]) -> bool:
    """Run the health check as Docker does."""
    _, *arguments = re.findall(r'"([^"]*)"', HEALTHY)
    command = [str(installed / "python"), *arguments]
    return (await anyio.run_process(command, env=environ, check=False)).returncode == 0
