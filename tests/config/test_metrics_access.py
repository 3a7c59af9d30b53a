"""The key for `/metrics`: asked for only where it is used, checked at startup, and never shown."""

import pytest

from streamsvc.config.settings import MetricsSettings
from support.settings import SECRET, mistake, read

KEY = "[metrics]\naccess = 'key'\n"
GOOD = "a-key-of-16-chars"


@pytest.mark.parametrize("access", ["loopback", "open", "off"])
def test_no_key_is_needed_without_access_by_key(access: str) -> None:
    settings = read(f"[metrics]\naccess = '{access}'\n").metrics
    assert settings.access == access
    assert settings.key({"METRICS_KEY": GOOD}) == ""


def test_key_comes_from_the_named_variable() -> None:
    settings = read(f"{KEY}key_env = 'OTHER'\n", {"OTHER": f"{GOOD}\n"}).metrics
    assert settings.key({"OTHER": f"{GOOD}\n"}) == GOOD
    assert MetricsSettings().access == "loopback"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("key", ["", "short", "a key with 5 spaces", "schlüssel-mit-umlaut"])
def test_key_that_is_missing_or_weak_is_a_mistake(key: str) -> None:
    assert mistake(KEY, {"METRICS_KEY": key}) == (
        "config.toml: metrics.key_env: found 'METRICS_KEY', which holds no such key; accepted: a variable with a key"
        " of at least 16 visible ASCII characters"
    )


@pytest.mark.promise("secret:kept")
@pytest.mark.parametrize("name", [SECRET, f"{SECRET}!"])
def test_key_in_place_of_the_variable_is_not_shown(name: str) -> None:
    line = mistake(f"{KEY}key_env = '{name}'\n")
    assert "metrics.key_env" in line
    assert "not shown" in line
    assert name not in line
