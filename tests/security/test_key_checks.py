"""No request gets past the check of its key, whatever its `Host`, its path, its other headers or its key are.

Starlette CVE-2026-48710 ("BadHost"): the path that a check saw was built from the `Host`. LiteLLM CVE-2026-42208: the
key became part of an SQL statement.
"""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.api_keys import KeysFile, bearer, guarded
from support.asking import fetch
from support.native import HURRIED, with_fake
from support.process import FAKE, Running, serve, write_config
from support.rawhttp import exchange
from support.security import every_route
from support.service import Service, serving

OPEN = "/healthz"
"""A path that needs no key."""

HOSTS = (
    *("localhost", "", OPEN, f"localhost{OPEN}", f"localhost{OPEN}?", f"localhost?x={OPEN}", f"localhost#{OPEN}"),
    *(f"localhost@x{OPEN}", f"localhost\\{OPEN}", f"localhost:80{OPEN}#", f"[::1]{OPEN}?", "/", "?", "#", "@", "\\"),
    *("localhost, localhost", f"localhost%2f{OPEN}", "..", f"//{OPEN}", f"http://localhost{OPEN}", "\xff\xfe"),
)  # fmt: skip
PATHS = (
    *("//v1/providers", "/v1//providers", "/v1/providers/", "/v1/./providers", "/healthz/../v1/providers"),
    *("/healthz/%2e%2e/v1/providers", "/v1/providers;/healthz", "/V1/PROVIDERS", "/playground/../v1/providers"),
    *("/playground/%2e%2e/v1/providers", "/v1/providers%00", "/v1/providers%2f", "/v1/providers?/healthz"),
    *("/v1/providers#/healthz", "/v1%2fproviders", "/%76%31/providers", "http://localhost/v1/providers"),
    *("http://localhost/healthz/../v1/providers", "*", "/healthz?/v1/providers"),
)  # fmt: skip
FORWARDED = (
    *("X-Original-URL: /healthz", "X-Rewrite-URL: /healthz", "X-Forwarded-Uri: /healthz", "X-Forwarded-Prefix: /healthz"),
    *("X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: localhost", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1"),
    *("X-HTTP-Method-Override: GET", "X-Remote-User: team", "X-Forwarded-User: team", "Authorization: Basic dGVhbTo="),
)  # fmt: skip


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A service with a key, which serves every host."""
    directory = tmp_path_factory.mktemp("keys")
    keys = KeysFile(directory / "keys.toml")
    keys.add("team")
    sections: dict[str, dict[str, object]] = {
        "auth": {"keys_file": str(keys.path)},
        "server": {"hosts": ["*"]},
        "providers.fake": dict(FAKE),
    }
    write_config(directory, sections)
    async with serve(directory, {}) as running:
        yield running
        running.assert_quiet()


async def statuses(port: int, *requests: str) -> list[int]:
    """Send requests over one connection, and return the statuses of the answers."""
    whole = (
        "".join(f"{it}\r\n" for it in requests)
        + "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    *answers, last = (await exchange(port, [whole.encode("latin-1")])).answers
    assert last.status == 200
    return [answer.status for answer in answers]


CALLERS = [(method, path) for method, path in every_route(only_callers=True) if method != "HEAD"]


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize(("method", "path"), CALLERS, ids=lambda it: it)
async def test_cve_2026_48710_no_host_opens_a_route(
    service: Running, method: str, path: str
) -> None:
    asked = [f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n" for host in HOSTS]
    assert await statuses(service.port, *asked) == [401] * len(HOSTS)


@pytest.mark.promise("door:closed")
async def test_no_spelling_of_a_path_opens_a_route(service: Running) -> None:
    for path in PATHS:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        [answer] = (await exchange(service.port, [request.encode()])).answers
        assert b'"providers"' not in answer.body
        assert answer.status in {400, 401, 404} or answer.body == b'{"status":"ok"}'


@pytest.mark.promise("door:closed")
async def test_no_header_of_a_proxy_opens_a_route(service: Running) -> None:
    asked = [f"GET /v1/providers HTTP/1.1\r\nHost: localhost\r\n{field}\r\n" for field in FORWARDED]
    assert await statuses(service.port, *asked) == [401] * len(FORWARDED)


# ---- Any text as a key


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeysFile:
    return KeysFile(tmp_path_factory.mktemp("fuzzed") / "keys.toml")


@pytest.fixture(scope="module")
def key(keys: KeysFile) -> str:
    return keys.add("team")


@pytest.fixture(scope="module")
async def guarded_service(keys: KeysFile, key: str) -> AsyncIterator[Service]:
    assert key
    async with serving(guarded(with_fake(HURRIED), keys), {}) as service:
        yield service


FIELD_CHARS = st.characters(codec="latin-1", exclude_characters="\0\r\n", exclude_categories=["Cc"])
INJECTED = (
    "' OR 1=1 --",
    "'; DROP TABLE keys; --",
    "*",
    "%",
    "\\0",
    "${jndi:ldap://x}",
    "../keys.toml",
    "ssk__",
)
CARRIERS = ("Authorization", "x-api-key", "api-key", "Cookie")


def near(key: str) -> st.SearchStrategy[str]:
    """Return keys that almost are one."""
    cut = st.integers(0, len(key) - 1)
    flipped = cut.map(lambda at: key[:at] + ("b" if key[at] == "a" else "a") + key[at + 1 :])
    return st.one_of(
        cut.map(lambda at: key[:at]),
        cut.map(lambda at: key[at + 1 :]),
        flipped.filter(lambda it: it != key),
        st.sampled_from(
            [key.upper(), key + key, f"{key}x", f"x{key}", f'"{key}"', key.replace("_", "-")]
        ),
        st.sampled_from(INJECTED).map(lambda it: key[:14] + it),
    )


@pytest.mark.promise("door:closed")
@given(data=st.data())
@settings(max_examples=60)
async def test_cve_2026_42208_any_text_as_a_key_is_an_unknown_key(
    guarded_service: Service, key: str, data: st.DataObject
) -> None:
    """The answer is the same for all of them, and no look-up but that of a hash is made."""
    wrong = data.draw(
        st.text(FIELD_CHARS, min_size=1) | st.sampled_from(INJECTED) | near(key)
    ).strip()
    carrier = data.draw(st.sampled_from(CARRIERS))
    value = {"Authorization": f"Bearer {wrong}", "Cookie": f"__Host-streamsvc={wrong}"}.get(
        carrier, wrong
    )
    headers = {carrier: value, "Sec-Fetch-Site": "same-origin"}
    answer = await fetch(guarded_service.port, "/v1/providers", headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert not wrong or len(wrong) < 8 or wrong.encode("latin-1") not in answer.raw
    right = await fetch(guarded_service.port, "/v1/providers", headers=bearer(key))
    assert right.status == 200
