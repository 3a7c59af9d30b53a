"""From a file and the environment to settings, or to one line that an operator can act on."""

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import chdir
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamsvc.config.load import load
from streamsvc.config.settings import (
    KINDS,
    FakeSettings,
    GeminiSettings,
    OpenAISettings,
    Section,
    ServerSettings,
    Settings,
    UpstreamSection,
)
from streamsvc.errors import ConfigError

SHIPPED = Path(__file__).parent.parent / "config.toml"
SECRET = "sk-Zm9vYmFyIHNlY3JldA"
OPENAI = '[providers.openai]\nkind = "openai"\nmodel = "m"\n'


def read(text: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Load a file with this text, in a directory of its own."""
    with TemporaryDirectory() as directory, chdir(directory):
        Path("config.toml").write_text(text, encoding="utf-8")
        return load(None, environ or {})


def mistake(text: str | None, environ: Mapping[str, str] | None = None) -> str:
    """Load what cannot be used; return the line that says why. None is no file."""
    with TemporaryDirectory() as directory, chdir(directory):
        if text is not None:
            Path("config.toml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load(None, environ or {})
    return str(caught.value)


# ---- The file that is shipped


def places(kind: type[Section], *path: str) -> Iterator[tuple[str, ...]]:
    """Walk the structs: where each setting stands in a file with one entry of each kind."""
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from places(field.type, *path, field.name)
        elif field.name == "providers":
            for name, entry in KINDS.items():
                yield ("providers", name, "kind")
                yield from places(entry, "providers", name)
        else:
            yield (*path, field.name)


PLACES = [*places(Settings)]


def test_the_shipped_file_says_what_the_code_does_without_it() -> None:
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
def test_every_key_of_the_shipped_file_is_explained_where_it_comes_first(key: str) -> None:
    paragraphs = SHIPPED.read_text(encoding="utf-8").split("\n\n")
    first = next(text for text in paragraphs if re.search(rf"^{key} = ", text, re.MULTILINE))
    assert re.search(rf"^#.*^{key} = ", first, re.MULTILINE | re.DOTALL)


def test_the_first_setting_of_the_shipped_file_is_the_one_that_swaps_providers() -> None:
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if line and line[0] != "#") == 'provider = "fake"'


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize(
    ("name", "environ"), [("openai", {"OPENAI_API_KEY": "k"}), ("gemini", {"GEMINI_API_KEY": "k"})]
)
def test_one_line_of_the_shipped_file_swaps_the_provider(
    name: str, environ: dict[str, str]
) -> None:
    text = SHIPPED.read_text(encoding="utf-8").replace('provider = "fake"', f'provider = "{name}"')
    assert read(text, environ).provider == name


def test_the_example_of_a_local_server_works_when_its_comment_signs_are_taken_away() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    at = text.index("# [providers.local]")
    local = read(text[:at] + text[at:].replace("# ", "")).providers["local"]
    assert isinstance(local, OpenAISettings)
    assert local.url == "http://127.0.0.1:11434/v1"
    assert local.key({}) == ""


# ---- Where settings come from


def test_without_a_file_the_defaults_stand(tmp_path: Path) -> None:
    with chdir(tmp_path):
        assert load(None, {}) == load(SHIPPED, {})


def test_an_empty_file_is_the_defaults_too() -> None:
    assert read("") == load(SHIPPED, {})


@pytest.mark.promise("provider:swap")
def test_what_a_file_leaves_out_of_a_shipped_entry_is_as_shipped() -> None:
    shipped = load(SHIPPED, {}).providers["openai"]
    key = {"OPENAI_API_KEY": "k"}
    assert read('provider = "openai"', key).providers["openai"] == shipped
    own = read('provider = "openai"\n[providers.openai]\nmodel = "mine"', key).providers["openai"]
    assert own == msgspec.structs.replace(shipped, model="mine")
    assert read("", {"STREAMSVC_PROVIDERS__OPENAI__MODEL": "mine"}).providers["openai"] == own


def test_an_entry_of_another_kind_has_nothing_of_the_shipped_one_of_its_name() -> None:
    other = read('[providers.openai]\nkind = "fake"').providers["openai"]
    assert other == FakeSettings()


def test_a_file_that_is_named_goes_before_the_variable_and_that_before_the_directory(
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


def test_a_file_from_an_editor_that_marks_utf_8_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('provider = "fake"\n', encoding="utf-8-sig")
    assert load(tmp_path / "config.toml", {}) == load(SHIPPED, {})


@pytest.mark.parametrize(
    ("variable", "text", "place", "value"),
    [
        ("STREAMSVC_SERVER__HOST", "::", ("server", "host"), "::"),
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
def test_the_environment_goes_before_the_file_whatever_the_type(
    variable: str, text: str, place: tuple[str, ...], value: object
) -> None:
    found: Any = read(SHIPPED.read_text(encoding="utf-8"), {variable: text})
    for name in place:
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_every_setting_can_be_given_by_the_environment(place: tuple[str, ...]) -> None:
    """Its own value, as text, changes nothing; so the name and the type are understood."""
    shipped = SHIPPED.read_text(encoding="utf-8")
    value: Any = tomllib.loads(shipped)
    for name in place:
        value = value[name]
    text = value if isinstance(value, str) else json.dumps(value)
    assert read(shipped, {"STREAMSVC_" + "__".join(place).upper(): text}) == read(shipped)


@pytest.mark.promise("provider:swap")
def test_a_provider_can_be_made_of_environment_variables_alone(tmp_path: Path) -> None:
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


def test_other_variables_are_none_of_our_business() -> None:
    """Nor are those that Kubernetes sets for a service by the name of `streamsvc`."""
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


def test_of_keys_only_the_variables_name_is_a_setting() -> None:
    """White space around a key, as in a file that was mounted as a secret, is no part of it."""
    entry = OpenAISettings(model="m", api_key_env="A_KEY")
    assert entry.key({"A_KEY": f" {SECRET}\n"}) == SECRET
    assert entry.key({"A_KEY": " "}) is None
    assert entry.key({}) is None
    assert OpenAISettings(model="m").key({}) == ""
    text = f'provider = "openai"\n{OPENAI}api_key_env = "A_KEY"\n'
    loaded = read(text, {"A_KEY": SECRET})
    assert SECRET not in repr(loaded)


def sections(loaded: Settings) -> list[Section]:
    return [
        loaded,
        loaded.server,
        loaded.stream,
        loaded.generations,
        loaded.limits,
        loaded.cors,
        *loaded.providers.values(),
    ]


def test_settings_are_frozen() -> None:
    for section in sections(load(SHIPPED, {})):
        for field in msgspec.structs.fields(section):
            with pytest.raises(AttributeError, match="immutable"):
                setattr(section, field.name, getattr(section, field.name))


def test_the_address_of_an_upstream_is_its_own_or_the_vendors() -> None:
    assert OpenAISettings(model="m").url == "https://api.openai.com/v1"
    assert GeminiSettings(model="m", base_url="http://x").url == "http://x"


# ---- Mistakes

TABLES = "ai_sdk, cors, generations, limits, playground, provider, providers, server, stream"
KINDS_ACCEPTED = "one of 'fake', 'gemini', 'openai'"
ENTRY_NAMES = "letters, digits, '-' and '_', beginning with a letter or a digit"
LEVELS = "one of 'debug', 'error', 'info', 'warning'"
ORIGIN = "scheme://host or scheme://host:port in lower case, or '*'"
VARIABLES = "the keys of config.toml, as in STREAMSVC_PROVIDER, STREAMSVC_SERVER__PORT"
PORT = "a whole number from 0 to 65535"
MODEL = "a string in quotes, not empty (it is required)"


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
            "close_seconds, drain_seconds, host, hosts, log_level, port, request_seconds, root_path",
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
        # what no single key can tell
        (
            "[generations]\ngrace_seconds = 121",
            "generations.grace_seconds: found 121",
            "at most max_grace_seconds, which is 120",
        ),
        ('[cors]\norigins = ["https://a.test", "b.test"]', "cors.origins: found 'b.test'", ORIGIN),
    ],
)
def test_a_mistake_in_the_file_is_told_in_one_line(text: str, found: str, accepted: str) -> None:
    """Which file, which key, what was found, what is accepted."""
    assert mistake(text) == f"config.toml: {found}; accepted: {accepted}"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "host",
    ["https://a.test", "a.test:443", "a.test/x", "*.*.test", "*a.test", "a test", "", "[::1]:80"],
)
def test_a_host_with_more_than_a_name_is_a_mistake(host: str) -> None:
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
def test_an_origin_that_no_browser_would_send_is_a_mistake(origin: str) -> None:
    """It would never match, and nobody would know why."""
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
def test_a_base_url_that_is_no_address_is_a_mistake(url: str) -> None:
    line = mistake(f"{OPENAI}base_url = {json.dumps(url)}\n" + '[providers.fake]\nkind = "fake"')
    assert line == (
        f"config.toml: providers.openai.base_url: found {url!r}; "
        "accepted: an http:// or https:// URL without a query"
    )


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("environ", "found", "accepted"),
    [
        ({"STREAMSVC_SERVER__PORT": "many"}, "STREAMSVC_SERVER__PORT: found 'many'", PORT),
        ({"STREAMSVC_SERVER__PORT": ""}, "STREAMSVC_SERVER__PORT: found ''", PORT),
        ({"STREAMSVC_SERVER__HOST": ""}, "STREAMSVC_SERVER__HOST: found ''", "a string, not empty"),
        (
            {"STREAMSVC_SERVER__DRAIN_SECONDS": "inf"},
            "STREAMSVC_SERVER__DRAIN_SECONDS: found 'inf'",
            "a number of at least 0, and not infinite",
        ),
        (
            {"STREAMSVC_SERVER__LOG_LEVEL": "INFO"},
            "STREAMSVC_SERVER__LOG_LEVEL: found 'INFO'",
            LEVELS,
        ),
        (
            {"STREAMSVC_CORS__ORIGINS": '["https://a.test"'},
            "STREAMSVC_CORS__ORIGINS: found '[\"https://a.test\"'",
            "strings separated by commas",
        ),
        (
            {"STREAMSVC_CORS__ORIGINS": "https://a.test/"},
            "STREAMSVC_CORS__ORIGINS: found 'https://a.test/'",
            ORIGIN,
        ),
        (
            {"STREAMSVC_CORS__ORIGINS": "[\udcff"},
            "STREAMSVC_CORS__ORIGINS: found '[\\udcff'",
            "strings separated by commas",
        ),
        (
            {"STREAMSVC_NONSENSE": SECRET},
            "STREAMSVC_NONSENSE: found an unknown setting",
            VARIABLES,
        ),
        (
            {"STREAMSVC_SERVER_PORT": "9000"},
            "STREAMSVC_SERVER_PORT: found an unknown setting (did you mean STREAMSVC_SERVER__PORT?)",
            VARIABLES,
        ),
        (
            {"STREAMSVC_PORT": "9000"},
            "STREAMSVC_PORT: found an unknown setting (did you mean STREAMSVC_SERVER__PORT?)",
            VARIABLES,
        ),
        (
            {"STREAMSVC_NO__SUCH__TABLE": "1"},
            "STREAMSVC_NO__SUCH__TABLE: found an unknown setting",
            VARIABLES,
        ),
        (
            {"STREAMSVC_CORS__ORIGIN": "*"},
            "STREAMSVC_CORS__ORIGIN: found an unknown setting (did you mean STREAMSVC_CORS__ORIGINS?)",
            "STREAMSVC_CORS__ORIGINS",
        ),
        (
            {"STREAMSVC_PROVIDER__MODEL": "m", "STREAMSVC_PROVIDER": "fake"},
            "STREAMSVC_PROVIDER__MODEL: found a key below STREAMSVC_PROVIDER, which is not a table",
            "the name of a setting",
        ),
        (
            {"STREAMSVC_SERVER": "x"},
            "STREAMSVC_SERVER: found a string",
            "variables for its keys, such as STREAMSVC_SERVER__HOST",
        ),
        (
            {"STREAMSVC_PROVIDERS__OPENAI": SECRET},
            "STREAMSVC_PROVIDERS__OPENAI: found a string",
            "variables for its keys, such as STREAMSVC_PROVIDERS__OPENAI__KIND",
        ),
        (
            {"STREAMSVC_PROVIDERS": SECRET},
            "STREAMSVC_PROVIDERS: found a string",
            "variables for its keys, such as STREAMSVC_PROVIDERS__OPENAI__MODEL",
        ),
        (
            {"STREAMSVC_PROVIDERS__OPENIA__MODEL": "m"},
            "STREAMSVC_PROVIDERS__OPENIA__MODEL: providers.openia.kind: found nothing",
            KINDS_ACCEPTED,
        ),
        (
            {"STREAMSVC_PROVIDERS__A__KIND": "opnai"},
            "STREAMSVC_PROVIDERS__A__KIND: found 'opnai'",
            KINDS_ACCEPTED,
        ),
        (
            {"STREAMSVC_PROVIDERS__A__KIND": "openai"},
            "STREAMSVC_PROVIDERS__A__KIND: providers.a.model: found nothing",
            MODEL,
        ),
        (
            {"STREAMSVC_PROVIDERS____KIND": "fake"},
            "STREAMSVC_PROVIDERS____KIND: found an invalid entry name",
            ENTRY_NAMES,
        ),
        (
            {"STREAMSVC_PROVIDER": "opnai"},
            "STREAMSVC_PROVIDER: found 'opnai'",
            "the name of an entry, one of 'fake', 'gemini', 'openai'",
        ),
        (
            {"STREAMSVC_GENERATIONS__GRACE_SECONDS": "120.5"},
            "STREAMSVC_GENERATIONS__GRACE_SECONDS: found 120.5",
            "at most max_grace_seconds, which is 120",
        ),
    ],
)
def test_a_mistake_in_the_environment_is_told_in_one_line(
    environ: dict[str, str], found: str, accepted: str
) -> None:
    """It names the variable, and not a file that is innocent."""
    assert mistake(None, environ) == f"{found}; accepted: {accepted}"


@pytest.mark.promise("input:clear-error")
def test_what_is_missing_in_a_table_of_the_file_is_a_mistake_of_the_file() -> None:
    """Also where a variable has replaced one of its keys."""
    text = '[providers.a]\nkind = "openai"\nbase_url = "http://a.test"\n'
    assert mistake(text, {"STREAMSVC_PROVIDERS__A__KIND": "gemini"}) == (
        f"config.toml: providers.a.model: found nothing; accepted: {MODEL}"
    )


def test_the_grace_may_be_all_that_is_allowed() -> None:
    assert read("[generations]\ngrace_seconds = 120").generations.grace_seconds == 120


def test_a_variable_below_something_else_than_a_table_is_told_where_that_is() -> None:
    assert mistake("server = 1", {"STREAMSVC_SERVER__PORT": "1"}) == (
        "STREAMSVC_SERVER__PORT: found a key below server, which is not a table; "
        "accepted: the name of a setting\n"
        "config.toml: server: found 1; accepted: a table, [server]"
    )


@pytest.mark.promise("input:clear-error")
def test_a_file_that_is_not_there_is_a_mistake_if_somebody_named_it(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    line = f"{missing}: found no readable file (No such file or directory); accepted: a TOML file"
    for path, environ in [(missing, {}), (None, {"STREAMSVC_CONFIG": str(missing)})]:
        with pytest.raises(ConfigError) as caught:
            load(path, environ)
        assert str(caught.value) == line


@pytest.mark.promise("input:clear-error")
def test_a_directory_in_the_place_of_the_file_is_a_mistake(tmp_path: Path) -> None:
    """Container engines make one where a file should have been mounted."""
    (tmp_path / "config.toml").mkdir()
    with chdir(tmp_path), pytest.raises(ConfigError) as caught:
        load(None, {})
    assert str(caught.value) == (
        "config.toml: found no readable file (Is a directory); accepted: a TOML file"
    )


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (
            b"provider = fake",
            r"text that is not TOML \(Invalid value \(at line 1, column 12\)\)",
        ),
        (b"[server", r"text that is not TOML \(.*\)"),
        (b"a = 1\na = 2", r"text that is not TOML \(.*\)"),
        (b"a = " + b"[" * 100_000, r"text that is not TOML \(.*\)"),
        (b"a = " + b"9" * 5000, r"text that is not TOML \(.*\)"),
        (b'provider = "\xff"', r"bytes that are not UTF-8 \(from byte 12 on\)"),
        (b"\x00", r"text that is not TOML \(.*\)"),
    ],
    ids=["no quotes", "open bracket", "twice", "too deep", "too long", "not UTF-8", "NUL"],
)
def test_what_is_not_toml_is_told_with_its_place(tmp_path: Path, raw: bytes, why: str) -> None:
    (tmp_path / "config.toml").write_bytes(raw)
    with chdir(tmp_path), pytest.raises(ConfigError) as caught:
        load(None, {})
    pattern = rf"config.toml: found {why}; accepted: TOML 1\.0 in UTF-8(, with strings in quotes)?"
    assert re.fullmatch(pattern, str(caught.value))


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("environ", [{}, {"A_KEY": ""}, {"A_KEY": " \n"}])
def test_the_key_of_the_chosen_provider_has_to_be_set_and_no_other(
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
def test_a_key_in_the_place_of_its_variables_name_is_never_shown(
    key: str, provider: str, *, from_environment: bool
) -> None:
    """Some keys could be names of variables; then it is a mistake only of the chosen entry."""
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
def test_a_key_anywhere_else_in_the_file_is_not_shown_either(text: str) -> None:
    assert SECRET not in mistake(text)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("value", ["two words", "ключ", "line\nend", "x\x7f"])
def test_a_variable_that_holds_something_else_than_a_key_is_told_at_the_start(value: str) -> None:
    """And not by every request, when it does not fit into a header."""
    line = mistake(f'provider = "openai"\n{OPENAI}api_key_env = "A_KEY"\n', {"A_KEY": value})
    assert line == (
        "config.toml: providers.openai.api_key_env: found 'A_KEY', whose value cannot be a key; "
        "accepted: a variable whose value is a key: visible ASCII characters"
    )


@pytest.mark.promise("input:clear-error")
def test_all_mistakes_are_told_at_once() -> None:
    """In the file and the environment, of single keys and of what does not fit together."""
    text = """
        provider = "opnai"
        nonsense = 1
        [server]
        port = "9000"
        prot = 1
        root_path = "llm/"
        [generations]
        grace_seconds = 300
        [cors]
        origins = ["https://a.test/"]
        [providers.a]
        kind = "anthropic"
        [providers.b]
        kind = "openai"
        zzz = 3
        fallbacks = ["a", "nobody"]
    """
    environ = {
        "STREAMSVC_LIMITS__MAX_VIEWERS": "many",
        "STREAMSVC_PROVIDRE": "fake",
        "SSL_CERT_FILE": "/nowhere.pem",
    }
    told = [line.partition("; accepted: ")[0] for line in mistake(text, environ).split("\n")]
    assert sorted(told) == [
        "SSL_CERT_FILE: found '/nowhere.pem'",
        "STREAMSVC_LIMITS__MAX_VIEWERS: found 'many'",
        "STREAMSVC_PROVIDRE: found an unknown setting (did you mean STREAMSVC_PROVIDER?)",
        "config.toml: cors.origins: found 'https://a.test/'",
        "config.toml: generations.grace_seconds: found 300",
        "config.toml: nonsense: found an unknown key",
        "config.toml: provider: found 'opnai'",
        "config.toml: providers.a.kind: found 'anthropic'",
        "config.toml: providers.b.fallbacks: found 'nobody'",
        "config.toml: providers.b.model: found nothing",
        "config.toml: providers.b.zzz: found an unknown key",
        "config.toml: server.port: found '9000'",
        "config.toml: server.prot: found an unknown key (did you mean server.port?)",
        "config.toml: server.root_path: found 'llm/'",
    ]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "text",
    [
        'provider = "a"\n[providers.a]\nkind = "opnai"',
        'provider = "a"\n[providers]\na = 1',
        'provider = "a"\nproviders = 1',
        "[generations]\ngrace_seconds = 300\nmax_grace_seconds = -1",
        '[providers.fake]\nfallbacks = ["a"]\n[providers.a]\nkind = 1',
        '[providers.a]\nkind = "openai"\nbase_url = 1',
    ],
)
def test_what_follows_from_a_mistake_is_not_told_as_another(text: str) -> None:
    assert "\n" not in mistake(text.replace('"openai"', '"openai"\nmodel = "m"'))


# ---- Any mistake

names = st.sampled_from(
    [place[-1] for place in PLACES] + ["kind", "fake", "server", "x y", "\n", ""]
)
values = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.sampled_from([10**30, -(10**400)]),
        st.floats(),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
        st.sampled_from(["openai", "fake", "gemini", "A_KEY", "http://a.test", "*"]),
        st.dates(),
        st.times(),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
changes = st.lists(st.tuples(st.sampled_from(PLACES), st.none() | names, values), max_size=5)
variables = st.dictionaries(
    st.one_of(
        st.sampled_from(PLACES).map("__".join),
        st.lists(names, min_size=1, max_size=4).map("__".join),
    ).map(lambda name: "STREAMSVC_" + name.upper()),
    st.text(max_size=40) | values.map(str),
    max_size=3,
)


def toml(value: object) -> str:
    """Write a value in TOML, tables inline."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{toml(str(name))} = {toml(inner)}" for name, inner in value.items())
        return f"{{{pairs}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return str(value) if not math.isfinite(value) else repr(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.promise("input:clear-error")
