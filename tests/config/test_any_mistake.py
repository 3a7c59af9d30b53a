"""Several mistakes are reported together, and any input leads to settings or to such lines."""

import json
import math
import re
import tomllib
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamsvc.config.provider_settings import UpstreamSection
from streamsvc.config.settings import ServerSettings, Settings
from streamsvc.errors import ConfigError
from support.settings import (
    PLACES,
    SHIPPED,
    mistake,
    read,
    sections,
)


@pytest.mark.promise("input:clear-error")
def test_all_mistakes_are_reported_together() -> None:
    """The mistakes are in the file and in the environment, in single keys and in combinations."""
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
    reported = [line.partition("; accepted: ")[0] for line in mistake(text, environ).split("\n")]
    assert sorted(reported) == [
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
def test_consequence_of_a_mistake_is_not_reported_as_another(text: str) -> None:
    assert "\n" not in mistake(text.replace('"openai"', '"openai"\nmodel = "m"'))


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
def test_any_input_gives_settings_or_lines(
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
