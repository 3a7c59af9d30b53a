"""`streamsvc doctor` as an operator runs it: as a process, beside real servers."""

import io
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

import streamsvc
from streamsvc.cli import main
from support.commands import COMMAND, environment
from support.free_answers import Answer, free_answers
from support.process import serve
from support.redis_servers import free_port, running_redis

KEY = "sk-planted-0123456789abcdefghijklmnop"
UNAUTHORIZED: Answer = (
    401,
    '{"error": {"code": "invalid_api_key", "message": "Incorrect API key: sk-pla"}}',
)


async def doctor(
    directory: Path,
    environ: Mapping[str, str] | None = None,
    *arguments: str,
    command: list[str] = COMMAND,
) -> tuple[int, str]:
    """Run it; return the exit code and what it prints; nothing secret may be in that."""
    settings = {"STREAMSVC_SERVER__PORT": str(free_port()), **(environ or {})}
    clean = {
        name: text
        for name, text in environment(settings).items()
        if "API_KEY" not in name or name in settings
    }
    with anyio.fail_after(60):
        done = await anyio.run_process(
            [*command, "doctor", *arguments], cwd=directory, env=clean, check=False
        )
    output = done.stdout.decode() + done.stderr.decode()
    assert "planted" not in output
    assert "Traceback" not in output
    return done.returncode, output


