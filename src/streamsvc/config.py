"""From `config.toml` and the environment to `Settings`, or to one line that says what is wrong.

The environment goes first: `STREAMSVC_PROVIDER=openai` stands for `provider = "openai"`, and a double
underscore goes down a table: `STREAMSVC_SERVER__PORT=9000`. Every mistake is a `ConfigError` whose
text names the source, the key, what was found and what is accepted. Keys of providers are never read
here, only the names of the variables that hold them.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, cast

import msgspec
from msgspec import inspect

from streamsvc.errors import ConfigError
from streamsvc.settings import (
    FakeSettings,
    GeminiSettings,
    OpenAISettings,
    ProviderSettings,
    Section,
    Settings,
    UpstreamSection,
)

DEFAULT_PATH = Path("config.toml")
PREFIX = "STREAMSVC_"
PATH_VARIABLE = "STREAMSVC_CONFIG"

KINDS: Mapping[str, type[ProviderSettings]] = {
    "fake": FakeSettings,
    "openai": OpenAISettings,
    "gemini": GeminiSettings,
}

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ORIGIN = re.compile(r"\*|https?://[^/\s]+")
_SHOWN_CHARS = 60
_IN_WORDS: Mapping[type[inspect.Type], str] = {
    inspect.StrType: "a text in quotes",
    inspect.BoolType: "true or false",
    inspect.VarTupleType: "a list of texts",
    inspect.StructType: "a table",
}


class _FromEnvironment(msgspec.Struct, frozen=True):
    """A value of an environment variable, which is text whatever the key's type."""

    variable: str
    text: str


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings.

    Args:
        path: the file; None means `STREAMSVC_CONFIG`, else `./config.toml` if there is one, else the
            defaults alone.
        environ: the process's environment.

    Raises:
        ConfigError: the text is one line for the operator.
    """
    if path is None and (named := environ.get(PATH_VARIABLE)):
        path = Path(named)
    if path is None and DEFAULT_PATH.is_file():
        path = DEFAULT_PATH
    source = str(path) if path else "defaults"
    raw = _read_file(path) if path else {}
    if "providers" not in raw:
        raw["providers"] = {"fake": {"kind": "fake"}}
    _overlay(raw, environ)
    settings = cast("Settings", _Checker(source).section(raw, Settings, ()))
    _check_whole(settings, source, environ)
    return settings


def api_key(section: UpstreamSection, environ: Mapping[str, str]) -> str | None:
    """The key of a provider entry; empty where none is needed, None where it is missing."""
    return environ.get(section.api_key_env) or None if section.api_key_env else ""


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        reason = exc.strerror or "cannot be read"
        raise ConfigError(f"{path}: {reason}; accepted: a readable TOML file") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: not TOML: {exc}") from exc


def _overlay(raw: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Lay the environment's values over the file's, each marked with its variable."""
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == PATH_VARIABLE:
            continue
        *tables, key = variable.removeprefix(PREFIX).lower().split("__")
        table = raw
        for name in tables:
            inner = table.setdefault(name, {})
            if not isinstance(inner, dict):
                found = "a key below a value that is no table"
                _refuse(variable, None, found, "the name of a setting")
            table = inner
        table[key] = _FromEnvironment(variable, environ[variable])


class _Checker:
    """Turns raw tables into `Section`s, one key at a time, so that a mistake can be named."""

    def __init__(self, source: str) -> None:
        self._source = source

    def section(self, raw: object, kind: type[Section], path: tuple[str, ...]) -> Section:
        if not isinstance(raw, dict):
            self._refuse(raw, path, "a table")
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        self._refuse_unknown(raw, fields, path, tag=kind.__struct_config__.tag_field)
        values = {}
        for name, field in fields.items():
            if name in raw:
                values[name] = self._value(raw[name], field.type, (*path, name))
            elif field.required:
                key = ".".join((*path, name))
                _refuse(self._source, key, "nothing", f"{_accepted(field.type)}; it is required")
        return kind(**values)

    def _value(self, raw: object, expected: Any, path: tuple[str, ...]) -> object:
        if path == ("providers",):
            return self._providers(raw)
        if isinstance(expected, type) and issubclass(expected, Section):
            return self.section(raw, expected, path)
        try:
            if isinstance(raw, _FromEnvironment):
                return _from_text(raw.text, expected)
            value = msgspec.convert(raw, expected)
        except msgspec.MsgspecError:
            self._refuse(raw, path, _accepted(expected))
        if isinstance(value, float) and not math.isfinite(value):
            self._refuse(raw, path, _accepted(expected))
        return value

    def _providers(self, raw: object) -> dict[str, ProviderSettings]:
        if not isinstance(raw, dict):
            self._refuse(raw, ("providers",), "a table of provider entries")
        return {name: self._provider(name, entry) for name, entry in raw.items()}

    def _provider(self, name: str, raw: object) -> ProviderSettings:
        path = ("providers", name)
        if not _PROVIDER_NAME.fullmatch(name):
            accepted = "letters, digits, '-' and '_', beginning with a letter or a digit"
            _refuse(self._source, f"providers.{name}", "an unusable entry name", accepted)
        if not isinstance(raw, dict):
            self._refuse(raw, path, "a table with a kind")
        kind = raw.get("kind")
        if isinstance(kind, _FromEnvironment):
            kind = kind.text
        if not isinstance(kind, str) or kind not in KINDS:
            self._refuse(raw.get("kind"), (*path, "kind"), _one_of(KINDS))
        return cast("ProviderSettings", self.section(raw, KINDS[kind], path))

    def _refuse_unknown(
        self,
        raw: Mapping[str, object],
        fields: Iterable[str],
        path: tuple[str, ...],
        tag: str | None,
    ) -> None:
        known = [tag, *fields] if tag else [*fields]
        for name in raw:
            if name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                found = f"an unknown key{hint}"
                source, key = self._place(raw[name], (*path, name))
                _refuse(source, key, found, ", ".join(sorted(known)))

    def _refuse(self, raw: object, path: tuple[str, ...], accepted: str) -> NoReturn:
        source, key = self._place(raw, path)
        _refuse(source, key, _shown(raw), accepted)

    def _place(self, raw: object, path: tuple[str, ...]) -> tuple[str, str | None]:
        if isinstance(raw, _FromEnvironment):
            return raw.variable, None
        return self._source, ".".join(path)


