"""Turns `config.toml` and the environment into `Settings`, or into one line for each mistake.

The environment overrides the file, and options of the command line override both. `STREAMSVC_PROVIDER=openai` stands
for `provider = "openai"`, and a double underscore separates a table from its key: `STREAMSVC_SERVER__PORT=9000`. Every
mistake is a line of a `ConfigError` that names the variable, or the file and the key, what was found and what is
accepted. Providers' keys are not settings; the names of the variables that hold them are. A value that may be a key in
the wrong place is never shown.

For a setting with a mistake the default is used, so that the settings after it are checked as well.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from streamsvc.config.check import check, check_certificates
from streamsvc.config.file import (
    DEFAULT_PATH,
    KEY_VARIABLE,
    PATH_VARIABLE,
    Mistakes,
    find,
    lay_below,
    parse,
    read_text,
    refuse,
    shipped_providers,
)
from streamsvc.config.paths import OPTIONS, PREFIX, dotted
from streamsvc.config.reader import Reader
from streamsvc.config.settings import Settings
from streamsvc.config.tracing import TRACE_CHECKS, exports_traces
from streamsvc.config.values import FromEnvironment, variable_of
from streamsvc.errors import ConfigError

_SERVICE_LINK = re.compile(
    r"STREAMSVC_([A-Z0-9]+_)*(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_[A-Z]+)?=[a-z]+:/"
    r"|PORT_\d+_[A-Z]+_(PROTO|PORT|ADDR)=)"
)
"""The variables that Kubernetes sets in every container for a service whose name begins with `streamsvc`."""


class Loaded(msgspec.Struct, frozen=True):
    """Settings with their mistakes.

    Attributes:
        settings: the whole configuration, with the default for each value that has a mistake.
        mistakes: a line for each.
        sources: for each key that is set, such as `server.port`, the file, variable or option that sets it.
    """

    settings: Settings
    mistakes: Sequence[str] = ()
    sources: Mapping[str, str] = {}


class Source:
    """Where the settings of this process come from; they can be read again.

    Args:
        path: as in `load`. A file that is there now must be there each time: its absence does not mean the defaults.
        environ: as in `load`.
        options: as in `load`.
        text: what the file had when these settings were last good; it is read in the place of the file, once.

    Attributes:
        path: the file; None if there is none.
        text: of the file, when it was last read without a mistake; None if there is none.
    """

    def __init__(
        self,
        path: Path | None,
        environ: Mapping[str, str],
        options: Mapping[str, str] | None = None,
        text: str | None = None,
    ) -> None:
        self.path = find(path, environ) or (DEFAULT_PATH if text is not None else None)
        self.text: str | None = None
        self._environ = environ
        self._options = options
        self._given = text

    def load(self) -> Settings:
        """Read the settings; see `load`."""
        text, self._given = self._given, None
        if text is None and self.path is not None:
            text = read_text(self.path)
        settings = self.parse(text)
        self.text = text
        return settings

    def parse(self, text: str | None) -> Settings:
        """Return the settings if the file has this text; see `load`."""
        return load(self.path, self._environ, self._options, text)


def load(
    path: Path | None,
    environ: Mapping[str, str],
    options: Mapping[str, str] | None = None,
    text: str | None = None,
) -> Settings:
    """Read the settings.

    Args:
        path: the file; None means what `find` returns, or the defaults.
        environ: the process's environment.
        options: the text of command-line options that override a setting (`OPTIONS`), by name.
        text: of the file; None: as it is now.

    Raises:
        ConfigError: a line for each mistake.
    """
    loaded = read(path, environ, options, text)
    if loaded.mistakes:
        raise ConfigError("\n".join(loaded.mistakes))
    return loaded.settings


def read(
    path: Path | None,
    environ: Mapping[str, str],
    options: Mapping[str, str] | None = None,
    text: str | None = None,
) -> Loaded:
    """Read the settings with their mistakes, as `load` does; a file that cannot be read is the only mistake."""
    path = find(path, environ)
    mistakes = Mistakes()
    try:
        raw = parse(path, read_text(path) if text is None else text) if path else {}
    except ConfigError as exc:
        return Loaded(Settings(), (str(exc),))
    sources = {dotted(place): str(path) for place in _leaves(raw)}
    lay_below(raw, shipped_providers())
    given = [
        *_variables(environ),
        *((OPTIONS[it], FromEnvironment(it, text)) for it, text in (options or {}).items()),
    ]
    for place, value in given:
        with mistakes.noted():
            _lay_over(raw, place, value)
            sources |= {dotted(place): value.variable} if place else {}
    reader = Reader(str(path or "the defaults"), raw, mistakes)
    settings = reader.settings()
    check(settings, environ, reader.note)
    with mistakes.noted():
        check_certificates(environ)
    for check_traces in TRACE_CHECKS if exports_traces(environ) else ():
        with mistakes.noted():
            check_traces(environ)
    return Loaded(settings, mistakes.lines, sources)


def _leaves(table: Mapping[str, Any], *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all keys in tables, but not of those in lists."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, *path, name)
        else:
            yield (*path, name)


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], FromEnvironment]]:
    """Yield the path and the text of each variable that is meant as a setting."""
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable not in (KEY_VARIABLE, PATH_VARIABLE):
            yield _path_of(variable, text), FromEnvironment(variable, text)


def _path_of(variable: str, text: str) -> tuple[str, ...]:
    """Return the path of the setting that a variable names; () if Kubernetes has set it."""
    if _SERVICE_LINK.match(f"{variable}={text}"):
        return ()
    return tuple(variable.removeprefix(PREFIX).lower().split("__"))


def _lay_over(raw: dict[str, Any], path: tuple[str, ...], value: FromEnvironment) -> None:
    """Replace the file's value at *path*, if it is not empty.

    Raises:
        ConfigError: the path leads through a key that is not a table.
    """
    table = raw
    for depth, name in enumerate(path[:-1], 1):
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            above = variable_of(inner) or dotted(path[:depth])
            found = f"a key below {above}, which is not a table"
            refuse(value.variable, found, "the name of a setting")
        table = inner
    if path:
        table[path[-1]] = value
