"""Reads `config.toml`, with the package's own `config.toml` as the defaults below it.

Also formats mistakes: a line each, with the place, what was found there and what is accepted. `load` interprets
the tables.
"""

import os.path
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

from streamsvc.errors import ConfigError

DEFAULT_PATH = Path("config.toml")
PATH_VARIABLE = "STREAMSVC_CONFIG"

KEY_VARIABLE = "STREAMSVC_KEY"
"""The environment variable with the API key or the token that `streamsvc ask` sends."""

_SHOWN_CHARS = 60

_MAX_DEPTH = 32


def find(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file that `load` reads: *path*, `STREAMSVC_CONFIG`, or `./config.toml` if it exists.

    A directory or a dangling link of that name counts as existing: it is a mistake to report, not a reason to
    run with the defaults.
    """
    if path is None and (named := environ.get(PATH_VARIABLE)):
        path = Path(named)
    return DEFAULT_PATH if path is None and os.path.lexists(DEFAULT_PATH) else path


def read_file(path: Path) -> dict[str, Any]:
    """Return the tables of a file.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    return parse(path, read_text(path))


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        found = f"no readable file ({exc.strerror})"
        refuse(str(path), found, "a TOML file", exc)
    except UnicodeDecodeError as exc:
        found = f"bytes that are not UTF-8 (from byte {exc.start} on)"
        refuse(str(path), found, "TOML 1.0 in UTF-8", exc)


def parse(path: Path, text: str) -> dict[str, Any]:
    """Return the tables of a text.

    Args:
        path: the file that it is from.
        text: of the file.

    Raises:
        ConfigError: it is not TOML.
    """
    try:
        return _not_too_deep(tomllib.loads(text))
    except (ValueError, RecursionError) as exc:
        quotes = ", with strings in quotes" if "Invalid value" in str(exc) else ""
        refuse(str(path), f"text that is not TOML ({exc})", f"TOML 1.0 in UTF-8{quotes}", exc)


def _not_too_deep(raw: dict[str, Any]) -> dict[str, Any]:
    """Return tables whose values can be described; dotted keys nest as deep as a line is long.

    Raises:
        RecursionError: they cannot.
    """
    level: list[object] = [raw]
    for _ in range(_MAX_DEPTH):
        level = [inner for value in level for inner in _values(value)]
    if level:
        raise RecursionError(f"more than {_MAX_DEPTH} tables in each other")
    return raw


def _values(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


class Mistakes:
    """The mistakes in the settings, one line each, raised together."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a mistake that the `with` block raises, and continue after the block."""
        try:
            yield
        except ConfigError as exc:
            self._lines.append(str(exc))

    @property
    def lines(self) -> Sequence[str]:
        """All mistakes so far."""
        return self._lines

    def raise_all(self) -> None:
        """Raise all mistakes, if there are any.

        Raises:
            ConfigError: a line for each.
        """
        if self._lines:
            raise ConfigError("\n".join(self._lines))


def shipped_providers() -> dict[str, dict[str, Any]]:
    """Return the provider entries of the `config.toml` that the package contains."""
    shipped = files("streamsvc").joinpath("config.toml").read_text(encoding="utf-8")
    providers: dict[str, dict[str, Any]] = tomllib.loads(shipped)["providers"]
    return providers


def lay_below(raw: dict[str, Any], entries: Mapping[str, dict[str, Any]]) -> None:
    """Add the shipped entries, and keys of entries, that the file does not contain.

    An entry with another kind inherits nothing from the shipped entry of its name.
    """
    given = raw.setdefault("providers", {})
    if not isinstance(given, dict):
        return  # a mistake, which `load` reports when it reads the table
    for name, entry in entries.items():
        table = given.setdefault(name, {})
        if isinstance(table, dict) and table.get("kind", entry["kind"]) == entry["kind"]:
            given[name] = {**entry, **table}


def refuse(place: str, found: str, accepted: str, cause: Exception | None = None) -> NoReturn:
    """Raise a mistake as one line; unprintable characters are escaped."""
    line = f"{place}: found {found}; accepted: {accepted}"
    raise ConfigError("".join(c if c.isprintable() else repr(c)[1:-1] for c in line)) from cause


def shown(raw: object, *, hide_text: bool = False) -> str:
    """Describe a value, briefly and in the words of TOML; *hide_text* hides text that may be a key."""
    if hide_text and isinstance(raw, str | list):
        return "a list" if isinstance(raw, list) else "a string"
    if isinstance(raw, dict | bool):
        return "a table" if isinstance(raw, dict) else str(raw).lower()
    try:
        text = repr(raw) if isinstance(raw, str | list) else str(raw)
    except ValueError:
        return "a number with thousands of digits"
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def one_of(values: Iterable[str]) -> str:
    """Describe a choice of names."""
    return f"one of {', '.join(repr(value) for value in sorted(values))}"
