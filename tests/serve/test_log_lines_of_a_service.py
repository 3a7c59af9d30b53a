"""The log of `python -m streamsvc serve` as a process of its own, as text and as JSON, and the flags that choose it."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.asking import CLIENTS, answered, entries, fetch, sent
from support.process import serve, write_config

DEAD = {
    "kind": "openai",
    "model": "m",
    "base_url": "http://127.0.0.1:1/v1",
    "api_key_env": "DEAD_KEY",
    "attempts": 2,
    "backoff_seconds": 0.01,
}
SECRET = "xyzzy-plugh"

LINE = re.compile(r"(\S+ \S+) (\w+) +(\S+) (.*)")
"""The time, the level, the logger and the message of a line of text."""

FIELD = re.compile(r"(\w+)=\S+")


async def a_day(directory: Path, *arguments: str) -> str:
    """Run a service through answers, a refusal, failures of upstreams and a drain; return what it logs."""
    sections: dict[str, Mapping[str, object]] = {
        **entries(),
        "providers.dead": DEAD,
        "server": {"access_log": True, "drain_seconds": 0.0},
    }
    write_config(directory, sections)
    native = CLIENTS["native"]
    environ = {"DEAD_KEY": SECRET}
    async with serve(directory, {}, arguments=arguments, environ=environ) as service:
        for provider in ("fake", "broken", "dead"):
            await answered(service.port, native.request(provider, prompt=SECRET))
        await fetch(service.port, f"/nothing?{SECRET}")
        async with sent(service.port, native.request("held")) as held:
            await held.event()
            assert await service.terminate() == 0
    return service.output


def events_of(lines: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, list[str]]]:
    """Return the level, the logger, the event and the names of the fields of our own lines."""
    usual = {"time", "level", "logger", "event", "note"}
    return [
        (line["level"], line["logger"], line["event"], [name for name in line if name not in usual])
        for line in lines
        if "event" in line
    ]


def events_in_text(output: str) -> list[tuple[str, str, str, list[str]]]:
    """Return the same of lines of text."""
    found = [LINE.fullmatch(line) for line in output.splitlines()]
    return [
        (match[2].lower(), match[3], match[4].partition(" ")[0], FIELD.findall(match[4]))
        for match in found
        if match is not None and match[3].startswith("streamsvc.")
    ]


@pytest.mark.promise("secret:kept")
async def test_json_has_the_lines_of_the_text_with_typed_fields(tmp_path: Path) -> None:
    for name in ("text", "json"):
        (tmp_path / name).mkdir()
    output = {}

    async def run(name: str, *arguments: str) -> None:
        output[name] = await a_day(tmp_path / name, *arguments)

    with anyio.fail_after(100):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, "text")
            tasks.start_soon(run, "json", "--log-format", "json")
    lines: list[dict[str, Any]] = [json.loads(line) for line in output["json"].splitlines()]
    assert sorted(events_of(lines)) == sorted(events_in_text(output["text"]))
    assert SECRET not in output["text"] + output["json"]
    for line in lines:
        assert re.fullmatch(r"[\d-]+T[\d:]+\.\d{3}Z", line["time"])
        assert ("event" in line) != ("message" in line)
    assert any(line.get("message", "").startswith("Uvicorn running on ") for line in lines)
    by_event = {line["event"]: line for line in lines if "event" in line}
    assert {"call.failed", "drain.started", "drain.finished", "request.refused"} <= by_event.keys()
    ends = {line["provider"]: line for line in lines if line.get("event") == "generation.finished"}
    assert {name: line["outcome"] for name, line in ends.items()} == {
        "fake": "completed",
        "broken": "upstream_cut",
        "dead": "upstream_error",
        "held": "drained",
    }
    fine = ends["fake"]
    assert 0 <= fine["first_token"] <= fine["seconds"]
    assert fine["estimated"] is False
    assert isinstance(fine["input_tokens"], int)
    assert fine["output_tokens"] > 0
    assert (fine["calls"], fine["viewers"]) == (1, 1)
    assert "first_token" not in ends["dead"]
    asked = [line for line in lines if line.get("event") == "request.ended"]
    assert [(line["method"], line["route"], line["status"]) for line in asked] == [
        *[("POST", "/v1/generations", 200)] * 3,
        ("GET", "*", 404),
        ("POST", "/v1/generations", 200),
    ]
    assert [line["id"] for line in asked if "id" in line] == [
        ends[name]["id"] for name in ("fake", "broken", "dead", "held")
    ]
    assert all(0 <= line["first_byte"] <= line["seconds"] for line in asked)


async def test_flags_of_a_service_override_its_environment_and_file(tmp_path: Path) -> None:
    write_config(tmp_path, {"server": {"port": 1, "log_level": "info"}, **entries()})
    settings = {"SERVER__PORT": "2", "SERVER__LOG_LEVEL": "warning", "PROVIDER": "broken"}
    arguments = ("--port", "0", "--log-level", "debug", "--provider", "fake", "--host", "127.0.0.1")
    with anyio.fail_after(100):
        async with serve(tmp_path, settings, arguments=arguments) as service:
            assert service.port > 2
            await fetch(service.port, "/stream-ai?prompt=hi")
            await service.logged(r"generation.finished id=\S+ provider=fake .*outcome=completed")