def _check_whole(settings: Settings, source: str, environ: Mapping[str, str]) -> None:
    """What no single key can tell."""
    known = sorted(settings.providers)
    if settings.provider not in settings.providers:
        _refuse(source, "provider", repr(settings.provider), _one_of(known))
    generations = settings.generations
    if generations.grace_seconds > generations.max_grace_seconds:
        accepted = f"at most max_grace_seconds ({generations.max_grace_seconds:g})"
        _refuse(source, "generations.grace_seconds", f"{generations.grace_seconds:g}", accepted)
    for origin in settings.cors.origins:
        if not _ORIGIN.fullmatch(origin):
            _refuse(source, "cors.origins", repr(origin), "scheme://host[:port], or '*'")
    for name, entry in settings.providers.items():
        if isinstance(entry, UpstreamSection):
            _check_upstream(entry, f"providers.{name}", source)
    chosen = settings.providers[settings.provider]
    if isinstance(chosen, UpstreamSection) and api_key(chosen, environ) is None:
        found = f"{chosen.api_key_env!r}, a variable that is not set"
        accepted = "the name of an environment variable that holds the key"
        _refuse(source, f"providers.{settings.provider}.api_key_env", found, accepted)


def _check_upstream(entry: UpstreamSection, key: str, source: str) -> None:
    if entry.base_url and not re.match(r"https?://[^/\s]", entry.base_url):
        _refuse(source, f"{key}.base_url", repr(entry.base_url), "an http:// or https:// address")
    if entry.api_key_env and not _VARIABLE_NAME.fullmatch(entry.api_key_env):
        # It may be the key itself, put where its variable's name belongs: never print it.
        found = "a text that is no variable's name (not shown)"
        accepted = "the name of an environment variable, such as OPENAI_API_KEY"
        _refuse(source, f"{key}.api_key_env", found, accepted)


def _refuse(source: str, key: str | None, found: str, accepted: str) -> NoReturn:
    place = f"{source}: {key}" if key else source
    raise ConfigError(f"{place}: found {found}; accepted: {accepted}")


def _from_text(text: str, expected: Any) -> object:
    """Read an environment variable's text as the type of its key."""
    info = inspect.type_info(expected)
    if isinstance(info, inspect.VarTupleType):
        items = msgspec.json.decode(text) if text.startswith("[") else _split(text)
        return msgspec.convert(items, expected)
    value = msgspec.convert(text, expected, strict=False)
    if isinstance(value, float) and not math.isfinite(value):
        raise msgspec.ValidationError
    return value


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _shown(raw: object) -> str:
    """What was found, short and in the words of TOML."""
    if raw is None:
        return "nothing"
    if isinstance(raw, _FromEnvironment):
        raw = raw.text
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, bool):
        return str(raw).lower()
    text = " ".join(repr(raw).split())
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _one_of(values: Iterable[object]) -> str:
    return f"one of {', '.join(repr(value) for value in sorted(values, key=str))}"


def _accepted(expected: Any) -> str:
    """Say in words what values a type takes."""
    info = inspect.type_info(expected)
    match info:
        case inspect.IntType() | inspect.FloatType():
            kind = "a whole number" if isinstance(info, inspect.IntType) else "a number"
            return kind + _range(info)
        case inspect.LiteralType(values=values):
            return _one_of(values)
        case _:
            return _IN_WORDS.get(type(info), "a value of another type")


def _range(info: inspect.IntType | inspect.FloatType) -> str:
    if info.gt is not None:
        return f" above {info.gt:g}"
    if info.ge is not None and info.le is not None:
        return f" from {info.ge:g} to {info.le:g}"
    return f" of at least {info.ge:g}" if info.ge is not None else ""
