"""Turns tables into sections, one key at a time; each mistake becomes a line that names its key."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import msgspec

from streamsvc.config.file import Mistakes, one_of, refuse, shown
from streamsvc.config.paths import dotted, guess, variable_for
from streamsvc.config.provider_settings import KINDS, FakeSettings, ProviderSettings
from streamsvc.config.section import Section
from streamsvc.config.settings import Settings
from streamsvc.config.values import FromEnvironment, convert, describe, text_of, variable_of
from streamsvc.errors import ConfigError
from streamsvc.script import Script

Guess = Callable[[tuple[str, ...], Iterable[str]], tuple[str, ...] | None]

_SECRET = {"api_key_env", "hash"}
"""The keys in whose place someone may have put a secret; their text is never shown."""

_PROVIDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Reader:
    """Turns raw tables into `Section`s, one key at a time, so that each mistake can name its key.

    Args:
        source: the name of the file.
        raw: the tables of the file, overridden by the environment.
        mistakes: collects the mistakes.
        guess: returns the path of the key that an unknown one may mean.
    """

    def __init__(
        self, source: str, raw: dict[str, Any], mistakes: Mistakes, guess: Guess = guess
    ) -> None:
        self._source = source
        self._raw = raw
        self._mistakes = mistakes
        self._guess = guess
        self._broken: set[tuple[str, ...]] = set()

    def settings(self) -> Settings:
        """Return the settings, with the default for each value that has a mistake."""
        return cast("Settings", self.section(Settings, self._raw, ()))

    def note(self, path: tuple[str, ...], found: str, accepted: str, *beside: str) -> None:
        """Note a mistake in the key at *path*, unless that key or the one *beside* already has one."""
        if not self._broken & {path, beside}:
            with self.noted(path):
                self.refuse(path, found, accepted)

    @contextmanager
    def noted(self, path: tuple[str, ...]) -> Iterator[None]:
        """Note a mistake in the key at *path* that the `with` block raises, and continue after the block."""
        with self._mistakes.noted():
            try:
                yield
            except ConfigError:
                self._broken.add(path)
                raise

    def refuse(self, path: tuple[str, ...], found: str, accepted: str) -> NoReturn:
        """Raise a mistake in the key at *path*, with the variable or file that set it."""
        if variable := variable_of(self._at(path)):
            refuse(variable, found, accepted)
        is_missing = self._at(path) is None
        source = (is_missing and variable_of(self._at(path[:-1]))) or self._source
        refuse(f"{source}: {dotted(path)}", found, accepted)

    def _at(self, path: tuple[str, ...]) -> Any:
        value: Any = self._raw
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def section(self, kind: type[Section], raw: object, path: tuple[str, ...]) -> Section:
        """Return a table as a section, with the default, or "", for each value that has a mistake."""
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        tag = kind.__struct_config__.tag_field
        known = [tag, *fields] if tag else [*fields]
        table = self.table(raw, path, example=known[0])
        for name in table:
            if name not in known:
                with self.noted((*path, name)):
                    self._refuse_unknown((*path, name), known)
        values: dict[str, object] = {name: "" for name, field in fields.items() if field.required}
        for name, field in fields.items():
            with self.noted((*path, name)):
                if name in table:
                    values[name] = self._value(field.type, table[name], (*path, name))
                elif field.required:
                    accepted = f"{describe(field.type, None)} (it is required)"
                    self.refuse((*path, name), "nothing", accepted)
        return kind(**values)

    def _value(self, expected: Any, raw: object, path: tuple[str, ...]) -> object:
        if path == ("providers",):
            return self._providers(self.table(raw, path, example="openai__model"))
        if isinstance(expected, type) and issubclass(expected, Section):
            return self.section(expected, raw, path)
        try:
            value = convert(raw, expected)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
            found = shown(text_of(raw), hide_text=path[-1] in _SECRET)
            if expected == Script:
                found = f"a mistake in it ({exc})"  # names types and a place, never a value
            self.refuse(path, found, describe(expected, raw))
        if isinstance(value, float) and not math.isfinite(value):
            accepted = f"{describe(expected, raw)}, and not infinite"
            self.refuse(path, shown(text_of(raw)), accepted)
        return value

    def _providers(self, raw: dict[str, Any]) -> dict[str, ProviderSettings]:
        entries: dict[str, ProviderSettings] = {}
        for name, entry in raw.items():
            entries[name] = FakeSettings()  # instead of one that cannot be read
            with self.noted(("providers", name)):
                entries[name] = self._provider(name, entry)
        return entries

    def _provider(self, name: str, raw: object) -> ProviderSettings:
        path = ("providers", name)
        if not _PROVIDER_NAME.fullmatch(name):
            accepted = "letters, digits, '-' and '_', beginning with a letter or a digit"
            self.refuse(path, "an invalid entry name", accepted)
        kind = self.table(raw, path, example="kind").get("kind")
        if isinstance(kind, FromEnvironment):
            kind = kind.text
        if not isinstance(kind, str) or kind not in KINDS:
            found = "nothing" if kind is None else shown(text_of(kind))
            self.refuse((*path, "kind"), found, one_of(KINDS))
        return cast("ProviderSettings", self.section(KINDS[kind], raw, path))

    def table(self, raw: object, path: tuple[str, ...], *, example: str) -> dict[str, Any]:
        """Return a table that is one.

        Raises:
            ConfigError: it is something else.
        """
        if not isinstance(raw, dict):
            accepted = f"a table, [{dotted(path)}]"
            if isinstance(raw, FromEnvironment):
                accepted = f"variables for its keys, such as {variable_for((*path, example))}"
            # Not shown, because this may be an API key in the wrong place.
            self.refuse(path, shown(text_of(raw), hide_text=True), accepted)
        return raw

    def _refuse_unknown(self, path: tuple[str, ...], known: list[str]) -> NoReturn:
        table, meant = path[:-1], self._guess(path, known)
        if not variable_of(self._at(path)):
            place = ", above the first table" if meant and table and len(meant) == 1 else ""
            hint = f" (did you mean {dotted(meant)}{place}?)" if meant else ""
            self.refuse(path, f"an unknown key{hint}", ", ".join(sorted(known)))
        hint = f" (did you mean {variable_for(meant)}?)" if meant else ""
        accepted = ", ".join(sorted(variable_for((*table, name)) for name in known))
        if not table:
            accepted = "the keys of config.toml, as in STREAMSVC_PROVIDER, STREAMSVC_SERVER__PORT"
        self.refuse(path, f"an unknown setting{hint}", accepted)