async def report(directory: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Run it with `--json`; return its report, with the checks by what they are about."""
    code, output = await doctor(directory, environ, "--json")
    report = json.loads(output)
    assert code == (report["status"] == "fail")
    return dict(report)


def checks(report: Mapping[str, Any], what: str) -> list[tuple[str, str, str]]:
    found = [
        (it["status"], it["found"], it["advice"]) for it in report["checks"] if it["what"] == what
    ]
    assert found, report
    return found


def openai(url: str, *, model: str = "m") -> dict[str, str]:
    """Return the variables of a service whose provider is a server at a URL."""
    return {
        "STREAMSVC_PROVIDER": "mine",
        "STREAMSVC_PROVIDERS__MINE__KIND": "openai",
        "STREAMSVC_PROVIDERS__MINE__MODEL": model,
        "STREAMSVC_PROVIDERS__MINE__BASE_URL": url,
        "STREAMSVC_PROVIDERS__MINE__API_KEY_ENV": "MINE_KEY",
        "MINE_KEY": KEY,
    }


async def test_all_is_well_with_the_fake_provider(tmp_path: Path) -> None:
    code, output = await doctor(tmp_path)
    assert code == 0
    lines = output.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}
    assert any(line.startswith("ok    provider fake") for line in lines)
    assert "port" in output
    assert "is free" in output
    assert "descriptors" in output


@pytest.mark.promise("input:clear-error")
async def test_each_setting_names_its_source_and_mistakes_fail(tmp_path: Path) -> None:
    """The checks after a mistake run, with the default of that setting."""
    (tmp_path / "config.toml").write_text(
        '[server]\nport = 70000\n[log]\nurl = "redis://:planted@h"\n'
    )
    found = await report(tmp_path, {"STREAMSVC_PROVIDER": "opnai", "STREAMSVC_SERVER__PORT": ""})
    settings = checks(found, "settings")
    assert [status for status, *_ in settings].count("fail") == 2
    texts = [text for _, text, _ in settings]
    assert "config.toml sets server.port, log.url" in texts or "config.toml sets log.url" in texts
    assert "STREAMSVC_PROVIDER sets provider" in texts
    assert checks(found, "provider fake")


async def test_settings_of_the_file_that_are_not_defaults_are_named(tmp_path: Path) -> None:
    """The shipped file states each default; a list of all would hide what an operator has changed."""
    shipped = (Path(streamsvc.__file__).parent / "config.toml").read_text()
    for text, named in (
        (shipped, "providers.openai, providers.gemini"),
        ("[server]\nport = 8000\n", "only defaults"),
        ("[providers.fake]\nkind = 'fake'\nseed = 7\n", "providers.fake.seed"),
    ):
        (tmp_path / "config.toml").write_text(text)
        (_, found, _), *_ = checks(await report(tmp_path, {}), "settings")
        assert found.endswith(f"config.toml sets {named}")


@pytest.mark.promise("secret:kept")
async def test_provider_that_takes_the_key_is_ok(tmp_path: Path) -> None:
    async with free_answers({"GET /v1/models/m": (200, '{"id": "m"}')}) as api:
        found = await report(tmp_path, openai(f"{api.url}/v1"))
    [(status, text, _)] = checks(found, "provider mine")
    assert status == "ok"
    assert "the key is accepted and the model 'm' is known" in text
    assert "TCP" in text
    assert "answer" in text
    assert checks(found, "clock") == [("ok", "agrees with mine", "")]
    assert checks(found, "key mine") == [("ok", "MINE_KEY is set", "")]
    assert f"authorization: bearer {KEY}" in api.requests[0].lower()


@pytest.mark.promise("secret:kept")
async def test_wrong_key_fails_and_is_not_shown(tmp_path: Path) -> None:
    async with free_answers({"GET /v1/models/m": UNAUTHORIZED}) as api:
        code, output = await doctor(tmp_path, openai(f"{api.url}/v1"))
    assert code == 1
    [line] = [line for line in output.splitlines() if line.startswith("fail")]
    assert "provider mine" in line
    assert line.endswith(
        ": the provider refuses the key – check the key in MINE_KEY, and what it may do"  # noqa: RUF001
    )


@pytest.mark.promise("input:clear-error")
async def test_provider_that_nobody_serves_is_unreachable(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://planted:planted@127.0.0.1:{port}/v1"
    found = await report(tmp_path, openai(url))
    [(status, text, advice)] = checks(found, "provider mine")
    assert (status, text) == ("fail", f"127.0.0.1:{port} (DNS 0 ms): nothing answers there")
    assert "providers.mine.base_url" in advice


async def test_own_service_on_the_port_is_recognized(tmp_path: Path) -> None:
    async with serve(tmp_path, {}) as service:
        environ = {"STREAMSVC_SERVER__PORT": str(service.port)}
        found = await report(tmp_path, environ)
    assert checks(found, "port") == [
        ("ok", "streamsvc runs there: ready, 0 answers, 0 viewers", "")
    ]


@pytest.mark.needs("valkey")
@pytest.mark.promise("input:clear-error")
async def test_redis_that_evicts_answers_fails(tmp_path: Path) -> None:
    with running_redis(policy="allkeys-lru", maxmemory="64mb", password="planted") as server:
        environ = {"STREAMSVC_LOG__KIND": "redis", "STREAMSVC_LOG__URL": server.url}
        found = await report(tmp_path, environ)
    statuses = {
        text.partition(":")[0].split(",")[0]: status for status, text, _ in checks(found, "redis")
    }
    assert statuses.pop("maxmemory-policy allkeys-lru") == "fail"
    assert set(statuses.values()) == {"ok"}
    assert len(statuses) == 3
    assert checks(found, "clock")[0][1] == "agrees with Redis"


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit is missing")
@pytest.mark.promise("input:clear-error")
async def test_too_few_descriptors_are_noticed(tmp_path: Path) -> None:
    command = ["prlimit", "--nofile=1024:1024", *COMMAND]
    _, output = await doctor(tmp_path, {}, command=command)
    [line] = [line for line in output.splitlines() if " descriptors " in line]
    assert line.startswith("warn")
    assert "1024 open files are allowed" in line
    assert "LimitNOFILE" in line


def test_terminal_with_few_characters_gets_all_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["doctor", "--port", "0"]) == 0
    assert b"ok    port          \\u2013 a free one on 127.0.0.1 is free" in written.getvalue()
