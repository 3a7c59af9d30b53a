"""`streamsvc key new | list | revoke`: the keys of the service, in its keys file.

Comments and order of the file stay as they are (`edits`). A change is written to a new file, which then replaces
the old one: a running service reads the one or the other. Two commands at once wait for each other.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from streamsvc.config.file import refuse, shown
from streamsvc.config.guard_settings import KEY_PREFIX, PRINCIPAL_RULE, is_principal_name
from streamsvc.config.keys_file import NEVER, KeyEntry, KnownPrincipal, read_keys
from streamsvc.config.load import load
from streamsvc.errors import EXIT_CONFIG, ConfigError
from streamsvc.guard.keys import hash_of, new_key
from streamsvc.keys import edits


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run one action; return the exit code."""
    actions: Mapping[str, Callable[[Path, argparse.Namespace], None]] = {
        "new": _new,
        "list": _list,
        "revoke": _revoke,
    }
    try:
        actions[arguments.action](_path(arguments, environ), arguments)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return EXIT_CONFIG
    except OSError as exc:
        print(f"{exc.filename or 'The keys file'}: {exc.strerror}.", file=sys.stderr)
        return EXIT_CONFIG
    return 0


def _new(path: Path, arguments: argparse.Namespace) -> None:
    name: str = arguments.name
    if not is_principal_name(name):
        found = "a key" if name.startswith(KEY_PREFIX) else shown(name)
        refuse("NAME", found, PRINCIPAL_RULE)
    key, key_id = new_key()
    now = datetime.now(UTC).replace(microsecond=0)
    entry = KeyEntry(id=key_id, hash=hash_of(key), created=now, expires=arguments.expires)
    with _replaced(path) as file:
        file.text = edits.added(file.text, name, entry)
    print(key, flush=True)
    print(f"The key {key_id} of {name!r} is shown only this once.", file=sys.stderr)
    if file.is_new and arguments.file is not None:
        print(
            f"{path} is new. To use it, set keys_file = {str(path)!r} in the table [auth] of config.toml.",
            file=sys.stderr,
        )
    else:
        print("A service that runs with this file accepts it within a second.", file=sys.stderr)


def _list(path: Path, _arguments: argparse.Namespace) -> None:
    rows = [("ID", "PRINCIPAL", "CREATED", "EXPIRES")]
    for name, principal in read_keys(path).items():
        rows += [_row(name, key) for key in principal.keys] or [("(none)", name, "", "")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _row(name: str, key: KeyEntry) -> tuple[str, str, str, str]:
    expires = "never" if key.expires == NEVER else f"{key.expires:%Y-%m-%d %H:%M %Z}"
    if key.expires <= datetime.now(UTC):
        expires = f"expired {expires}"
    return key.id, name, f"{key.created:%Y-%m-%d}", expires


def _revoke(path: Path, arguments: argparse.Namespace) -> None:
    given: str = arguments.id
    key_id = given.split("_")[1] if given.startswith(KEY_PREFIX) else given  # a whole key
    with _replaced(path) as file:
        owner = _owner(file.principals, key_id)
        file.text = edits.removed(file.text, owner, key_id)
    print(f"The key {key_id} of {owner!r} is revoked.", file=sys.stderr)
    print("A service that runs with this file cuts its streams within a second.", file=sys.stderr)


def _owner(principals: Mapping[str, KnownPrincipal], key_id: str) -> str:
    owners = {key.id: name for name, principal in principals.items() for key in principal.keys}
    if key_id not in owners:
        refuse("ID", shown(key_id), "the id of a key in the file; `streamsvc key list` prints them")
    return owners[key_id]


def _path(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Path:
    """Return the keys file: the argument, or the one in the settings."""
    if arguments.file is not None:
        path: Path = arguments.file
        return path
    settings = load(arguments.config, environ)
    if not settings.auth.keys_file:
        refuse("auth.keys_file", "''", "the name of a file for the keys; or use --file FILE")
    return Path(settings.auth.keys_file)


class _File:
    """The text of a keys file, which is changed.

    Attributes:
        text: the text; "" if there is no file, or an empty one.
        is_new: whether there is no file, or an empty one.
        principals: what it says.
    """

    def __init__(self, path: Path) -> None:
        self.text = ""
        self.is_new = not path.exists() or not path.stat().st_size
        self.principals: Mapping[str, KnownPrincipal] = {}
        if not self.is_new:
            self.principals = read_keys(path)
            self.text = path.read_text(encoding="utf-8-sig")


@contextmanager
def _replaced(path: Path) -> Iterator[_File]:
    """Read a file, and replace it by what the `with` block makes of it."""
    path = Path(os.path.realpath(path))  # a link stays one
    with _locked(path.parent):
        file = _File(path)
        yield file
        _write(path, file.text)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other commands away from the files of a directory. Windows has no such lock."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415  # not on Windows

    opened = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _write(path: Path, text: str) -> None:
    """Replace a file at once, with the owner and the permissions of the old one; only its owner may read a new one."""
    opened, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(opened, "w", encoding="utf-8") as file:  # noqa: PTH123  # a descriptor
            file.write(text)
            file.flush()
            if path.exists() and sys.platform != "win32":
                old = path.stat()
                os.fchmod(opened, old.st_mode & 0o7777)
                with suppress(PermissionError):  # the owner may not give it away
                    os.fchown(opened, old.st_uid, old.st_gid)
            os.fsync(opened)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
