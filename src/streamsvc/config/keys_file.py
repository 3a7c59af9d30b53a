"""The keys file: who may use the service, with which keys, and how much of it.

    [principals.team-a]
    requests_per_minute = 60        # the names of [principal_limits]; what is not set here is taken from there
    providers = ["openai"]          # the provider entries that it may use; all, if not set
    models = ["gpt-5.4-mini"]       # the models that may answer; all, if not set

    [[principals.team-a.keys]]      # any number of keys is valid at a time, so that they can be rotated
    id = "q7tkm2pd"
    hash = "sha256:…"
    created = 2026-11-26T23:00:00Z
    expires = 2027-11-26T00:00:00Z  # never, if not set

A file with a mistake is refused as a whole, with one line for each mistake. No line shows a key or a hash.
"""

import re
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta

from streamsvc.config.file import Mistakes, one_of, read_file, refuse, shown
from streamsvc.config.guard_settings import (
    KEY_PREFIX,
    PRINCIPAL_RULE,
    PrincipalLimits,
    is_principal_name,
)
from streamsvc.config.paths import near
from streamsvc.config.reader import Reader
from streamsvc.config.section import Name, Section
from streamsvc.errors import ConfigError

NEVER = datetime(9999, 12, 31, tzinfo=UTC)
"""When a key expires that does not."""

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_HASH_RULE = "'sha256:' and 64 hexadecimal digits, as `streamsvc key new` writes them"
_SECRETS = re.compile(rf"{KEY_PREFIX}\w+|(sha256:)?[0-9A-Fa-f]{{32,}}")
_LIMITS = tuple(field.name for field in msgspec.structs.fields(PrincipalLimits))

_Entry = TypeVar("_Entry", bound=Section)

DateTime = Annotated[datetime, Meta(tz=True)]


class KeyEntry(Section, frozen=True):
    """A key in the file.

    Attributes:
        id: which key it is, among the keys of all principals; the second part of the key.
        hash: "sha256:" and the hash of the whole key, in hexadecimal digits.
        created: when it was made, for the reader of the file.
        expires: when it stops being valid.
    """

    id: str
    hash: str
    created: DateTime
    expires: DateTime = NEVER


class PrincipalEntry(PrincipalLimits, frozen=True):
    """A principal in the file.

    Attributes:
        providers: the provider entries that it may use; () is all.
        models: the models that may answer it; () is all.
    """

    providers: Annotated[tuple[str, ...], Meta(min_length=1)] = ()
    models: Annotated[tuple[Name, ...], Meta(min_length=1)] = ()


class KnownPrincipal(msgspec.Struct, frozen=True):
    """A principal with its keys.

    Attributes:
        entry: what it may use.
        limits: those that the file sets.
        keys: its keys.
    """

    entry: PrincipalEntry
    limits: Mapping[str, int]
    keys: tuple[KeyEntry, ...]


def read_keys(path: Path, providers: Collection[str] | None = None) -> Mapping[str, KnownPrincipal]:
    """Return the principals of a keys file, by name.

    Args:
        path: the file.
        providers: the provider entries of the settings, which the file may name; None means any.

    Raises:
        ConfigError: a line for each mistake.
    """
    try:
        _check_is_file(path)
        return _Principals(path, read_file(path), providers).read()
    except ConfigError as exc:
        raise ConfigError(_SECRETS.sub("(not shown)", str(exc))) from None


def _check_is_file(path: Path) -> None:
    """Refuse what cannot be read a second time, such as a pipe; `read_file` refuses what does not exist."""
    accepted = "a TOML file"
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        accepted += "; `streamsvc key new NAME` makes one"
        refuse(str(path), f"no readable file ({exc.strerror})", accepted, exc)
    if not stat.S_ISREG(mode):
        refuse(str(path), "something that is not a file", accepted)


class _Principals:
    """The tables of a keys file, which become principals."""

    def __init__(self, path: Path, raw: dict[str, Any], providers: Collection[str] | None) -> None:
        self._mistakes = Mistakes()
        self._reader = Reader(str(path), raw, self._mistakes, guess=near)
        self._raw = raw
        self._providers = providers
        self._places: dict[str, tuple[str, ...]] = {}  # of ids and hashes

    def read(self) -> Mapping[str, KnownPrincipal]:
        """Return the principals.

        Raises:
            ConfigError: a line for each mistake.
        """
        reader, principals = self._reader, {}
        for name in self._raw:
            if name != "principals":
                reader.note((name,), "an unknown key", "principals")
        with self._mistakes.noted():
            for name, raw in self._table().items():
                if is_principal_name(name):
                    with reader.noted(("principals", name)):
                        principals[name] = self._principal(raw, ("principals", name))
                else:
                    with self._mistakes.noted():
                        reader.refuse(("principals",), f"the name {shown(name)}", PRINCIPAL_RULE)
        self._mistakes.raise_all()
        return principals

    def _table(self) -> dict[str, Any]:
        """Return the table of principals. Without it, a file that is being written would revoke all keys."""
        raw = self._raw.get("principals")
        if raw is None:
            accepted = "a table for each principal, [principals.NAME]"
            self._reader.refuse(("principals",), "nothing", accepted)
        return self._reader.table(raw, ("principals",), example="")

    def _principal(self, raw: object, path: tuple[str, ...]) -> KnownPrincipal:
        reader = self._reader
        table = dict(reader.table(raw, path, example=""))
        keys = table.pop("keys", [])
        entry = self._section(PrincipalEntry, table, path)
        known = self._providers
        if known is not None and (foreign := [it for it in entry.providers if it not in known]):
            reader.note((*path, "providers"), shown(foreign[0]), one_of(known))
        if not isinstance(keys, list):
            accepted = f"tables, each [[{'.'.join(path)}.keys]]"
            reader.note((*path, "keys"), "something else", accepted)
            keys = []
        limits = {name: getattr(entry, name) for name in _LIMITS if name in table}
        read = (self._key(key, (*path, f"keys[{i}]")) for i, key in enumerate(keys))
        return KnownPrincipal(entry, limits, tuple(read))

    def _section(self, kind: type[_Entry], raw: object, path: tuple[str, ...]) -> _Entry:
        """Return a table as a section; the reader, which takes a hundred times as long, finds the mistakes."""
        with suppress(msgspec.ValidationError):
            return msgspec.convert(raw, kind)
        return cast("_Entry", self._reader.section(kind, raw, path))

    def _key(self, raw: object, path: tuple[str, ...]) -> KeyEntry:
        reader = self._reader
        key = KeyEntry(id="", hash="", created=NEVER)
        with reader.noted(path):
            key = self._section(KeyEntry, raw, path)
            if not _ID.fullmatch(key.id):
                accepted = "1 to 64 letters, digits and '-'"
                reader.note((*path, "id"), shown(key.id), accepted)
            if not _HASH.fullmatch(key.hash):
                reader.note((*path, "hash"), "something else (not shown)", _HASH_RULE)
            for name, value in (("id", key.id), ("hash", key.hash)):
                place = (*path, name)
                if (other := self._places.setdefault(value, place)) != place:
                    found = f"the same as in {'.'.join(other)}"
                    reader.note(place, found, f"another {name} for each key")
        return key
