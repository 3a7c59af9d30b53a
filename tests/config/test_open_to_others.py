"""Without keys and tokens, the service is open to other machines only if the settings say so."""

import pytest

from support.settings import mistake, read

KEYS = "[auth]\nkeys_file = 'keys.toml'\n"
TOKENS = "[jwt]\nissuer = 'https://id.test'\naudience = 'me'\njwks_url = 'https://id.test/keys'\n"
OPEN = "[auth]\nallow_anonymous = true\n"


def server(host: str) -> str:
    return f"[server]\nhost = '{host}'\n"


@pytest.mark.promise("door:closed")
@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "[::]", "192.0.2.1", "chat.example.com", "127.0.0.1.example.com", "8.8.8.8"],
)
def test_address_that_others_can_reach_needs_keys_or_an_explicit_line(host: str) -> None:
    assert mistake(server(host)) == (
        f"config.toml: server.host: found {host!r}; accepted: a loopback address such as '127.0.0.1', because nothing "
        "says who may use the service; set auth.keys_file (`streamsvc key new NAME` makes keys) or jwt.issuer, or let "
        "everybody in with auth.allow_anonymous = true"
    )
    for way_out in (KEYS, TOKENS, OPEN):
        assert read(server(host) + way_out).server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"])  # fmt: skip
def test_loopback_address_needs_neither(host: str) -> None:
    for text in ("", KEYS, TOKENS, OPEN):
        assert read(server(host) + text).server.host == host


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("text", "setting"),
    [(f"{KEYS}allow_anonymous = true", "auth.keys_file"), (OPEN + TOKENS, "jwt.issuer")],
)
def test_open_to_everybody_and_guarded_is_a_mistake(text: str, setting: str) -> None:
    assert mistake(text) == (
        f"config.toml: auth.allow_anonymous: found true; accepted: false, because {setting} says who may use the service"
    )
