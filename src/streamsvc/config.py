"""From `config.toml` and the environment to `Settings`, or to one line that says what is wrong.

The environment goes first: `STREAMSVC_PROVIDER=openai` stands for `provider = "openai"`, and a double
underscore goes down a table: `STREAMSVC_SERVER__PORT=9000`. Every mistake is a `ConfigError` whose
text names the variable, or the file and its key, what was found and what is accepted. Keys of
providers are no settings, only the names of the variables that hold them are; and what may be a key
that was put in the wrong place is never shown.
"""

import math
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import inspect

from streamsvc.configfile import (
    PATH_VARIABLE,
    find,
    lay_below,
    read_file,
    refuse,
    shipped_providers,
)
from streamsvc.settings import (
    FakeSettings,
    GeminiSettings,
    OpenAISettings,
    ProviderSettings,
    Section,
    Settings,
    UpstreamSection,
)

PREFIX = "STREAMSVC_"
_CERTIFICATES = "SSL_CERT_FILE"

KINDS: Mapping[str, type[ProviderSettings]] = {
    "fake": FakeSettings,
    "openai": OpenAISettings,
    "gemini": GeminiSettings,
}

_SERVICE_LINK = re.compile(
    r"STREAMSVC_([A-Z0-9]+_)*(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_[A-Z]+)?=[a-z]+:/"
    r"|PORT_\d+_[A-Z]+_(PROTO|PORT|ADDR)=)"
)
"""What Kubernetes sets in every container beside a service whose name begins with `streamsvc`."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_KEY = re.compile(r"[A-Z][A-Z0-9]{0,15}(_[A-Z0-9]{1,15})*")
"""Names of variables that may be shown: short words in capitals, which no vendor's keys are."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+|<name>")
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ORIGIN = re.compile(r"\*|https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_SHOWN_CHARS = 60


def _places(kind: type[Section], *path: str) -> Iterator[tuple[str, ...]]:
    """Yield where each key of a table is, and of the tables in it."""
    for field in msgspec.structs.fields(kind):
        place = (*path, field.name)
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from _places(field.type, *place)
        elif place == ("providers",):
            for entry in KINDS.values():
                yield from _places(entry, *place, "<name>")
        else:
            yield place


class _FromEnvironment(msgspec.Struct, frozen=True):
    """A value of an environment variable, which is text whatever the key's type."""

    variable: str
    text: str


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings.

    Args:
        path: the file; None means what `find` finds, else the defaults alone.
        environ: the process's environment.

    Raises:
        ConfigError: the text is one line for the operator.
    """
    path = find(path, environ)
    raw = read_file(path) if path else {}
    lay_below(raw, shipped_providers())
    _overlay(raw, environ)
    reader = _Reader(str(path or "the defaults"), raw)
    settings = reader.settings()
    _check_whole(settings, reader, environ)
    _check_certificates(environ)
    return settings


def api_key(section: UpstreamSection, environ: Mapping[str, str]) -> str | None:
    """Return the key of a provider entry; empty where none is needed, None where it is missing."""
    return environ.get(section.api_key_env, "").strip() or None if section.api_key_env else ""


def _overlay(raw: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Lay the environment's values over the file's, each marked with its variable."""
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable == PATH_VARIABLE:
            continue
        if _SERVICE_LINK.match(f"{variable}={text}"):
            continue
        *tables, key = variable.removeprefix(PREFIX).lower().split("__")
        table = raw
        for depth, name in enumerate(tables, 1):
            inner = table.setdefault(name, {})
            if not isinstance(inner, dict):
                above = _variable_behind(inner) or _dotted(tables[:depth])
                found = f"a key below {above}, which is no table"
                refuse(variable, found, "the name of a setting")
            table = inner
        table[key] = _FromEnvironment(variable, text)


class _Reader:
    """Turns raw tables into `Section`s, one key at a time, so that a mistake can be named.

    Args:
        source: what the file is called.
        raw: what is in it, and in the environment.
    """

    def __init__(self, source: str, raw: dict[str, Any]) -> None:
        self._source = source
        self._raw = raw

    def settings(self) -> Settings:
        return cast("Settings", self._section(Settings, self._raw, ()))

    def refuse(self, path: tuple[str, ...], found: str, accepted: str) -> NoReturn:
        """Say what is wrong with the key at *path*, and where that was set."""
        if variable := _variable_behind(self._at(path)):
            refuse(variable, found, accepted)
        is_missing = self._at(path) is None
        source = (is_missing and _variable_behind(self._at(path[:-1]))) or self._source
        refuse(f"{source}: {_dotted(path)}", found, accepted)

    def _at(self, path: tuple[str, ...]) -> Any:
        value: Any = self._raw
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def _section(self, kind: type[Section], raw: object, path: tuple[str, ...]) -> Section:
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        tag = kind.__struct_config__.tag_field
        known = [tag, *fields] if tag else [*fields]
        table = self._table(raw, path, example=known[0])
        for name in table:
            if name not in known:
                self._refuse_unknown((*path, name), known)
        values = {}
        for name, field in fields.items():
            if name in table:
                values[name] = self._value(field.type, table[name], (*path, name))
            elif field.required:
                accepted = f"{_accepted(field.type, None)} (it is required)"
                self.refuse((*path, name), "nothing", accepted)
        return kind(**values)

    def _value(self, expected: Any, raw: object, path: tuple[str, ...]) -> object:
        if path == ("providers",):
            entries = self._table(raw, path, example="openai__model")
            return {name: self._provider(name, entry) for name, entry in entries.items()}
        if isinstance(expected, type) and issubclass(expected, Section):
            return self._section(expected, raw, path)
        accepted = _accepted(expected, raw)
        try:
            value = _convert(raw, expected)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self.refuse(path, _shown(raw, hide_text=path[-1] == "api_key_env"), accepted)
        if isinstance(value, float) and not math.isfinite(value):
            self.refuse(path, _shown(raw), f"{accepted}, and not infinite")
        return value

    def _provider(self, name: str, raw: object) -> ProviderSettings:
        path = ("providers", name)
        if not _PROVIDER_NAME.fullmatch(name):
            accepted = "letters, digits, '-' and '_', beginning with a letter or a digit"
            self.refuse(path, "a name that no entry can have", accepted)
        kind = self._table(raw, path, example="kind").get("kind")
        if isinstance(kind, _FromEnvironment):
            kind = kind.text
        if not isinstance(kind, str) or kind not in KINDS:
            found = "nothing" if kind is None else _shown(kind)
            self.refuse((*path, "kind"), found, _one_of(KINDS))
        return cast("ProviderSettings", self._section(KINDS[kind], raw, path))

    def _table(self, raw: object, path: tuple[str, ...], *, example: str) -> dict[str, Any]:
        if not isinstance(raw, dict):
            accepted = f"a table, [{_dotted(path)}]"
            if isinstance(raw, _FromEnvironment):
                accepted = f"variables for its keys, such as {_variable((*path, example))}"
            # Whoever looks for the place of a key may well try here.
            self.refuse(path, _shown(raw, hide_text=True), accepted)
        return raw

    def _refuse_unknown(self, path: tuple[str, ...], known: list[str]) -> NoReturn:
        table, meant = path[:-1], _meant(path, known)
        if not _variable_behind(self._at(path)):
            place = ", above the first table" if meant and table and len(meant) == 1 else ""
            hint = f" (did you mean {_dotted(meant)}{place}?)" if meant else ""
            self.refuse(path, f"an unknown key{hint}", ", ".join(sorted(known)))
        hint = f" (did you mean {_variable(meant)}?)" if meant else ""
        accepted = ", ".join(sorted(_variable((*table, name)) for name in known))
        if not table:
            accepted = "the keys of config.toml, as in STREAMSVC_PROVIDER, STREAMSVC_SERVER__PORT"
        self.refuse(path, f"the name of no setting{hint}", accepted)


def _check_whole(settings: Settings, reader: _Reader, environ: Mapping[str, str]) -> None:
    """Check what no single key can tell."""
    generations = settings.generations
    if generations.grace_seconds > generations.max_grace_seconds:
        accepted = f"at most max_grace_seconds, which is {generations.max_grace_seconds:.15g}"
        found = f"{generations.grace_seconds:.15g}"
        reader.refuse(("generations", "grace_seconds"), found, accepted)
    _check_addresses(settings, reader)
    for name, entry in settings.providers.items():
        if isinstance(entry, UpstreamSection):
            _check_upstream(entry, ("providers", name), reader)
    chosen = settings.providers.get(settings.provider)
    if chosen is None:
        accepted = f"the name of an entry, {_one_of(settings.providers)}"
        reader.refuse(("provider",), _shown(settings.provider), accepted)
    if isinstance(chosen, UpstreamSection):
        _check_key(chosen, ("providers", settings.provider, "api_key_env"), reader, environ)


def _check_addresses(settings: Settings, reader: _Reader) -> None:
    if not _PATH.fullmatch(settings.server.root_path):
        accepted = "a path such as '/llm', without a slash at its end, or ''"
        reader.refuse(("server", "root_path"), _shown(settings.server.root_path), accepted)
    for origin in settings.cors.origins:
        if not _ORIGIN.fullmatch(origin):
            accepted = "scheme://host or scheme://host:port in small letters, or '*'"
            reader.refuse(("cors", "origins"), _shown(origin), accepted)


def _check_upstream(entry: UpstreamSection, path: tuple[str, ...], reader: _Reader) -> None:
    if entry.base_url and not _is_address(entry.base_url):
        found = _shown(entry.base_url, hide_text="@" in entry.base_url)
        accepted = "an address with http:// or https:// and without a query"
        reader.refuse((*path, "base_url"), found, accepted)
    if entry.api_key_env and not _VARIABLE.fullmatch(entry.api_key_env):
        found = "a text that is no variable's name (not shown: it may be a key)"
        accepted = "the name of an environment variable, such as OPENAI_API_KEY"
        reader.refuse((*path, "api_key_env"), found, accepted)


def _check_key(
    entry: UpstreamSection, path: tuple[str, ...], reader: _Reader, environ: Mapping[str, str]
) -> None:
    """Check the key of the chosen entry; the others may be there for later."""
    key = api_key(entry, environ)
    can_be_shown = _NO_KEY.fullmatch(entry.api_key_env)
    name = repr(entry.api_key_env) if can_be_shown else "a name (not shown: it may be a key)"
    if key is None:
        accepted = "the name of an environment variable that holds the key"
        reader.refuse(path, f"{name}, which is not set in the environment", accepted)
    if not (key.isascii() and key.isprintable()) or " " in key:
        accepted = "a variable whose value is a key: visible ASCII characters"
        reader.refuse(path, f"{name}, whose value is no key", accepted)


def _check_certificates(environ: Mapping[str, str]) -> None:
    """Check what every HTTP client reads when it is made, whomever it is going to call."""
    if path := environ.get(_CERTIFICATES):
        try:
            ssl.create_default_context(cafile=path)
        except OSError as exc:
            accepted = "a file of certificates in PEM that can be read"
            refuse(_CERTIFICATES, _shown(path), accepted, exc)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_plain = url.isprintable() and not any(c in url for c in " ?#")
    return parts.scheme in {"http", "https"} and has_place and is_plain


def _variable_behind(value: object) -> str | None:
    """Return the variable that a value comes from, or the first of a table made of such only."""
    if isinstance(value, _FromEnvironment):
        return value.variable
    if isinstance(value, dict):
        variables = [_variable_behind(inner) for inner in value.values()]
        return variables[0] if variables and all(variables) else None
    return None


def _meant(path: tuple[str, ...], known: Iterable[str]) -> tuple[str, ...] | None:
    """Guess which setting an unknown key stands for: misspelt, or in the wrong place."""
    *table, name = path
    everywhere = [*_places(Settings)]
    for setting in everywhere:
        if not table and name == "_".join(setting):
            return setting
    if close := get_close_matches(name, known, n=1):
        return (*table, close[0])
    return next((setting for setting in everywhere if setting[-1] == name), None)


def _dotted(path: Iterable[str]) -> str:
    return ".".join(name if _BARE_KEY.fullmatch(name) else repr(name) for name in path)


def _variable(path: Iterable[str]) -> str:
    return PREFIX + "__".join(path).upper()


def _convert(raw: object, expected: Any) -> object:
    """Return a value as the type of its key; the text of a variable may stand for any type."""
    if not isinstance(raw, _FromEnvironment):
        return msgspec.convert(raw, expected)
    if isinstance(inspect.type_info(expected), inspect.VarTupleType):
        parts = [part.strip() for part in raw.text.split(",")]
        is_json = raw.text.startswith("[")
        items = msgspec.json.decode(raw.text) if is_json else [part for part in parts if part]
        return msgspec.convert(items, expected)
    return msgspec.convert(raw.text, expected, strict=False)


def _shown(raw: object, *, hide_text: bool = False) -> str:
    """Say what was found, short and in the words of TOML."""
    if hide_text and isinstance(raw, str | list | _FromEnvironment):
        return "a list" if isinstance(raw, list) else "a text"
    if isinstance(raw, dict | bool):
        return "a table" if isinstance(raw, dict) else str(raw).lower()
    if isinstance(raw, _FromEnvironment):
        raw = raw.text
    try:
        text = repr(raw) if isinstance(raw, str | list) else str(raw)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _one_of(values: Iterable[str]) -> str:
    return f"one of {', '.join(repr(value) for value in sorted(values))}"


def _accepted(expected: Any, raw: object) -> str:
    """Say in words what values a type takes, where *raw* was found."""
    is_text = isinstance(raw, _FromEnvironment)
    info = inspect.type_info(expected)
    match info:
        case inspect.IntType():
            return f"a whole number{_range(info)}"
        case inspect.FloatType():
            return f"a number{_range(info)}"
        case inspect.LiteralType(values=values):
            return _one_of([str(value) for value in values])
        case inspect.StrType(min_length=length):
            return f"a text{'' if is_text else ' in quotes'}{', not empty' if length else ''}"
        case inspect.VarTupleType():
            return "texts with commas between them" if is_text else "a list of texts in quotes"
        case _:
            return "true or false"


def _range(info: inspect.IntType | inspect.FloatType) -> str:
    if info.gt is not None:
        return f" above {info.gt:.15g}"
    if info.ge is not None and info.le is not None:
        return f" from {info.ge:.15g} to {info.le:.15g}"
    return f" of at least {info.ge:.15g}" if info.ge is not None else ""
