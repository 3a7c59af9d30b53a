"""What of an installation is optional, and what a service without the SDKs of providers says, when, and to whom."""

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from conftest import Serve
from streamsvc import cli, extras
from streamsvc.config.load import load, read
from streamsvc.config.provider_settings import KINDS, GeminiSettings, OpenAISettings
from streamsvc.config.settings import Settings
from streamsvc.doctor.clocks import Clocks
from streamsvc.doctor.providers import check_entry
from streamsvc.errors import ConfigError
from support.installed import lack

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


@pytest.fixture
def no_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "openai", "google.genai")


def test_the_table_has_the_extras_of_the_project() -> None:
    assert PROJECT["optional-dependencies"].keys() == extras._MODULES.keys() | {"all"}
    assert all(map(extras.is_installed, extras._MODULES))


def test_every_kind_with_an_sdk_has_an_extra_of_its_name() -> None:
    needed = {kind for kind, section in KINDS.items() if section(model="m").extra == kind}
    assert needed == {"gemini", "openai"} == KINDS.keys() - {"fake"}


def test_an_extra_is_missing_if_its_package_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """`find_spec` of "a.b" fails unless there is an "a"."""
    monkeypatch.setitem(extras._MODULES, "gemini", ("no_such_package.genai",))
    assert not extras.is_installed("gemini")


class Installed:
    """Files of an installed distribution."""

    def __init__(self, installer: str | None, origin: object | None) -> None:
        self.files: Mapping[str, str | None] = {
            "INSTALLER": installer,
            "direct_url.json": None if origin is None else json.dumps(origin),
        }

    def read_text(self, name: str) -> str | None:
        return self.files[name]


FOLDER = {"url": "file:///clone", "dir_info": {}}
CLONE = {"url": "file:///clone", "dir_info": {"editable": True}}
WHEEL = {"url": "file:///dist/streamsvc.whl", "archive_info": {}}


@pytest.mark.parametrize(
    ("installer", "origin", "is_tool", "command"),
    [
        ("uv", CLONE, False, "uv run --extra otel streamsvc …"),
        ("uv\n", FOLDER, True, "uv tool install --force '.[otel]' in the clone"),
        ("uv", CLONE, True, "uv tool install --force '.[otel]' in the clone"),
        ("uv", None, True, "uv tool install --force 'streamsvc[otel]'"),
        ("uv", WHEEL, False, "pip install 'streamsvc[otel]'"),
        ("pip\n", CLONE, False, "pip install 'streamsvc[otel]'"),
        ("pip", None, False, "pip install 'streamsvc[otel]'"),
        (None, None, False, "pip install 'streamsvc[otel]'"),
    ],
)
def test_the_command_installs_an_extra_where_the_service_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installer: str | None,
    origin: object,
    is_tool: object,
    command: str,
) -> None:
    monkeypatch.setattr(extras, "distribution", lambda _name: Installed(installer, origin))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    if is_tool:
        (tmp_path / "uv-receipt.toml").touch()
    assert extras.install("otel") == command


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("kind", ["openai", "gemini"])
@pytest.mark.usefixtures("no_sdks")
def test_a_default_entry_without_its_sdk_names_the_extra(kind: str) -> None:
    environ = {"STREAMSVC_PROVIDER": kind, "OPENAI_API_KEY": "sk", "GEMINI_API_KEY": "g"}
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"STREAMSVC_PROVIDER: found '{kind}', an entry of kind '{kind}'")
    assert extras.install(kind) in line


@pytest.mark.usefixtures("no_sdks")
def test_other_entries_without_their_sdk_are_no_mistake(tmp_path: Path) -> None:
    assert not read(None, {"OPENAI_API_KEY": "sk"}).mistakes
    file = tmp_path / "config.toml"
    file.write_text('[providers.local]\nkind = "openai"\nmodel = "m"\n')
    assert not read(file, {}).mistakes


@pytest.mark.usefixtures("no_sdks")
def test_check_config_names_the_extra_of_each_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in ("openai", "gemini"):
        [line] = [it for it in lines if it.startswith(f"  {kind}:")]
        assert line.endswith(f", SDK missing ({extras.install(kind)})")


@pytest.mark.usefixtures("no_sdks")
@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": "sk-0123456789abcdefghijklmnop"}])
async def test_doctor_names_the_extra_of_an_entry_with_a_key(environ: dict[str, str]) -> None:
    """An entry without a key is not meant to be used, so its SDK is not missed."""
    entry = OpenAISettings(
        model="m", api_key_env="OPENAI_API_KEY", base_url="http://127.0.0.1:1/v1"
    )
    settings = Settings(providers={"mine": entry, **Settings().providers})
    findings = await check_entry("mine", settings, environ, Clocks())
    advice = [it.advice for it in findings if it.advice == extras.install("openai")]
    assert len(advice) == len(environ)


@pytest.mark.promise("input:clear-error")
@pytest.mark.usefixtures("no_sdks", "no_certificates")
async def test_a_request_for_an_entry_without_its_sdk_names_the_extra(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    entries = {
        **Settings().providers,
        "keyed": OpenAISettings(model="m", api_key_env="A_KEY"),
        "keyless": GeminiSettings(model="m", api_key_env="NO_KEY"),
    }
    service = await serve(Settings(providers=entries), {"A_KEY": "sk"})
    caplog.clear()
    await service.supervisor.entries._providers.open_ready()
    [line] = caplog.messages  # the entry without a key has none
    assert line == f"provider.uninstalled provider=keyed ({extras.install('openai')})"
    for name, kind in (("keyed", "openai"), ("keyless", "gemini")):
        answer = await service.client.get(f"/stream-ai?prompt=hi&provider={name}")
        assert (answer.status_code, answer.json()["code"]) == (503, "provider_not_ready")
        assert extras.install(kind) in answer.json()["detail"]
    states = (await service.client.get("/v1/providers")).json()["providers"]
    assert {it["name"]: it["lacks"] for it in states} == {
        "fake": None,
        "keyed": "sdk",
        "keyless": "sdk",
    }
