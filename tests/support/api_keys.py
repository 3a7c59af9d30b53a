"""Keys files: principals with keys that tests can use."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamsvc.config.guard_settings import AuthSettings
from streamsvc.config.keys_file import NEVER, KeyEntry
from streamsvc.config.settings import Settings
from streamsvc.guard.keys import hash_of, new_key
from streamsvc.keys.edits import added, removed


class KeysFile:
    """A keys file.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owners: dict[str, str] = {}

    def add(self, name: str, *, expires: datetime = NEVER) -> str:
        """Add a key for a principal, and return it."""
        key, key_id = new_key()
        entry = KeyEntry(key_id, hash_of(key), datetime.now(UTC).replace(microsecond=0), expires)
        self._owners[key] = name
        self.replace(added(self.text, name, entry))
        return key

    def revoke(self, key: str) -> None:
        """Remove a key."""
        self.replace(removed(self.text, self._owners[key], id_of(key)))

    @property
    def text(self) -> str:
        """Its text; "" if it does not exist."""
        with suppress(FileNotFoundError):
            return self.path.read_text(encoding="utf-8")
        return ""

    def replace(self, text: str) -> None:
        """Put another file in its place."""
        new = self.path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.chmod(0o600)
        new.replace(self.path)

    def overwrite(self, text: str) -> None:
        """Write into the file itself."""
        self.path.write_text(text, encoding="utf-8")


def keys_file() -> Any:
    """Return a fixture: a keys file in the test's directory."""

    @pytest.fixture
    def keys(tmp_path: Path) -> KeysFile:
        return KeysFile(tmp_path / "keys.toml")

    return keys


def hurried_reads() -> Any:
    """Return a fixture for all tests of a module: a change of a keys file is seen within hundredths of a second."""

    @pytest.fixture(autouse=True)
    def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("streamsvc.filewatch.POLL_SECONDS", 0.02)
        monkeypatch.setattr("streamsvc.filewatch.SETTLE_SECONDS", 0.02)

    return hurry


def id_of(key: str) -> str:
    """Return the id of a key."""
    return key.split("_")[1]


def guarded(settings: Settings, keys: KeysFile) -> Settings:
    """Return settings with a keys file."""
    return msgspec.structs.replace(settings, auth=AuthSettings(keys_file=str(keys.path)))


def bearer(key: str) -> Mapping[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


def credential_of(key: str) -> str:
    """Return what a principal says that it came with."""
    return f"key:{id_of(key)}"
