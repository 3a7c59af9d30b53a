"""A mistake in the file is one line with the key, the value found, and the accepted values."""

import json

import pytest

from streamsvc.config.provider_settings import FakeSettings, OpenAISettings
from streamsvc.config.settings import ServerSettings
from support.settings import (
    ENTRY_NAMES,
    KINDS_ACCEPTED,
    LEVELS,
    MODEL,
    OPENAI,
    ORIGIN,
    PORT,
    SECRET,
    mistake,
)

TABLES = (
    "ai_sdk, auth, cors, generations, jwt, limits, log, metrics, playground, principal_limits, provider,"
    " providers, server, stream"
)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("text", "found", "accepted"),
    [
        # unknown keys, at each level
        ("nonsense = 1", "nonsense: found an unknown key", TABLES),
        ('providr = "fake"', "providr: found an unknown key (did you mean provider?)", TABLES),
        ("port = 9000", "port: found an unknown key (did you mean server.port?)", TABLES),
        (
            "idle_seconds = 9",
            "idle_seconds: found an unknown key (did you mean providers.<name>.idle_seconds?)",
            TABLES,
        ),
        (
            "[server]\nprot = 9000",
            "server.prot: found an unknown key (did you mean server.port?)",
            ", ".join(sorted(ServerSettings.__struct_fields__)),
        ),
        (
            '[cors]\nprovider = "fake"',
            "cors.provider: found an unknown key (did you mean provider, above the first table?)",
            "origins",
        ),
        (
            '[providers.fake]\nkind = "fake"\nmodle = 3',
            "providers.fake.modle: found an unknown key (did you mean providers.fake.model?)",
            ", ".join(sorted(["kind", *FakeSettings.__struct_fields__])),
        ),
        (
            f'{OPENAI}api_key = "{SECRET}"',
            "providers.openai.api_key: found an unknown key (did you mean providers.openai.api_key_env?)",
            ", ".join(sorted(["kind", *OpenAISettings.__struct_fields__])),
        ),
        (
            '[stream]\n"a\\nb" = 1',
            "stream.'a\\nb': found an unknown key",
            "head_seconds, ping_seconds, retry_ms, send_timeout_seconds",
        ),
        # wrong types
        ('[server]\nport = "9000"', "server.port: found '9000'", f"{PORT}, without quotes"),
        ("[server]\nport = 80.5", "server.port: found 80.5", PORT),
        ("[server]\nport = true", "server.port: found true", PORT),
        ("[server]\nhost = 1", "server.host: found 1", "a string in quotes, not empty"),
        ('[server]\nhost = ""', "server.host: found ''", "a string in quotes, not empty"),
        (
            "[server]\nclose_seconds = 2020-01-02",
            "server.close_seconds: found 2020-01-02",
            "a whole number of at least 1",
        ),
        ('[server]\nlog_level = "loud"', "server.log_level: found 'loud'", LEVELS),
        ("server = 8000", "server: found 8000", "a table, [server]"),
        ('server = "a"', "server: found a string", "a table, [server]"),
        ("[[server]]\nport = 1", "server: found a list", "a table, [server]"),
        ("provider = {}", "provider: found a table", "a string in quotes, not empty"),
        ('[cors]\norigins = "*"', "cors.origins: found '*'", "a list of strings in quotes"),
        ("[cors]\norigins = [1]", "cors.origins: found [1]", "a list of strings in quotes"),
        (
            '[providers.g]\nkind = "gemini"\nmodel = "m"\ninclude_thoughts = "yes"',
            "providers.g.include_thoughts: found 'yes'",
            "true or false, without quotes",
        ),
        (
            f'[server]\nlog_level = "{"x" * 100}"',
            "server.log_level: found 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…",
            LEVELS,
        ),
        (
            f"[server]\nport = 0x{'f' * 4000}",
            "server.port: found a number with thousands of digits",
            PORT,
        ),
        (
            '[providers.fake]\nscript = "hello"',
            "providers.fake.script: found a mistake in it (Expected `array`, got `str`)",
            "a list of steps, such as [{words = 'Hello'}]",
        ),
        (
            '[providers.fake]\nscript = [{words = "a"}, {wrods = "b"}]',
            "providers.fake.script: found a mistake in it (Object contains unknown field `wrods` - at `$[1]`)",
            "a list of steps, such as [{words = 'Hello'}]",
        ),
        # out of range
        ("[server]\nport = 65536", "server.port: found 65536", PORT),
        (
            "[stream]\nretry_ms = 499",
            "stream.retry_ms: found 499",
            "a whole number from 500 to 600000",
        ),
        ("[stream]\nping_seconds = 0", "stream.ping_seconds: found 0", "a number above 0"),
        (
            "[generations]\ngrace_seconds = -1",
            "generations.grace_seconds: found -1",
            "a number of at least 0",
        ),
        (
            "[limits]\nmax_viewers = 0",
            "limits.max_viewers: found 0",
            "a whole number of at least 1",
        ),
        (
            '[providers.fake]\nkind = "fake"\njitter = 1.5',
            "providers.fake.jitter: found 1.5",
            "a number from 0 to 1",
        ),
        (
            "[server]\ndrain_seconds = nan",
            "server.drain_seconds: found nan",
            "a number of at least 0",
        ),
        (
            "[server]\ndrain_seconds = -inf",
            "server.drain_seconds: found -inf",
            "a number of at least 0",
        ),
        (
            "[server]\ndrain_seconds = inf",
            "server.drain_seconds: found inf",
            "a number of at least 0, and not infinite",
        ),
        # providers
        ("providers = 1", "providers: found 1", "a table, [providers]"),
        ("[providers.a]", "providers.a.kind: found nothing", KINDS_ACCEPTED),
        ('[providers.a]\nkind = "opnai"', "providers.a.kind: found 'opnai'", KINDS_ACCEPTED),
        ("[providers.a]\nkind = 1", "providers.a.kind: found 1", KINDS_ACCEPTED),
        ("[providers.a]\nkind = []", "providers.a.kind: found []", KINDS_ACCEPTED),
        ('[providers.a]\nkind = "openai"', "providers.a.model: found nothing", MODEL),
        (f'providers.a = "{SECRET}"', "providers.a: found a string", "a table, [providers.a]"),
        (
            '[providers."a b"]\nkind = "fake"',
            "providers.'a b': found an invalid entry name",
            ENTRY_NAMES,
        ),
        (
            'provider = "opnai"\n' + OPENAI,
            "provider: found 'opnai'",
            "the name of an entry, one of 'fake', 'gemini', 'openai'",
        ),
        # combinations of keys
        (
            "[server]\nworkers = 4",
            "server.workers: found 4",
            "1, because server.workers above 1 needs log.kind = 'redis': workers share answers through Redis",
        ),
        (
            "[generations]\ngrace_seconds = 121",
            "generations.grace_seconds: found 121",
            "at most max_grace_seconds, which is 120",
        ),
        (
            "[limits]\nmax_total_body_bytes = 19999999",
            "limits.max_total_body_bytes: found 19999999",
            "at least max_body_bytes, which is 20000000",
        ),
        (
            "[limits]\nmax_total_data_bytes = 1",
            "limits.max_total_data_bytes: found 1",
            "at least max_body_bytes, which is 20000000",
        ),
        ('[cors]\norigins = ["https://a.test", "b.test"]', "cors.origins: found 'b.test'", ORIGIN),
    ],
)
def test_mistake_in_the_file_is_one_line(text: str, found: str, accepted: str) -> None:
    """The line names the file, the key, the value found, and the accepted values."""
    assert mistake(text) == f"config.toml: {found}; accepted: {accepted}"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "host",
    ["https://a.test", "a.test:443", "a.test/x", "*.*.test", "*a.test", "a test", "", "[::1]:80"],
)
def test_host_with_more_than_a_name_is_a_mistake(host: str) -> None:
    assert mistake(f"[server]\nhosts = {json.dumps([host])}") == (
        f"config.toml: server.hosts: found {host!r}; accepted: "
        "a host without scheme, port or path, such as 'chat.example.com'"
    )


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "origin",
    [
        "https://a.test/",
        "a.test",
        "https://*.a.test",
        "https://A.test",
        "ftp://a.test",
        "https://a.test:port",
        "https://a.test?x",
        "null",
        "",
        " https://a.test",
    ],
)
def test_origin_that_no_browser_sends_is_a_mistake(origin: str) -> None:
    """Such an origin would never match, without a hint."""
    assert mistake(f"[cors]\norigins = {json.dumps([origin])}").startswith(
        f"config.toml: cors.origins: found {origin!r}; accepted: "
    )


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "url",
    [
        "localhost:11434/v1",
        "http://",
        "http:///v1",
        "ftp://a.test",
        "http://a.test:99999",
        "http://a.test:port/",
        "http://a.test/v1?x=1",
        "http://a.test/#x",
        "http://a b",
        "http://a.test/\n",
        "http://[::1",
    ],
)
def test_invalid_base_url_is_a_mistake(url: str) -> None:
    line = mistake(f"{OPENAI}base_url = {json.dumps(url)}\n" + '[providers.fake]\nkind = "fake"')
    assert line == (
        f"config.toml: providers.openai.base_url: found {url!r}; "
        "accepted: an http:// or https:// URL without a query"
    )


def test_several_workers_on_windows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    line = "config.toml: server.workers: found 2; accepted: 1 on Windows, where processes cannot share a socket"
    assert mistake("[server]\nworkers = 2\n[log]\nkind = 'redis'\n") == line
