"""Providers' keys: required for the chosen provider, and never shown."""

import pytest

from support.settings import OPENAI, SECRET, mistake, read


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("environ", [{}, {"A_KEY": ""}, {"A_KEY": " \n"}])
def test_only_the_chosen_provider_needs_its_key(
    environ: dict[str, str],
) -> None:
    entry = f'{OPENAI}api_key_env = "A_KEY"\n'
    assert mistake(f'provider = "openai"\n{entry}', environ) == (
        "config.toml: providers.openai.api_key_env: found 'A_KEY', which is not set in the "
        "environment; accepted: the name of an environment variable that holds the key"
    )
    assert read(f'{entry}[providers.fake]\nkind = "fake"\n', environ).provider == "fake"
    assert read(f'provider = "openai"\n{entry}', {"A_KEY": SECRET}).provider == "openai"


@pytest.mark.promise("secret:kept")
@pytest.mark.parametrize(
    "key",
    ["sk-proj-abc_def", "AIzaSyD3ExampleExampleExampleExample012", "abcdef0123456789", "A" * 40],
    ids=["OpenAI", "Gemini", "hexadecimal", "capitals"],
)
@pytest.mark.parametrize("provider", ["openai", "fake"])
@pytest.mark.parametrize("from_environment", [True, False])
def test_key_in_place_of_its_variables_name_is_not_shown(
    key: str, provider: str, *, from_environment: bool
) -> None:
    """A key that could be the name of a variable is a mistake only in the chosen entry."""
    text = f'provider = "{provider}"\n{OPENAI}'
    fake = '[providers.fake]\nkind = "fake"\n'
    if from_environment:
        environ = {"STREAMSVC_PROVIDERS__OPENAI__API_KEY_ENV": key}
        place = "STREAMSVC_PROVIDERS__OPENAI__API_KEY_ENV"
    else:
        text, environ = f'{text}api_key_env = "{key}"\n', {}
        place = "config.toml: providers.openai.api_key_env"
    if provider == "fake" and "-" not in key:
        read(text + fake, environ)
        return
    line = mistake(text + fake, environ)
    assert line.startswith(f"{place}: found a ")
    assert "(not shown: it may be a key)" in line
    assert key not in line


@pytest.mark.promise("secret:kept")
@pytest.mark.parametrize(
    "text",
    [
        f'{OPENAI}api_key_env = ["{SECRET}"]',
        f'{OPENAI}"{SECRET}" = 1'.replace(SECRET, "api-key") + f'\nmodel2 = "{SECRET}"',
        f'{OPENAI}base_url = "https://user:{SECRET}@[a.test/v1"',
        f'{OPENAI}api_key = "{SECRET}"',
        f'openai_api_key = "{SECRET}"',
        f"OPENAI_API_KEY = {SECRET}",
        f'[providers]\nopenai = "{SECRET}"',
        f'providers = "{SECRET}"',
        f'providers = ["{SECRET}"]',
    ],
)
def test_key_anywhere_else_in_the_file_is_not_shown(text: str) -> None:
    assert SECRET not in mistake(text)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("value", ["two words", "ключ", "line\nend", "x\x7f"])
def test_unusable_key_is_a_mistake_at_startup(value: str) -> None:
    """Otherwise every request would fail, because the value does not fit into a header."""
    line = mistake(f'provider = "openai"\n{OPENAI}api_key_env = "A_KEY"\n', {"A_KEY": value})
    assert line == (
        "config.toml: providers.openai.api_key_env: found 'A_KEY', whose value cannot be a key; "
        "accepted: a variable whose value is a key: visible ASCII characters"
    )