@settings(deadline=None)
@given(changes=changes, environ=variables)
@example(changes=[(("provider",), None, {})], environ={})
@example(changes=[], environ={"STREAMSVC_": ""})
@example(changes=[], environ={"STREAMSVC_\n": ""})
def test_whatever_is_in_the_file_and_the_environment_gives_settings_or_lines(
    changes: list[tuple[tuple[str, ...], str | None, Any]], environ: dict[str, str]
) -> None:
    """The shipped file with values replaced (or added under another name) at random places."""
    raw: Any = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    for (*path, key), other_name, value in changes:
        table = raw
        for name in path:
            table = table[name] if isinstance(table.get(name), dict) else table
        table[key if other_name is None else other_name] = value
    text = "\n".join(f"{toml(name)} = {toml(value)}" for name, value in raw.items())
    try:
        loaded = read(text, environ)
    except ConfigError as exc:
        for line in str(exc).split("\n"):
            assert line.isprintable()
            assert re.fullmatch(r"(config\.toml: .+|STREAMSVC_.*): found .+; accepted: .+", line)
    else:
        assert isinstance(loaded, Settings)
        assert loaded.provider in loaded.providers
        assert loaded.generations.grace_seconds <= loaded.generations.max_grace_seconds
        assert isinstance(loaded.server, ServerSettings)
        for section in sections(loaded):
            assert msgspec.convert(msgspec.to_builtins(section), type(section)) == section
            assert not isinstance(section, UpstreamSection) or section.model
