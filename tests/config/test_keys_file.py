"""Mistakes in a keys file: one line each, with the place, and never a key or a hash."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamsvc.config.keys_file import NEVER, read_keys
from streamsvc.errors import ConfigError

HASH = f"sha256:{'ab' * 32}"
CREATED = "created = 2026-11-26T00:00:00Z\n"
KEY = f"[[principals.a.keys]]\nid = 'one'\nhash = '{HASH}'\n{CREATED}"
SECRET = "ssk_one_aaaabbbbccccddddeeeeffffgggghhhh"


def mistakes(directory: Path, text: str) -> list[str]:
    """Return the lines of the error about a file with this text, without the file's name."""
    path = directory / "keys.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_keys(path, {"fake", "openai"})
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert HASH not in str(caught.value)
    assert SECRET not in str(caught.value)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_file_says_who_may_use_what_and_until_when(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    entry = "[principals.a]\nmax_viewers = 3\nproviders = ['fake']\nmodels = ['m', 'n']\n"
    other = KEY.replace("'one'", "'two'").replace("ab", "cd")
    path.write_text(
        f"{entry}{KEY}expires = 2027-01-01T01:00:00+01:00\n{other}[principals.'é']\n[principals.__proto__]\n"
    )
    principals = read_keys(path)
    assert [*principals] == ["a", "é", "__proto__"]
    known = principals["a"]
    assert known.limits == {"max_viewers": 3}
    assert (known.entry.providers, known.entry.models) == (("fake",), ("m", "n"))
    assert [key.id for key in known.keys] == ["one", "two"]
    assert [key.expires for key in known.keys] == [datetime(2027, 1, 1, tzinfo=UTC), NEVER]
    path.write_text("[principals]\n")
    assert read_keys(path) == {}


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["principals: found nothing; accepted: a table for each principal, [principals.NAME]"]),
        ("principals = 3", ["principals: found 3; accepted: a table, [principals]"]),
        ("[principals]\na = 3", ["principals.a: found 3; accepted: a table, [principals.a]"]),
        ("port = 3\n[principals]", ["port: found an unknown key; accepted: principals"]),
        (
            "[principals.a]\nmax_viewer = 3",
            [("principals.a.max_viewer: found an unknown key (did you mean principals.a.max_viewers?); accepted: "
             "max_generations, max_viewers, models, providers, requests_per_minute, tokens_per_minute")],
        ),
        (
            "[principals.a]\nmax_viewers = -1\ntokens_per_minute = 1000000000001",
            ["principals.a.tokens_per_minute: found 1000000000001; accepted: a whole number from 0 to 1000000000000",
             "principals.a.max_viewers: found -1; accepted: a whole number from 0 to 1000000000000"],
        ),
        (
            "[principals.a]\nproviders = ['fake', 'opnai']",
            ["principals.a.providers: found 'opnai'; accepted: one of 'fake', 'openai'"],
        ),
        (
            "[principals.a]\nproviders = []\nmodels = ['']",
            ["principals.a.providers: found []; accepted: a list of strings in quotes, not empty",
             "principals.a.models: found ['']; accepted: a list of strings in quotes, not empty"],
        ),
        (
            "[principals.a]\nkeys = 3",
            ["principals.a.keys: found something else; accepted: tables, each [[principals.a.keys]]"],
        ),
        (
            "[principals.a]\nkeys = [3]",
            ["principals.a.keys[0]: found 3; accepted: a table, [principals.a.keys[0]]"],
        ),
        (
            "[[principals.a.keys]]",
            ["principals.a.keys[0].id: found nothing; accepted: a string in quotes (it is required)",
             "principals.a.keys[0].hash: found nothing; accepted: a string in quotes (it is required)",
             ("principals.a.keys[0].created: found nothing; accepted: a date and a time with an offset, such as "
             "2027-01-31T00:00:00Z (it is required)")],
        ),
        (
            f"{KEY}expires = 2027-01-31T00:00:00",
            [("principals.a.keys[0].expires: found 2027-01-31 00:00:00; accepted: a date and a time with an offset, "
             "such as 2027-01-31T00:00:00Z")],
        ),
        (
            f"{KEY}expires = '2027'",
            [("principals.a.keys[0].expires: found '2027'; accepted: a date and a time with an offset, such as "
             "2027-01-31T00:00:00Z, without quotes")],
        ),
        (
            KEY.replace("'one'", "'a_b'"),
            ["principals.a.keys[0].id: found 'a_b'; accepted: 1 to 64 letters, digits and '-'"],
        ),
        (
            KEY + KEY.replace("principals.a", "principals.b"),
            ["principals.b.keys[0].id: found the same as in principals.a.keys[0].id; accepted: another id for each key",
             ("principals.b.keys[0].hash: found the same as in principals.a.keys[0].hash; accepted: another hash for "
             "each key")],
        ),
    ],
)  # fmt: skip
def test_mistake_is_a_line_with_its_place(tmp_path: Path, text: str, lines: list[str]) -> None:
    assert mistakes(tmp_path, text) == lines


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "name",
    ["", "a b", "a\\u0000b", "a\\nb", "\\u001b[31m", "\\u2028", "\\u0085", "x" * 256, SECRET],
)
def test_invalid_name_of_a_principal_is_refused(tmp_path: Path, name: str) -> None:
    """A name ends up in log lines and in the keys of Redis."""
    (line, _) = mistakes(tmp_path, f'[principals."{name}"]\n[principals." "]\n')
    assert line.startswith("principals: found the name ")
    assert line.endswith("; accepted: 1 to 255 visible characters, without spaces, and not a key")
    assert line.isprintable()


def test_longest_name_of_a_principal_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(f"[principals.{'x' * 255}]\n")
    assert [*read_keys(path)] == ["x" * 255]


@pytest.mark.promise("secret:kept")
@pytest.mark.parametrize(
    "text",
    [
        KEY.replace(HASH, SECRET),
        KEY.replace(HASH, HASH.upper()),
        KEY.replace("'one'", f"'{SECRET}'"),
        KEY.replace("'one'", f"['{HASH}']"),
        KEY.replace("created", f"'{SECRET}'"),
        f"[principals.a]\nkey = '{SECRET}'",
        f"[principals.a]\nkeys = '{SECRET}'",
        f"[principals.a]\nproviders = ['{SECRET}']",
        f"[principals.a]\n{SECRET}",
        f"{KEY}{KEY}hash = '{HASH}'",
        f"principals = '{HASH}'",
        f"'{HASH}' = 1",
    ],
)
def test_no_line_shows_a_key_or_a_hash(tmp_path: Path, text: str) -> None:
    """`mistakes` checks it, wherever they are."""
    assert mistakes(tmp_path, text)
    assert "ab" * 20 not in "".join(mistakes(tmp_path, text))
