"""What `streamsvc doctor` says about settings, files, Redis and the machine, without a process for each case."""

import os
from pathlib import Path

import anyio
import pytest

from streamsvc.config.guard_settings import AuthSettings, JWTSettings
from streamsvc.config.load import read
from streamsvc.config.settings import (
    CorsSettings,
    LimitSettings,
    LogSettings,
    ServerSettings,
    Settings,
)
from streamsvc.doctor import command, machine, settings, store
from streamsvc.doctor.clocks import Clocks
from streamsvc.doctor.findings import Finding, worst
from streamsvc.doctor.places import place_of
from streamsvc.server import descriptors, sizing
from streamsvc.server.descriptors import needed_for, room_for_connections
from streamsvc.store.client import Store
from streamsvc.store.scripts import PROBE
from support.free_answers import free_answers
from support.redis_servers import RedisServer, free_port, running_redis


def statuses(findings: list[Finding]) -> list[str]:
    return [it.status for it in findings]


# ---- Settings and files


def test_file_that_cannot_be_read_is_the_only_mistake(tmp_path: Path) -> None:
    loaded = read(tmp_path / "none.toml", {"STREAMSVC_PROVIDER": "opnai"})
    [mistake] = loaded.mistakes
    assert "no readable file" in mistake
    assert loaded.settings == Settings()


def test_later_source_of_a_setting_wins(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[server]\nport = 1\nhost = "127.0.0.1"\n')
    loaded = read(path, {"STREAMSVC_SERVER__PORT": "2"}, {"--port": "3"})
    assert loaded.sources == {"server.port": "--port", "server.host": str(path)}
    loaded = read(path, {"STREAMSVC_SERVER__PORT": "2"})
    assert loaded.sources["server.port"] == "STREAMSVC_SERVER__PORT"


@pytest.mark.skipif(os.name != "posix", reason="files have no modes")
@pytest.mark.parametrize(("mode", "expected"), [(0o600, []), (0o644, ["warn"]), (0o666, ["fail"])])
def test_keys_file_that_others_can_open_is_noticed(
    tmp_path: Path, mode: int, expected: list[str]
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text("[principals.a]\n")
    keys.chmod(mode)
    found = [*settings._keys_file(Settings(auth=AuthSettings(keys_file=str(keys))))]
    assert [it.status for it in found] == ["ok", "warn", *expected]


def test_keys_file_with_a_mistake_fails(tmp_path: Path) -> None:
    found = [*settings._keys_file(Settings(auth=AuthSettings(keys_file=str(tmp_path / "none"))))]
    assert statuses(found) == ["fail"]


@pytest.mark.skipif(os.name != "posix", reason="files have no modes")
def test_settings_file_that_others_can_write_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    path.chmod(0o666)
    assert statuses([*settings._config_file(path)]) == ["warn"]
    assert statuses([*settings._config_file(tmp_path / "none")]) == []


PUBLIC = ServerSettings(host="0.0.0.0", hosts=("a.example",))
KEYS = AuthSettings(keys_file="keys.toml")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Settings(), ["ok"]),
        (Settings(server=PUBLIC, auth=KEYS), ["ok"]),
        (Settings(server=PUBLIC, auth=AuthSettings(allow_anonymous=True)), ["warn"]),
        (Settings(server=ServerSettings(host="0.0.0.0"), auth=KEYS), ["ok", "warn"]),
        (Settings(cors=CorsSettings(origins=("*",))), ["ok", "warn"]),
        (Settings(cors=CorsSettings(origins=("*",)), auth=KEYS), ["ok"]),
    ],
)
def test_access_that_is_wider_than_it_seems_is_noticed(
    found: Settings, expected: list[str]
) -> None:
    assert statuses([*settings._access(found)]) == expected


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Settings(log=LogSettings(kind="redis"), jwt=JWTSettings(issuer="https://i"))
    [found] = settings._libraries(wanted)
    assert "joserfc" in found.found
    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    assert statuses([*settings._libraries(wanted)]) == ["warn", "warn", "ok", "warn"]


# ---- The port


async def test_foreign_program_on_the_port_fails() -> None:
    async with free_answers({}) as other:
        port = int(other.url.rpartition(":")[2])
        [found] = await machine.check_port(Settings(server=ServerSettings(port=port)))
    assert found.status == "fail"
    assert found.found.startswith(f"server.port: {port} on 127.0.0.1 is in use by another process")


@pytest.mark.parametrize(
    ("alive", "ready", "status"),
    [
        ('{"status": "ok"}', '{"status": "draining", "generations": 2, "viewers": 3}', "warn"),
        ('{"status": "fine"}', '{"status": "ready", "generations": 2, "viewers": 3}', "fail"),
    ],
)
async def test_service_on_the_port_says_how_it_is(alive: str, ready: str, status: str) -> None:
    answers = {"GET /healthz": (200, alive), "GET /readyz": (503, ready)}
    async with free_answers(answers) as other:
        port = int(other.url.rpartition(":")[2])
        [found] = await machine.check_port(Settings(server=ServerSettings(port=port)))
    assert found.status == status
    assert status == "fail" or found.found.endswith("draining, 2 answers, 3 viewers (draining)")


# ---- Descriptors, queue, memory


