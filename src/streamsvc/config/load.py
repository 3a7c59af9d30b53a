"""From `config.toml` and the environment to `Settings`, or to a line for each thing that is wrong.

The environment overrides the file: `STREAMSVC_PROVIDER=openai` stands for `provider = "openai"`, and a double
underscore separates a table from its key: `STREAMSVC_SERVER__PORT=9000`. Every mistake is a line of a `ConfigError`
that names the variable, or the file and its key, what was found and what is accepted. Providers' keys are not
settings; the names of the variables that hold them are. A value that may be a key in the wrong place is never shown.

A setting with a mistake is read as its default, so that the settings after it are checked as well.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, cast

import msgspec
from msgspec import inspect

from streamsvc.config.check import check, check_certificates
from streamsvc.config.file import (
    PATH_VARIABLE,
    Mistakes,
    find,
    lay_below,
    one_of,
    read_file,
    refuse,
    shipped_providers,
    shown,
)
from streamsvc.config.settings import (
    KINDS,
    FakeSettings,
    ProviderSettings,
    Section,
    Settings,
)
from streamsvc.errors import ConfigError

PREFIX = "STREAMSVC_"

_SERVICE_LINK = re.compile(
    r"STREAMSVC_([A-Z0-9]+_)*(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_[A-Z]+)?=[a-z]+:/"
    r"|PORT_\d+_[A-Z]+_(PROTO|PORT|ADDR)=)"
)
"""The variables that Kubernetes sets in every container for a service whose name begins with `streamsvc`."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+|<name>")
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def _places(kind: type[Section], *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the path of each key of a table, and of the tables in it."""
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
    """The value of an environment variable: text, whatever the type of its setting."""

    variable: str
    text: str


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings.

    Args:
        path: the file; None is what `find` returns, or the defaults.
        environ: the process's environment.

    Raises:
        ConfigError: a line for each mistake.
    """
    path = find(path, environ)
    mistakes = Mistakes()
    raw = read_file(path) if path else {}
    lay_below(raw, shipped_providers())
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable != PATH_VARIABLE:
            with mistakes.noted():
                _lay_over(raw, variable, text)
    reader = _Reader(str(path or "the defaults"), raw, mistakes)
    settings = reader.settings()
    check(settings, environ, reader.note)
    with mistakes.noted():
        check_certificates(environ)
    mistakes.raise_all()
    return settings


def _lay_over(raw: dict[str, Any], variable: str, text: str) -> None:
    """Put the value of a variable in the place of the file's, marked with the variable.

    Raises:
        ConfigError: the name leads through a key that is not a table.
    """
    if _SERVICE_LINK.match(f"{variable}={text}"):
        return
    *tables, key = variable.removeprefix(PREFIX).lower().split("__")
    table = raw
    for depth, name in enumerate(tables, 1):
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            above = _variable_of(inner) or _dotted(tables[:depth])
            found = f"a key below {above}, which is not a table"
            refuse(variable, found, "the name of a setting")
        table = inner
    table[key] = _FromEnvironment(variable, text)


class _Reader:
    """Turns raw tables into `Section`s, one key at a time, so that each mistake can name its key.

    Args:
        source: the name of the file.
        raw: the tables of the file, overridden by the environment.
        mistakes: collects the mistakes.
    """

    def __init__(self, source: str, raw: dict[str, Any], mistakes: Mistakes) -> None:
        self._source = source
        self._raw = raw
        self._mistakes = mistakes
        self._broken: set[tuple[str, ...]] = set()

    def settings(self) -> Settings:
        return cast("Settings", self._section(Settings, self._raw, ()))

    def note(self, path: tuple[str, ...], found: str, accepted: str, *beside: str) -> None:
        """Note a mistake of the key at *path*, unless that key or the one *beside* has one already."""
        if not self._broken & {path, beside}:
            with self._noted(path):
                self._refuse(path, found, accepted)

    @contextmanager
    def _noted(self, path: tuple[str, ...]) -> Iterator[None]:
        """Note a mistake of the key at *path* that the body raises, and continue after the body."""
        with self._mistakes.noted():
            try:
                yield
            except ConfigError:
                self._broken.add(path)
                raise

    def _refuse(self, path: tuple[str, ...], found: str, accepted: str) -> NoReturn:
        """Raise the mistake of the key at *path*, with the variable or file that set it."""
        if variable := _variable_of(self._at(path)):
            refuse(variable, found, accepted)
        is_missing = self._at(path) is None
        source = (is_missing and _variable_of(self._at(path[:-1]))) or self._source
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
                with self._noted((*path, name)):
                    self._refuse_unknown((*path, name), known)
        values: dict[str, object] = {name: "" for name, field in fields.items() if field.required}
        for name, field in fields.items():
            with self._noted((*path, name)):
                if name in table:
                    values[name] = self._value(field.type, table[name], (*path, name))
                elif field.required:
                    accepted = f"{_accepted(field.type, None)} (it is required)"
                    self._refuse((*path, name), "nothing", accepted)
        return kind(**values)

    def _value(self, expected: Any, raw: object, path: tuple[str, ...]) -> object:
        if path == ("providers",):
            return self._providers(self._table(raw, path, example="openai__model"))
        if isinstance(expected, type) and issubclass(expected, Section):
            return self._section(expected, raw, path)
        accepted = _accepted(expected, raw)
        try:
            value = _convert(raw, expected)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self._refuse(path, shown(_text_of(raw), hide_text=path[-1] == "api_key_env"), accepted)
        if isinstance(value, float) and not math.isfinite(value):
            self._refuse(path, shown(_text_of(raw)), f"{accepted}, and not infinite")
        return value

    def _providers(self, raw: dict[str, Any]) -> dict[str, ProviderSettings]:
        entries: dict[str, ProviderSettings] = {}
        for name, entry in raw.items():
            entries[name] = FakeSettings()  # in place of one that cannot be read
            with self._noted(("providers", name)):
                entries[name] = self._provider(name, entry)
        return entries

    def _provider(self, name: str, raw: object) -> ProviderSettings:
        path = ("providers", name)
        if not _PROVIDER_NAME.fullmatch(name):
            accepted = "letters, digits, '-' and '_', beginning with a letter or a digit"
            self._refuse(path, "an invalid entry name", accepted)
        kind = self._table(raw, path, example="kind").get("kind")
        if isinstance(kind, _FromEnvironment):
            kind = kind.text
        if not isinstance(kind, str) or kind not in KINDS:
            found = "nothing" if kind is None else shown(_text_of(kind))
            self._refuse((*path, "kind"), found, one_of(KINDS))
        return cast("ProviderSettings", self._section(KINDS[kind], raw, path))

    def _table(self, raw: object, path: tuple[str, ...], *, example: str) -> dict[str, Any]:
        if not isinstance(raw, dict):
            accepted = f"a table, [{_dotted(path)}]"
            if isinstance(raw, _FromEnvironment):
                accepted = f"variables for its keys, such as {_variable((*path, example))}"
            # Hidden, because this may be a key that was put in the wrong place.
            self._refuse(path, shown(_text_of(raw), hide_text=True), accepted)
        return raw

    def _refuse_unknown(self, path: tuple[str, ...], known: list[str]) -> NoReturn:
        table, meant = path[:-1], _meant(path, known)
        if not _variable_of(self._at(path)):
            place = ", above the first table" if meant and table and len(meant) == 1 else ""
            hint = f" (did you mean {_dotted(meant)}{place}?)" if meant else ""
            self._refuse(path, f"an unknown key{hint}", ", ".join(sorted(known)))
        hint = f" (did you mean {_variable(meant)}?)" if meant else ""
        accepted = ", ".join(sorted(_variable((*table, name)) for name in known))
        if not table:
            accepted = "the keys of config.toml, as in STREAMSVC_PROVIDER, STREAMSVC_SERVER__PORT"
        self._refuse(path, f"an unknown setting{hint}", accepted)


def _variable_of(value: object) -> str | None:
    """Return the variable that a value comes from; for a table, the first one if all its values have one."""
    if isinstance(value, _FromEnvironment):
        return value.variable
    if isinstance(value, dict):
        variables = [_variable_of(inner) for inner in value.values()]
        return variables[0] if variables and all(variables) else None
    return None


def _text_of(value: object) -> object:
    """Return the text of a variable, or the value in the file."""
    return value.text if isinstance(value, _FromEnvironment) else value


def _meant(path: tuple[str, ...], known: Iterable[str]) -> tuple[str, ...] | None:
    """Guess which setting an unknown key means: it may be misspelt, or in the wrong table."""
    *table, name = path
    everywhere = [*_places(Settings)]
    for setting in everywhere:
        if not table and name == "_".join(setting):
            return setting
    if close := get_close_matches(name, known, n=1):
        return (*table, close[0])
    return next((setting for setting in everywhere if setting[-1] == name), None)


def setting_for(option: str) -> tuple[str, str] | None:
    """Return the key and the variable of the setting that a command-line option means.

    Args:
        option: such as `--port`, `--server-port` or `--log-level=info`.
    """
    name = option.partition("=")[0].strip("-").replace("-", "_")
    for place in _places(Settings):
        if name in {place[-1], "_".join(place)} and "<name>" not in place:
            return _dotted(place), _variable(place)
    return None


def _dotted(path: Iterable[str]) -> str:
    return ".".join(name if _BARE_KEY.fullmatch(name) else repr(name) for name in path)


def _variable(path: Iterable[str]) -> str:
    return PREFIX + "__".join(path).upper()


def _convert(raw: object, expected: Any) -> object:
    """Convert a value to the type of its key; the text of a variable may be of any type."""
    if not isinstance(raw, _FromEnvironment):
        return msgspec.convert(raw, expected)
    if isinstance(inspect.type_info(expected), inspect.VarTupleType):
        parts = [part.strip() for part in raw.text.split(",")]
        is_json = raw.text.startswith("[")
        items = msgspec.json.decode(raw.text) if is_json else [part for part in parts if part]
        return msgspec.convert(items, expected)
    return msgspec.convert(raw.text, expected, strict=False)


def _accepted(expected: Any, raw: object) -> str:
    """Describe the values that a type accepts, in the words of TOML or of the environment, as *raw* is from."""
    is_text = isinstance(raw, _FromEnvironment)
    bare = ", without quotes" if isinstance(raw, str) else ""
    info = inspect.type_info(expected)
    match info:
        case inspect.IntType():
            return f"a whole number{_range(info)}{bare}"
        case inspect.FloatType():
            return f"a number{_range(info)}{bare}"
        case inspect.LiteralType(values=values):
            return one_of([str(value) for value in values])
        case inspect.StrType(min_length=length):
            return f"a string{'' if is_text else ' in quotes'}{', not empty' if length else ''}"
        case inspect.VarTupleType():
            return "strings separated by commas" if is_text else "a list of strings in quotes"
        case _:
            return f"true or false{bare}"


def _range(info: inspect.IntType | inspect.FloatType) -> str:
    if info.gt is not None:
        return f" above {info.gt:.15g}"
    if info.ge is not None and info.le is not None:
        return f" from {info.ge:.15g} to {info.le:.15g}"
    return f" of at least {info.ge:.15g}" if info.ge is not None else ""
