"""The shipped config.toml is complete, explained, and equal to the defaults."""

import re
import tomllib
from typing import Any

import msgspec
import pytest

from streamsvc.config.load import load
from streamsvc.config.provider_settings import GeminiSettings, OpenAISettings
from streamsvc.config.settings import Settings
from support.settings import PLACES, SHIPPED, read


def test_shipped_file_states_the_defaults() -> None:
    shipped = load(SHIPPED, {})
    defaults = Settings()
    extra = {name: shipped.providers[name] for name in ("openai", "gemini")}
    assert shipped == msgspec.structs.replace(defaults, providers={**defaults.providers, **extra})
    assert extra == {
        "openai": OpenAISettings(model=extra["openai"].model, api_key_env="OPENAI_API_KEY"),
        "gemini": GeminiSettings(model=extra["gemini"].model, api_key_env="GEMINI_API_KEY"),
    }


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_every_setting_is_in_the_shipped_file(place: tuple[str, ...]) -> None:
    value: Any = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    for name in place:
        value = value[name]


@pytest.mark.parametrize("key", dict.fromkeys(place[-1] for place in PLACES))
def test_every_key_is_explained_where_it_first_appears(key: str) -> None:
    paragraphs = SHIPPED.read_text(encoding="utf-8").split("\n\n")
    first = next(text for text in paragraphs if re.search(rf"^{key} = ", text, re.MULTILINE))
    assert re.search(rf"^#.*^{key} = ", first, re.MULTILINE | re.DOTALL)


def test_first_setting_is_the_one_that_swaps_providers() -> None:
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if line and line[0] != "#") == 'provider = "fake"'


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize(
    ("name", "environ"), [("openai", {"OPENAI_API_KEY": "k"}), ("gemini", {"GEMINI_API_KEY": "k"})]
)
def test_changing_one_line_swaps_the_provider(name: str, environ: dict[str, str]) -> None:
    text = SHIPPED.read_text(encoding="utf-8").replace('provider = "fake"', f'provider = "{name}"')
    assert read(text, environ).provider == name


def test_example_of_a_local_server_works_uncommented() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    at = text.index("# [providers.local]")
    local = read(text[:at] + text[at:].replace("# ", "")).providers["local"]
    assert isinstance(local, OpenAISettings)
    assert local.url == "http://127.0.0.1:11434/v1"
    assert local.key({}) == ""