@pytest.mark.parametrize(("limit", "status"), [(128, "fail"), (1024, "warn"), (12_000, "ok")])
def test_too_few_descriptors_are_noticed(
    monkeypatch: pytest.MonkeyPatch, limit: int, status: str
) -> None:
    monkeypatch.setattr(descriptors, "highest_limit", lambda: limit)
    assert machine._descriptors(Settings()).status == status


@pytest.mark.parametrize("upstream", [1, 1000, 50_000])
@pytest.mark.parametrize("connections", [1, 100, 10_000])
def test_needed_descriptors_are_enough(connections: int, upstream: int) -> None:
    needed = needed_for(connections, upstream)
    assert room_for_connections(needed, upstream) >= connections


def test_short_queue_of_the_kernel_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "n").write_text("128\n")
    monkeypatch.setattr(machine, "_SOMAXCONN", tmp_path / "n")
    assert statuses([*machine._queue()]) == ["warn"]
    monkeypatch.setattr(machine, "_SOMAXCONN", tmp_path / "none")
    assert [*machine._queue()] == []


@pytest.mark.parametrize(
    ("text", "expected"), [("max", []), ("200000000", ["warn"]), ("99000000000", ["ok"])]
)
def test_memory_of_the_container_is_compared_with_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: list[str]
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "memory.max").write_text(text)
    (tmp_path / "own").write_text("0::/a/b\n")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(machine, "_physical", lambda: None)
    assert statuses([*machine._memory(Settings())]) == expected


def test_sizes_follow_the_settings() -> None:
    small = Settings(server=ServerSettings(drain_seconds=0.5, close_seconds=1))
    assert sizing.stop_seconds(small) == 7
    assert sizing.stop_seconds(Settings()) == 18
    assert sizing.memory_bytes(
        Settings(server=ServerSettings(workers=2))
    ) == 2 * sizing.memory_bytes(small)
    assert sizing.descriptors_needed(LimitSettings(max_connections=10, max_generations=5)) == 79


# ---- Redis


async def checked(url: str) -> list[Finding]:
    found = [*await store.check_store(LogSettings(kind="redis", url=url), Clocks())]
    assert "planted" not in str(found)
    return found


async def test_redis_that_is_well_is_ok(valkey: RedisServer) -> None:
    found = await checked(valkey.url)
    assert {it.status for it in found} == {"ok"}
    assert "valkey 9" in found[0].found
    assert found[-1].found == "it accepts all 19 scripts"


@pytest.mark.promise("input:clear-error")
async def test_redis_that_is_away_fails() -> None:
    [found] = await checked(f"redis://:planted@127.0.0.1:{free_port()}/0")
    assert (found.status, found.advice) == ("fail", "does the server in log.url run?")
    assert found.found.endswith("the server cannot be used (unreachable)")


@pytest.mark.promise("input:clear-error")
async def test_redis_that_hangs_is_given_up_in_time(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "STORE_SECONDS", 0.1)
    monkeypatch.setattr(Store, "probe", lambda _: anyio.sleep_forever())
    [found] = await checked(valkey.url)
    assert found.found.endswith("(silent)")


@pytest.mark.needs("valkey")
async def test_user_with_few_permissions_is_named() -> None:
    with running_redis() as server:
        server.command("ACL", "SETUSER", "app", "on", ">planted", "~*", "+@all", "-info", "-script")
        server.command("SCRIPT", "LOAD", PROBE.source)
        found = await checked(server.url.replace("://", "://app:planted@"))
    assert statuses(found) == ["warn", "ok", "fail"]
    assert "INFO" in found[0].found
    assert "scripts" in found[-1].found


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"redis_version": "6.0.1", "maxmemory_policy": "noeviction"}, ["fail", "ok"]),
        ({"redis_version": "7.2", "role": "slave", "maxmemory_policy": "volatile-lru"}, ["ok", "fail", "warn"]),
        ({"redis_version": "7.2", "maxmemory_policy": "allkeys-lru", "maxmemory": 8_000_000}, ["ok", "fail"]),
    ],
)  # fmt: skip
def test_server_of_the_wrong_kind_is_noticed(info: dict[str, object], expected: list[str]) -> None:
    assert statuses([*store._judge_server(info, "h")]) == expected


async def test_slow_redis_is_noticed(valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_SLOW_SECONDS", 0)
    found = await checked(valkey.url)
    assert [it.status for it in found if "median" in it.found] == ["warn"]


def test_place_of_a_server_has_no_password() -> None:
    assert place_of("unix://:planted@/run/redis?db=1") == "/run/redis"
    assert place_of("rediss://u:planted@[::1]/1", 6379) == "[::1]:6379"
    assert place_of("https://u:planted@h/x?planted") == "h"


# ---- All of it


async def test_bug_in_one_check_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Settings) -> list[Finding]:
        raise ValueError("planted")

    monkeypatch.setattr(command, "check_port", broken)
    found = await command.check_all(read(tmp_path / "none", {}), None, {})
    [port] = [it for it in found if it.what == "port"]
    assert port.status == worst(found) == "fail"
    assert "ValueError" in port.found
    assert "planted" not in port.found
    assert any(it.what == "provider fake" for it in found)
