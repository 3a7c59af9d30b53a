"""Mistakes in the table [jwt]: a line for each, which says what is accepted."""

import pytest

from streamsvc import extras
from support.installed import lack
from support.settings import SECRET, mistake, read

GOOD = '[jwt]\nissuer = "https://issuer.test/"\naudience = "streamsvc"\n'

URL = "the https:// URL where the issuer publishes its keys; http:// only on a loopback address"


@pytest.mark.parametrize(
    "url",
    [
        *("https://issuer.test/jwks.json", "https://issuer.test:8443/a?tenant=b&c", "https://10.1.2.3/"),
        *("http://127.0.0.1:8080/jwks.json", "http://localhost/keys", "http://[::1]:1/"),
    ],
)  # fmt: skip
def test_address_of_the_keys_is_accepted(url: str) -> None:
    assert read(f'{GOOD}jwks_url = "{url}"').jwt.jwks_url == url


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "url",
    [
        *("", "issuer.test/jwks.json", "http://issuer.test/jwks.json", "http://10.1.2.3/", "ftp://issuer.test/"),
        *("https://", "https:///x", "https://issuer.test:0/", "https://issuer.test:x/", "https://issuer.test/#a"),
        *("https://issuer.test/a b", "http://127.0.0.1.issuer.test/", "file:///etc/passwd"),
    ],
)  # fmt: skip
def test_other_address_of_the_keys_is_a_mistake(url: str) -> None:
    """A third party that can replace the keys can make tokens."""
    line = f"config.toml: jwt.jwks_url: found {url!r}; accepted: {URL}"
    assert mistake(f'{GOOD}jwks_url = "{url}"') == line


def test_address_with_a_password_is_not_shown() -> None:
    shown = mistake(f'{GOOD}jwks_url = "http://user:{SECRET}@issuer.test/"')
    assert SECRET not in shown
    assert URL in shown


@pytest.mark.promise("input:clear-error")
def test_issuer_needs_an_audience_and_an_address() -> None:
    lines = mistake('[jwt]\nissuer = "https://issuer.test/"').splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("config.toml: jwt.audience: found ''; accepted: the audience that")
    assert lines[1].startswith("config.toml: jwt.jwks_url: found ''; accepted: the https:// URL")


@pytest.mark.parametrize("key", ["audience", "jwks_url"])
def test_token_settings_without_an_issuer_are_a_mistake(key: str) -> None:
    line = mistake(f'[jwt]\n{key} = "https://x.test"')
    assert f"jwt.{key}: found 'https://x.test'; accepted: ''" in line
    assert "jwt.issuer" in line


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "joserfc")
    line = mistake(f'{GOOD}jwks_url = "https://issuer.test/"')
    assert "jwt.issuer" in line
    assert extras.install("jwt") in line


@pytest.mark.parametrize("name", ["none", "HS256", "HS512", "RS1", "rs256", ""])
def test_algorithm_without_a_public_key_is_a_mistake(name: str) -> None:
    line = mistake(f'{GOOD}jwks_url = "https://issuer.test/"\nalgorithms = ["ES256", "{name}"]')
    assert line.startswith("config.toml: jwt.algorithms")
    assert "'EdDSA'" in line
