"""Without Redis nothing of it is loaded; chosen without its client, it is refused in one line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamsvc import extras
from support import commands
from support.process import serve

IMPORT = re.compile(r"import time: .*\| +(\S+)")
SHARED = re.compile(
    r"redis|hiredis|streamsvc\.(store|sharing_redis|eventlog\.(redis|shared)|.*redis)"
)

NO_REDIS = "import sys; sys.modules['redis'] = None\n"
"""A `sitecustomize` that makes a module look as if it were not installed."""

MAKE_APP = """
import json, sys
from streamsvc.app import create_app
from streamsvc.config.settings import Settings
create_app(Settings(), {})
print(json.dumps(list(sys.modules)))
"""


def shared(modules: list[str]) -> list[str]:
    """Return those that only a shared store needs."""
    return [name for name in modules if SHARED.match(name)]


async def test_a_service_of_one_process_loads_nothing_of_redis(tmp_path: Path) -> None:
    environ = {"PYTHONPROFILEIMPORTTIME": "1"}
    async with serve(tmp_path, {"LOG__KIND": "memory"}, environ=environ) as service:
        answer = await service.client.get("/stream-ai?prompt=hi")
        assert "event: done" in answer.text
        assert await service.terminate() == 0
    imported = IMPORT.findall(service.output)
    assert "streamsvc.eventlog.memory" in imported
    assert shared(imported) == []


def test_an_application_of_one_process_loads_nothing_of_redis(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAKE_APP], cwd=tmp_path, capture_output=True, check=True, timeout=60
    )
    modules = json.loads(done.stdout)
    assert "streamsvc.app" in modules
    assert shared(modules) == []


@pytest.mark.promise("input:clear-error")
def test_a_missing_client_of_redis_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_REDIS)
    (tmp_path / "config.toml").write_text('[log]\nkind = "redis"\n')
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = commands.run(tmp_path, "serve", environ={"PYTHONPATH": path})
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [it for it in (done.stdout + done.stderr).splitlines() if "redis" in it]
    assert "log.kind" in line
    assert extras.install("redis") in line
