"""`streamsvc deploy`: each file is valid, and its numbers come from the settings."""

import configparser
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamsvc.config.guard_settings import AuthSettings, JWTSettings
from streamsvc.config.load import read
from streamsvc.config.provider_settings import FakeSettings, OpenAISettings
from streamsvc.config.settings import (
    LimitSettings,
    LogSettings,
    ServerSettings,
    Settings,
    StreamSettings,
)
from streamsvc.deploy.caddy import caddy
from streamsvc.deploy.command import FILES, run
from streamsvc.deploy.compose import compose
from streamsvc.deploy.docker import dockerfile
from streamsvc.deploy.k8s import k8s
from streamsvc.deploy.nginx import nginx
from streamsvc.deploy.plan import Plan, plan_of
from streamsvc.deploy.systemd import systemd
from streamsvc.server.descriptors import room_for_connections
from support.deployment import PLACE

DEFAULT = Plan(Settings())

CHANGED = Settings(
    provider="mine",
    server=ServerSettings(
        host="0.0.0.0",
        port=9000,
        workers=3,
        hosts=("a.example", "*.b.example", "127.0.0.1"),
        root_path="/llm",
        request_seconds=20.5,
        drain_seconds=60.5,
        close_seconds=7,
    ),
    stream=StreamSettings(ping_seconds=100, send_timeout_seconds=11),
    log=LogSettings(kind="redis", url="redis://:planted@r.example/0"),
    limits=LimitSettings(max_connections=500, max_generations=100, max_body_bytes=1234),
    auth=AuthSettings(keys_file="keys.toml"),
    providers={
        "mine": OpenAISettings(
            model="m", api_key_env="MINE_KEY", fallbacks=("fake",), total_seconds=90
        ),
        "fake": FakeSettings(total_seconds=30),
    },
)
"""Drains for 60.5 s, closes within 7 s, and has 5 s for the rest: 73 s."""

VARIABLES = {"STREAMSVC_PROVIDERS__FAKE__TEXT": 'a "quoted" $word %h\\n: #'}
OTHER = Plan(CHANGED, VARIABLES, has_file=True)


@pytest.mark.promise("secret:kept")
@pytest.mark.parametrize("kind", FILES)
def test_no_file_contains_a_password(kind: str) -> None:
    assert "planted" not in FILES[kind][1](OTHER)


@pytest.mark.promise("secret:kept")
@pytest.mark.parametrize("kind", FILES)
def test_key_in_the_place_of_its_variable_is_not_shown(kind: str) -> None:
    entry = OpenAISettings(model="m", api_key_env="skplanted0123456789")
    assert "planted" not in FILES[kind][1](Plan(Settings(provider="a", providers={"a": entry})))


# ---- Kubernetes


def manifests(plan: Plan) -> dict[str, Any]:
    return {it["kind"]: it for it in yaml.safe_load_all(k8s(plan))}


def pod(plan: Plan) -> dict[str, Any]:
    return dict(manifests(plan)["Deployment"]["spec"]["template"]["spec"])


def variables(container: Mapping[str, Any]) -> dict[str, Any]:
    return {it["name"]: it.get("value") for it in container["env"]}


@pytest.mark.promise("drain:no-loss")
@pytest.mark.parametrize(("plan", "seconds"), [(DEFAULT, 18), (OTHER, 73)])
def test_pod_has_time_to_drain(plan: Plan, seconds: int) -> None:
    spec = pod(plan)
    [container] = spec["containers"]
    [_, before] = container["lifecycle"]["preStop"]["exec"]["command"]
    assert spec["terminationGracePeriodSeconds"] == int(before) + seconds
    assert manifests(plan)["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 1,
        "maxUnavailable": 0,
    }


