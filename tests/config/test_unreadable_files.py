"""A file that is missing, is not a file, or is not TOML."""

import re
from contextlib import chdir
from pathlib import Path

import pytest

from streamsvc.config.load import load
from streamsvc.errors import ConfigError


@pytest.mark.promise("input:clear-error")
def test_missing_named_file_is_a_mistake(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    line = f"{missing}: found no readable file (No such file or directory); accepted: a TOML file"
    for path, environ in [(missing, {}), (None, {"STREAMSVC_CONFIG": str(missing)})]:
        with pytest.raises(ConfigError) as caught:
            load(path, environ)
        assert str(caught.value) == line


@pytest.mark.promise("input:clear-error")
def test_directory_in_place_of_the_file_is_a_mistake(tmp_path: Path) -> None:
    """Container engines create one if the file to mount does not exist."""
    (tmp_path / "config.toml").mkdir()
    with chdir(tmp_path), pytest.raises(ConfigError) as caught:
        load(None, {})
    assert str(caught.value) == (
        "config.toml: found no readable file (Is a directory); accepted: a TOML file"
    )


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (
            b"provider = fake",
            r"text that is not TOML \(Invalid value \(at line 1, column 12\)\)",
        ),
        (b"[server", r"text that is not TOML \(.*\)"),
        (b"a = 1\na = 2", r"text that is not TOML \(.*\)"),
        (b"a = " + b"[" * 100_000, r"text that is not TOML \(.*\)"),
        (b"[a" + b".a" * 5000 + b"]", r"text that is not TOML \(more than 32 .*\)"),
        (b"a = " + b"9" * 5000, r"text that is not TOML \(.*\)"),
        (b'provider = "\xff"', r"bytes that are not UTF-8 \(from byte 12 on\)"),
        (b"\x00", r"text that is not TOML \(.*\)"),
    ],
    ids=[
        "no quotes",
        "open bracket",
        "twice",
        "too deep",
        "too many dots",
        "too long",
        "not UTF-8",
        "NUL",
    ],
)
def test_invalid_toml_is_reported_with_its_position(tmp_path: Path, raw: bytes, why: str) -> None:
    (tmp_path / "config.toml").write_bytes(raw)
    with chdir(tmp_path), pytest.raises(ConfigError) as caught:
        load(None, {})
    pattern = rf"config.toml: found {why}; accepted: TOML 1\.0 in UTF-8(, with strings in quotes)?"
    assert re.fullmatch(pattern, str(caught.value))
