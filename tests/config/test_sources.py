"""Settings come from the file and the environment, and the environment overrides."""

import json
import tomllib
from contextlib import chdir
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamsvc.config.load import load
from streamsvc.config.provider_settings import FakeSettings, OpenAISettings
from support.settings import (
    PLACES,
    SHIPPED,
    read,
)


def test_without_a_file_the_defaults_apply(tmp_path: Path) -> None:
    with chdir(tmp_path):
        assert load(None, {}) == load(SHIPPED, {})


def test_empty_file_is_the_defaults() -> None:
    assert read("") == load(SHIPPED, {})


@pytest.mark.promise("provider:swap")
def test_omitted_keys_of_a_shipped_entry_are_as_shipped() -> None:
    shipped = load(SHIPPED, {}).providers["openai"]
    key = {"OPENAI_API_KEY": "k"}
    assert read('provider = "openai"', key).providers["openai"] == shipped
    own = read('provider = "openai"\n[providers.openai]\nmodel = "mine"', key).providers["openai"]
    assert own == msgspec.structs.replace(shipped, model="mine")
    assert read("", {"STREAMSVC_PROVIDERS__OPENAI__MODEL": "mine"}).providers["openai"] == own


def test_entry_of_another_kind_inherits_nothing() -> None:
    other = read('[providers.openai]\nkind = "fake"').providers["openai"]
    assert other == FakeSettings()


def test_named_file_overrides_the_variable_and_the_directory(
    tmp_path: Path,
) -> None:
    for number, name in enumerate(("named.toml", "variable.toml", "config.toml"), 1):
        (tmp_path / name).write_text(f"[server]\nport = {number}\n")
    environ = {"STREAMSVC_CONFIG": str(tmp_path / "variable.toml")}
    with chdir(tmp_path):
        assert load(Path("named.toml"), environ).server.port == 1
        assert load(None, environ).server.port == 2
        assert load(None, {"STREAMSVC_CONFIG": ""}).server.port == 3
        assert load(None, {}).server.port == 3


def test_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('provider = "fake"\n', encoding="utf-8-sig")
    assert load(tmp_path / "config.toml", {}) == load(SHIPPED, {})


@pytest.mark.parametrize(
    ("variable", "text", "place", "value"),
    [
        ("STREAMSVC_SERVER__HOST", "::1", ("server", "host"), "::1"),
        ("STREAMSVC_SERVER__PORT", "9000", ("server", "port"), 9000),
        ("STREAMSVC_SERVER__DRAIN_SECONDS", "2.5", ("server", "drain_seconds"), 2.5),
        ("STREAMSVC_SERVER__DRAIN_SECONDS", "2", ("server", "drain_seconds"), 2.0),
        ("STREAMSVC_SERVER__LOG_LEVEL", "debug", ("server", "log_level"), "debug"),
        ("STREAMSVC_CORS__ORIGINS", "https://a.test", ("cors", "origins"), ("https://a.test",)),
        ("STREAMSVC_CORS__ORIGINS", "*", ("cors", "origins"), ("*",)),
        ("STREAMSVC_CORS__ORIGINS", "", ("cors", "origins"), ()),
        (
            "STREAMSVC_CORS__ORIGINS",
            "https://a.test, http://b.test:8080,",
            ("cors", "origins"),
            ("https://a.test", "http://b.test:8080"),
        ),
        (
            "STREAMSVC_CORS__ORIGINS",
            '["https://a.test", "http://[::1]:80"]',
            ("cors", "origins"),
            ("https://a.test", "http://[::1]:80"),
        ),
        ("STREAMSVC_PROVIDERS__FAKE__TEXT", "", ("providers", "fake", "text"), ""),
        ("STREAMSVC_PROVIDERS__FAKE__TEXT", "7", ("providers", "fake", "text"), "7"),
        ("STREAMSVC_PROVIDERS__FAKE__SEED", "-3", ("providers", "fake", "seed"), -3),
        (
            "STREAMSVC_PROVIDERS__GEMINI__INCLUDE_THOUGHTS",
            "false",
            ("providers", "gemini", "include_thoughts"),
            False,
        ),
        (
            "STREAMSVC_PROVIDERS__GEMINI__INCLUDE_THOUGHTS",
            "1",
            ("providers", "gemini", "include_thoughts"),
            True,
        ),
    ],
)
def test_environment_overrides_the_file_for_every_type(
    variable: str, text: str, place: tuple[str, ...], value: object
) -> None:
    found: Any = read(SHIPPED.read_text(encoding="utf-8"), {variable: text})
    for name in place:
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_every_setting_can_come_from_the_environment(place: tuple[str, ...]) -> None:
    """Giving the value of the file as text changes nothing, so name and type are understood."""
    shipped = SHIPPED.read_text(encoding="utf-8")
    value: Any = tomllib.loads(shipped)
    for name in place:
        value = value[name]
    text = value if isinstance(value, str) else json.dumps(value)
    assert read(shipped, {"STREAMSVC_" + "__".join(place).upper(): text}) == read(shipped)


@pytest.mark.promise("provider:swap")
def test_environment_alone_can_define_a_provider(tmp_path: Path) -> None:
    environ = {
        "STREAMSVC_PROVIDER": "my_own",
        "STREAMSVC_PROVIDERS__MY_OWN__KIND": "openai",
        "STREAMSVC_PROVIDERS__MY_OWN__MODEL": "m",
        "STREAMSVC_PROVIDERS__MY_OWN__BASE_URL": "http://127.0.0.1:1/v1",
    }
    with chdir(tmp_path):
        loaded = load(None, environ)
    own = OpenAISettings(model="m", base_url="http://127.0.0.1:1/v1")
    assert loaded.provider == "my_own"
    assert loaded.providers["my_own"] == own


def test_variables_of_others_are_ignored() -> None:
    """They include those that Kubernetes sets for a service named `streamsvc`."""
    environ = {
        "PATH": "/bin",
        "streamsvc_provider": "x",
        "MYSTREAMSVC_PROVIDER": "x",
        "STREAMSVC_SERVICE_HOST": "10.0.0.1",
        "STREAMSVC_SERVICE_PORT": "8000",
        "STREAMSVC_SERVICE_PORT_HTTP": "8000",
        "STREAMSVC_PORT": "tcp://10.0.0.1:8000",
        "STREAMSVC_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "STREAMSVC_PORT_8000_TCP_PROTO": "tcp",
        "STREAMSVC_PORT_8000_TCP_PORT": "8000",
        "STREAMSVC_PORT_8000_TCP_ADDR": "10.0.0.1",
        "STREAMSVC_REDIS_SERVICE_HOST": "10.0.0.2",
        "STREAMSVC_REDIS_PORT_6379_TCP_ADDR": "10.0.0.2",
    }
    assert read("", environ) == load(SHIPPED, {})