@pytest.mark.parametrize(("plan", "port"), [(DEFAULT, 8000), (OTHER, 9000)])
def test_probes_ask_the_port_of_the_container(plan: Plan, port: int) -> None:
    [container] = pod(plan)["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    assert variables(container)["STREAMSVC_SERVER__PORT"] == str(port)
    paths = {it: container[f"{it}Probe"]["httpGet"] for it in ("startup", "liveness", "readiness")}
    assert {it["port"] for it in paths.values()} == {"http"}
    assert paths["readiness"]["path"] == "/readyz"
    assert paths["liveness"]["path"] == paths["startup"]["path"] == "/healthz"


def test_labels_of_the_manifests_agree() -> None:
    every = manifests(DEFAULT)
    labels = {"app.kubernetes.io/name": "streamsvc"}
    deployment = every["Deployment"]["spec"]
    assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    assert every["Service"]["spec"]["selector"] == labels == deployment["selector"]["matchLabels"]
    assert every["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_pods_without_redis_are_one_and_with_it_more() -> None:
    assert manifests(DEFAULT)["Deployment"]["spec"]["replicas"] == 1
    assert manifests(OTHER)["Deployment"]["spec"]["replicas"] == 2
    [container] = pod(OTHER)["containers"]
    [url] = [it for it in container["env"] if it["name"] == "STREAMSVC_LOG__URL"]
    assert url["valueFrom"]["secretKeyRef"] == {"name": "streamsvc-redis", "key": "url"}


@pytest.mark.promise("door:closed")
def test_pods_ask_for_keys_unless_the_settings_let_everybody_in() -> None:
    """A pod listens on every address; without any of these the service would not start."""
    for plan in (DEFAULT, OTHER):
        [container] = pod(plan)["containers"]
        assert variables(container)["STREAMSVC_AUTH__KEYS_FILE"] == "/etc/streamsvc/keys/keys.toml"
        assert "keys" in {it["name"] for it in container["volumeMounts"]}
    for settings in (
        Settings(auth=AuthSettings(allow_anonymous=True)),
        Settings(jwt=JWTSettings(issuer="https://i.example")),
    ):
        spec = pod(Plan(settings))
        assert "volumes" not in spec
        assert "volumeMounts" not in spec["containers"][0]


def test_pod_gets_the_settings_of_file_and_environment() -> None:
    spec = pod(OTHER)
    [container] = spec["containers"]
    given = variables(container)
    assert given.items() >= VARIABLES.items()
    assert given["STREAMSVC_CONFIG"] == "/etc/streamsvc/config/config.toml"
    assert {"name": "config", "configMap": {"name": "streamsvc"}} in spec["volumes"]
    assert given["STREAMSVC_SERVER__HOSTS"].split(",")[:2] == ["a.example", "*.b.example"]
    assert "streamsvc" in given["STREAMSVC_SERVER__HOSTS"].split(",")
    assert container["envFrom"][0]["secretRef"]["optional"] is False
    assert "Needed: MINE_KEY." in k8s(OTHER)


def test_settings_of_the_pod_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    for plan in (DEFAULT, OTHER):
        [container] = pod(plan)["containers"]
        given = {name: text for name, text in variables(container).items() if text}
        given.pop("STREAMSVC_CONFIG", None)
        loaded = read(tmp_path / "config.toml", given)
        assert loaded.mistakes == []
        assert loaded.settings.server.port == plan.port


def test_memory_of_the_pod_follows_the_limits() -> None:
    def limit(settings: Settings) -> int:
        [container] = pod(Plan(settings))["containers"]
        return int(container["resources"]["limits"]["memory"].removesuffix("Mi"))

    more = Settings(limits=LimitSettings(max_total_unread_bytes=1_256_000_000))
    assert limit(more) - limit(Settings()) in range(950, 957)


# ---- Compose


@pytest.mark.promise("drain:no-loss")
@pytest.mark.parametrize(("plan", "seconds"), [(DEFAULT, 18), (OTHER, 73)])
def test_compose_waits_for_the_drain(plan: Plan, seconds: int) -> None:
    service = yaml.safe_load(compose(plan))["services"]["streamsvc"]
    assert service["stop_grace_period"] == f"{seconds}s"
    assert service["stop_signal"] == "SIGTERM"


@pytest.mark.parametrize("plan", [DEFAULT, OTHER])
def test_compose_allows_the_descriptors_of_the_limits(plan: Plan) -> None:
    service = yaml.safe_load(compose(plan))["services"]["streamsvc"]
    limits = plan.settings.limits
    room = room_for_connections(service["ulimits"]["nofile"], limits.max_generations)
    assert limits.max_connections <= room < limits.max_connections + 10


def test_compose_publishes_the_port_on_this_machine_only() -> None:
    service = yaml.safe_load(compose(DEFAULT))["services"]["streamsvc"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert service["environment"]["STREAMSVC_AUTH__ALLOW_ANONYMOUS"] == "true"
    assert "STREAMSVC_AUTH__ALLOW_ANONYMOUS" not in compose(OTHER)


def test_compose_builds_the_image_in_the_root_of_the_source_tree() -> None:
    build = yaml.safe_load(compose(DEFAULT))["services"]["streamsvc"]["build"]
    context = PLACE.parents[2] / build["context"]
    assert (context / build["dockerfile"]) == PLACE / "Dockerfile"
    assert (context / "pyproject.toml").is_file()


def test_compose_has_valkey_if_answers_are_kept_there() -> None:
    assert [*yaml.safe_load(compose(DEFAULT))["services"]] == ["streamsvc"]
    services = yaml.safe_load(compose(OTHER))["services"]
    assert "noeviction" in services["valkey"]["command"]
    assert services["streamsvc"]["environment"]["STREAMSVC_LOG__URL"] == "redis://valkey:6379/0"
    assert services["streamsvc"]["depends_on"] == {"valkey": {"condition": "service_healthy"}}


def test_compose_mounts_the_files_of_the_settings() -> None:
    service = yaml.safe_load(compose(OTHER))["services"]["streamsvc"]
    assert service["volumes"] == [
        "./config.toml:/etc/streamsvc/config.toml:ro",
        "./keys.toml:/etc/streamsvc/keys.toml:ro",
    ]
    keys = AuthSettings(keys_file="/srv/keys.toml")
    [mount] = yaml.safe_load(compose(Plan(Settings(auth=keys))))["services"]["streamsvc"]["volumes"]
    assert mount == "/srv/keys.toml:/srv/keys.toml:ro"


def test_compose_takes_no_dollar_for_a_variable() -> None:
    environment = yaml.safe_load(compose(OTHER))["services"]["streamsvc"]["environment"]
    assert {name: environment[name].replace("$$", "$") for name in VARIABLES} == VARIABLES


# ---- systemd


def unit(plan: Plan) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as documented
    parser.read_string(systemd(plan))
    return parser


@pytest.mark.promise("drain:no-loss")
@pytest.mark.parametrize(("plan", "seconds"), [(DEFAULT, 18), (OTHER, 73)])
def test_systemd_waits_for_the_drain(plan: Plan, seconds: int) -> None:
    service = unit(plan)["Service"]
    assert service["TimeoutStopSec"] == str(seconds)
    assert (service["KillSignal"], service["KillMode"]) == ("SIGTERM", "mixed")


def test_systemd_has_the_limits_of_the_settings() -> None:
    service = unit(OTHER)["Service"]
    assert room_for_connections(int(service["LimitNOFILE"]), 100) >= 500
    assert service["MemoryMax"] == f"{OTHER.memory_mib}M"
    assert 'a \\"quoted\\" $word %%h\\\\n: #' in service["Environment"]


def test_low_port_gets_the_capability_for_it() -> None:
    assert unit(DEFAULT)["Service"]["CapabilityBoundingSet"] == ""
    low = unit(Plan(Settings(server=ServerSettings(port=443))))["Service"]
    assert low["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
@pytest.mark.parametrize("plan", [DEFAULT, OTHER])
def test_systemd_accepts_the_unit(tmp_path: Path, plan: Plan) -> None:
    path = tmp_path / "streamsvc.service"
    path.write_text(systemd(plan).replace("/opt/streamsvc/bin/streamsvc", "/bin/sh"))
    done = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, check=False
    )
    assert "streamsvc.service" not in done.stderr


# ---- Proxies


@pytest.mark.parametrize("plan", [DEFAULT, OTHER])
def test_proxies_wait_longer_than_the_service_is_silent(plan: Plan) -> None:
    [stream, whole] = map(int, re.findall(r"proxy_read_timeout (\d+)s;", nginx(plan)))
    settings = plan.settings
    assert stream > 2 * settings.stream.ping_seconds
    assert all(stream > entry.first_token_bound for entry in settings.providers.values())
    assert whole > max(entry.total_seconds for entry in settings.providers.values())
    assert f"read_timeout {whole}s" in caddy(plan)


def test_proxies_take_names_sizes_and_times_from_the_settings() -> None:
    text = nginx(OTHER)
    assert "server_name a.example;" in text
    assert "server 127.0.0.1:9000;" in text
    assert "client_max_body_size 1234;" in text
    assert "client_body_timeout 21s;" in text
    assert "send_timeout 11s;" in text
    assert "location /llm/ {" in text
    assert "proxy_pass http://streamsvc/;" in text
    text = caddy(OTHER)
    assert "a.example {" in text
    assert "handle_path /llm/*" in text


# ---- The image


def test_image_listens_where_it_is_asked_for_its_health() -> None:
    text = dockerfile(OTHER)
    assert "EXPOSE 9000" in text
    assert "STREAMSVC_SERVER__PORT=9000" in text
    assert "'9000') + '/healthz'" in text
    assert "--stop-timeout 73" in text
    assert "USER 10001:10001" in text
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"python:3.13-slim"}


# ---- The command


def test_command_prints_the_file_of_the_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text('provider = "openai"\n[server]\ndrain_seconds = 100.0\n')
    environ = {"STREAMSVC_SERVER__CLOSE_SECONDS": "20"}
    assert run("systemd", path, environ, {}) == 0
    text = capsys.readouterr().out
    assert "TimeoutStopSec=125" in text
    assert "Its environment needs OPENAI_API_KEY." in text
    assert 'Environment="STREAMSVC_SERVER__CLOSE_SECONDS=20"' in text


@pytest.mark.promise("input:clear-error")
def test_command_refuses_wrong_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("k8s", None, {"STREAMSVC_PROVIDER": "opnai"}, {}) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("STREAMSVC_PROVIDER: found 'opnai'")


def test_keys_and_traces_of_the_environment_are_where_it_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    environ = {
        "STREAMSVC_PROVIDER": "gemini",
        "STREAMSVC_METRICS__ACCESS": "key",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=planted",
    }
    assert run("systemd", None, environ, {}) == 0
    text = capsys.readouterr().out
    assert "Its environment needs GEMINI_API_KEY, METRICS_KEY." in text
    assert 'Environment="OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.example:4318"' in text
    assert "pip install 'streamsvc[gemini,otel]'" in text
    assert "planted" not in text


@pytest.mark.promise("secret:kept")
def test_variables_with_secrets_are_not_carried_over() -> None:
    environ = {
        "STREAMSVC_LOG__URL": "redis://:planted@h",
        "STREAMSVC_PROVIDERS__FAKE__TEXT": "user:planted@host",
        "STREAMSVC_SERVER__PORT": "9000",
    }
    plan = plan_of(read(None, environ), environ, has_file=False)
    assert plan.variables == {"STREAMSVC_SERVER__PORT": "9000"}


@pytest.mark.parametrize("kind", ["docker", "compose", "k8s", "systemd", "nginx", "caddy"])
def test_flags_are_carried_over_like_variables(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a file sets is what `serve` would run with, however it was said."""
    environ = {"STREAMSVC_SERVER__PORT": "9000", "STREAMSVC_SERVER__LOG_LEVEL": "debug"}
    assert run(kind, None, environ, {}) == 0
    with_variables = capsys.readouterr().out
    flags = {"--port": "9000", "--log-level": "debug"}
    assert run(kind, None, {"STREAMSVC_SERVER__PORT": "7000"}, flags) == 0
    with_flags = capsys.readouterr().out
    assert "9000" in with_flags
    assert "--" not in "".join(plan_of(read(None, {}, flags), flags, has_file=False).variables)
    assert sorted(with_flags.splitlines()) == sorted(with_variables.splitlines())


@pytest.mark.promise("input:clear-error")
def test_mistake_in_a_flag_names_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nginx", None, {}, {"--port": "http"}) == 2
    assert capsys.readouterr().err.startswith("--port: ")
