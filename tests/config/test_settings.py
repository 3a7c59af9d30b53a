"""Settings as values: frozen, with a kind, a key and a URL."""

import msgspec
import pytest

from streamsvc.config.load import load
from streamsvc.config.provider_settings import KINDS, FakeSettings, GeminiSettings, OpenAISettings
from support.settings import OPENAI, SECRET, SHIPPED, read, sections


def test_key_is_read_from_its_variable_and_is_not_a_setting() -> None:
    """White space around a key, as in a mounted secret, is removed."""
    entry = OpenAISettings(model="m", api_key_env="A_KEY")
    assert entry.key({"A_KEY": f" {SECRET}\n"}) == SECRET
    assert entry.key({"A_KEY": " "}) is None
    assert entry.key({}) is None
    assert OpenAISettings(model="m").key({}) == ""
    text = f'provider = "openai"\n{OPENAI}api_key_env = "A_KEY"\n'
    loaded = read(text, {"A_KEY": SECRET})
    assert SECRET not in repr(loaded)


def test_settings_are_frozen() -> None:
    for section in sections(load(SHIPPED, {})):
        for field in msgspec.structs.fields(section):
            with pytest.raises(AttributeError, match="immutable"):
                setattr(section, field.name, getattr(section, field.name))


def test_url_is_the_base_url_or_the_vendors() -> None:
    assert OpenAISettings(model="m").url == "https://api.openai.com/v1"
    assert GeminiSettings(model="m", base_url="http://x").url == "http://x"


def test_grace_may_equal_its_maximum() -> None:
    assert read("[generations]\ngrace_seconds = 120").generations.grace_seconds == 120


def test_kind_of_an_entry_is_stated_once() -> None:
    entries = [FakeSettings(), OpenAISettings(model="m"), GeminiSettings(model="m")]
    assert {entry.kind: type(entry) for entry in entries} == KINDS
    assert [*KINDS] == ["fake", "openai", "gemini"]


def test_fake_provider_needs_no_key() -> None:
    assert FakeSettings().key({}) == ""
