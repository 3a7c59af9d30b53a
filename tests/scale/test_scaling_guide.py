"""What `docs/operate/scale.md` shows is what runs: its settings, its Redis, its command."""

import re
import tomllib
from pathlib import Path

import anyio
import pytest

from support.eventstream import view
from support.redis_servers import RedisServer, running_redis
from support.workers import serve_workers

PAGE = (Path(__file__).parents[2] / "docs" / "operate" / "scale.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.needs("valkey")


def block(language: str) -> str:
    """Return the first code block of the page in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def configure(server: RedisServer, lines: str) -> None:
    """Apply lines of a redis.conf to a running server; that of the user whom the test is comes last."""
    for line in sorted(lines.splitlines(), key=lambda line: line.startswith("user default")):
        name, *values = line.split()
        command = ("ACL", "SETUSER") if name == "user" else ("CONFIG", "SET", name)
        server.command(*command, *values)


@pytest.mark.promise("resume:no-gap")
async def test_workers_serve_with_the_settings_and_redis_of_the_guide(tmp_path: Path) -> None:
    settings = tomllib.loads(block("toml"))
    command = f"streamsvc serve --workers {settings['server']['workers']}"
    assert f"\n{command}\n```\n" in PAGE
    (tmp_path / "config.toml").write_text(block("toml"))
    with running_redis() as server:
        configure(server, block("conf"))
        secret = re.search(r">(\S+)", block("conf"))
        assert secret
        url = f"redis://streamsvc:{secret[1]}@{server.host}:{server.port}/0"
        variables = {"LOG__URL": url, "LOG__PREFIX": "streamsvc"}
        variables |= {"PROVIDERS__FAKE__WORDS_PER_SECOND": "0"}
        async with serve_workers(tmp_path, server, variables) as service:
            with anyio.fail_after(60):
                for _ in range(4):
                    async with view(service.port, "/stream-ai?prompt=hello") as answer:
                        while (await answer.event()).type != "done":
                            pass
                assert await service.terminate() == 0
    assert service.output.count("store.connected kind=valkey") == 2
    assert "policy=noeviction" in service.output
    service.assert_quiet()
