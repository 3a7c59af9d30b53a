"""`streamsvc key`: makes, lists and revokes keys, and leaves the rest of the file as it is."""

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streamsvc.cli import main
from streamsvc.config.keys_file import NEVER, read_keys
from streamsvc.guard.keys import hash_of
from support.commands import run

KEY = re.compile(r"ssk_[a-z2-7]{8}_[a-z2-7]{32}")
HANDMADE = """\
# The teams of the third floor.
[principals.team-a]   # pays for itself
requests_per_minute = 60

[principals.team-b]
providers = ["fake"]  # no other

[[principals.team-b.keys]]
id = "by-hand"        # of the old gateway
hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
created = 2025-01-01T00:00:00Z
"""


class Command:
    """`streamsvc key` in this process, with a file."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return the exit code, and what goes to standard output and to standard error."""
        self._capsys.readouterr()
        try:
            code = main(["key", *arguments, "--file", str(self.path)])
        except SystemExit as exc:  # as argparse does
            code = int(str(exc.code))
        return (code, *self._capsys.readouterr())


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path / "keys.toml", capsys)


def test_new_key_is_printed_once_and_its_hash_is_kept(tmp_path: Path) -> None:
    result = run(tmp_path, "key", "new", "équipe", "--file", "keys.toml")
    (line,) = result.stdout.splitlines()
    assert KEY.fullmatch(line)
    path = tmp_path / "keys.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert line not in path.read_text() + result.stderr
    assert line.split("_")[2] not in path.read_text() + result.stderr
    (entry,) = read_keys(path)["équipe"].keys
    assert (entry.id, entry.hash, entry.expires) == (line.split("_")[1], hash_of(line), NEVER)
    assert result.stderr.splitlines() == [
        f"The key {entry.id} of 'équipe' is shown only this once.",
        "keys.toml is new. To use it, set keys_file = 'keys.toml' in the table [auth] of config.toml.",
    ]


def test_file_of_the_settings_is_the_default(tmp_path: Path) -> None:
    environ = {"STREAMSVC_AUTH__KEYS_FILE": "sub/keys.toml"}
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "keys.toml").touch()  # as a careful operator does
    result = run(tmp_path, "key", "new", "a", environ=environ)
    assert result.returncode == 0
    assert result.stderr.endswith(
        "A service that runs with this file accepts it within a second.\n"
    )
    result = run(tmp_path, "key", "list", environ=environ)
    assert len(result.stdout.splitlines()) == 2
    result = run(tmp_path, "check-config", environ=environ)
    assert "Keys file OK (sub/keys.toml). Principals: 1. Keys: 1.\n" in result.stdout
    assert "sha256" not in result.stdout


def test_comments_order_and_other_entries_stay(key: Command) -> None:
    key.path.write_text(HANDMADE)
    key.path.chmod(0o640)
    code, made, _ = key("new", "team-a", "--expires", "90d")
    assert code == 0
    key("new", "team-c")
    text = key.path.read_text()
    for line in HANDMADE.splitlines():
        assert line in text
    assert text.index("team-a") < text.index("team-b") < text.index("team-c")
    assert stat.S_IMODE(key.path.stat().st_mode) == 0o640
    (entry,) = read_keys(key.path)["team-a"].keys
    assert timedelta(89) < entry.expires - datetime.now(UTC) <= timedelta(90)
    code, out, err = key("revoke", made.split("_")[1])
    assert (code, out) == (0, "")
    assert "of 'team-a' is revoked" in err
    code, _, _ = key("revoke", "by-hand")
    principals = read_keys(key.path)
    assert [len(known.keys) for known in principals.values()] == [0, 0, 1]
    assert principals["team-a"].limits == {"requests_per_minute": 60}
    key("new", "team-a")
    assert len(read_keys(key.path)["team-a"].keys) == 1


def test_last_key_can_be_revoked_by_itself(key: Command) -> None:
    """The principal stays: a file without principals would be refused, and the key would stay valid."""
    _, made, _ = key("new", "a")
    code, _, err = key("revoke", made.strip())
    assert code == 0
    assert made.strip() not in err
    assert [(name, known.keys) for name, known in read_keys(key.path).items()] == [("a", ())]


@pytest.mark.parametrize(
    "text",
    [
        "principals = {a = {keys = [KEY]}}",
        "[principals]\na.max_viewers = 1\na.keys = [KEY]",
        "[principals]\na = {keys = [\n  KEY, # mine\n]}",
        "[principals.a]\nkeys = [KEY]",
        "[[principals.a.keys]]\nLINES\n[principals.b]\n[principals.a]\nmax_viewers = 1",
    ],
)
def test_any_layout_is_changed_as_meant_or_refused(key: Command, text: str) -> None:
    fields = ("id = 'old'", f"hash = 'sha256:{'0' * 64}'", "created = 2025-01-01T00:00:00Z")
    text = text.replace("KEY", f"{{{', '.join(fields)}}}").replace("LINES", "\n".join(fields))
    key.path.write_text(text)
    before = read_keys(key.path)
    for arguments, left in ((("new", "a"), 2), (("new", "c.d"), 1), (("revoke", "old"), 0)):
        key.path.write_text(text)
        code, _, err = key(*arguments)
        after = read_keys(key.path)
        if code == 2:
            assert after == before
            assert err.startswith("The keys file: found a layout that this command cannot change")
        else:
            assert code == 0
            owner = "c.d" if "c.d" in arguments else "a"
            assert len(after[owner].keys) == left
            assert after["a"].limits == before["a"].limits


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("text", ["[principals]\na.max_viewers = 1\n", "[[principals.a.keys]]\nONE\n[principals.b]\n[[principals.a.keys]]\nTWO\n"])  # fmt: skip
def test_layout_that_cannot_be_changed_stays(key: Command, text: str) -> None:
    """Better refused than a key that stays valid, or an entry that is lost."""
    fields = "id = 'N'\nhash = 'sha256:H'\ncreated = 2025-01-01T00:00:00Z"
    for word, digit in (("ONE", "1"), ("TWO", "2")):
        text = text.replace(word, fields.replace("N", digit).replace("H", digit * 64))
    key.path.write_text(text)
    code, out, err = key("new", "a")
    assert (code, out) == (2, "")
    assert err == (
        "The keys file: found a layout that this command cannot change; accepted: keys as tables of their own, "
        "[[principals.NAME.keys]]; or edit it by hand\n"
    )
    assert key.path.read_text() == text


def test_list_shows_ids_and_never_hashes(key: Command) -> None:
    key.path.write_text(f"{HANDMADE}expires = 2025-06-01T00:00:00Z\n")
    _, made, _ = key("new", "é", "--expires", "2099-01-31")
    code, out, err = key("list")
    assert (code, err) == (0, "")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert [line.split() for line in out.splitlines()] == [
        ["ID", "PRINCIPAL", "CREATED", "EXPIRES"],
        ["(none)", "team-a"],
        ["by-hand", "team-b", "2025-01-01", "expired", "2025-06-01", "00:00", "UTC"],
        [made.split("_")[1], "é", today, "2099-01-31", "00:00", "UTC"],
    ]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["new", "a b"], "NAME: found 'a b'; accepted: 1 to 255 visible characters, without spaces, and not a key"),
        (["new", ""], "NAME: found ''; accepted: 1 to 255 visible characters, without spaces, and not a key"),
        (["new", "ssk_x_y"], "NAME: found a key; accepted: 1 to 255 visible characters, without spaces, and not a key"),
        (["new", "a", "--expires", "soon"], "streamsvc key new: error: argument --expires: found 'soon'; accepted: 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z"),
        (["new", "a", "--expires", "99999d"], ""),
        (["new", "a", "--expires", "2020-01-31"], "streamsvc key new: error: argument --expires: 2020-01-31 is in the past"),
        (["revoke", "x"], "ID: found 'x'; accepted: the id of a key in the file; `streamsvc key list` prints them"),
        (["revoke", "ssk_x_secret"], "ID: found 'x'; accepted: the id of a key in the file; `streamsvc key list` prints them"),
    ],
)  # fmt: skip
def test_wrong_argument_changes_nothing(key: Command, arguments: list[str], line: str) -> None:
    key.path.write_text(HANDMADE)
    code, out, err = key(*arguments)
    if not line:
        assert code == 0  # 273 years
        return
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == line
    assert key.path.read_text() == HANDMADE


@pytest.mark.promise("input:clear-error")
def test_unusable_file_is_one_line_and_stays(key: Command) -> None:
    key.path.write_text(HANDMADE.replace("60", "-60"))
    for arguments in (("new", "a"), ("list",), ("revoke", "by-hand")):
        code, out, err = key(*arguments)
        place = f"{key.path}: principals.team-a.requests_per_minute"
        assert (code, out) == (2, "")
        assert err == f"{place}: found -60; accepted: a whole number from 0 to 1000000000000\n"
    key.path.unlink()
    code, _, err = key("list")
    assert (code, err.partition(": found")[0]) == (2, str(key.path))
    key.path = key.path / "below" / "keys.toml"
    code, _, err = key("new", "a")
    assert (code, err) == (2, f"{key.path.parent}: No such file or directory.\n")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_service_does_not_start_with_an_unusable_keys_file(tmp_path: Path, command: str) -> None:
    (tmp_path / "keys.toml").write_text(HANDMADE.replace("60", "-60").replace('"fake"', '"fak"'))
    environ = {"STREAMSVC_AUTH__KEYS_FILE": "keys.toml", "STREAMSVC_SERVER__PORT": "0"}
    result = run(tmp_path, command, environ=environ)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "keys.toml: principals.team-a.requests_per_minute: found -60; accepted: a whole number from 0 to 1000000000000",
        "keys.toml: principals.team-b.providers: found 'fak'; accepted: one of 'fake', 'gemini', 'openai'",
    ]


@pytest.mark.promise("input:clear-error")
def test_without_a_file_the_settings_must_name_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["key", "new", "a"]) == 2
    line = (
        "auth.keys_file: found ''; accepted: the name of a file for the keys; or use --file FILE\n"
    )
    assert capsys.readouterr() == ("", line)


def test_two_commands_at_once_lose_no_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        results = threads.map(
            lambda i: run(tmp_path, "key", "new", f"team-{i}", "--file", "keys.toml"), range(4)
        )
        made = {hash_of(result.stdout.strip()) for result in results}
    principals = read_keys(tmp_path / "keys.toml")
    assert {key.hash for known in principals.values() for key in known.keys} == made
    assert [path.name for path in tmp_path.iterdir()] == ["keys.toml"]


def test_link_to_the_file_stays_a_link(key: Command) -> None:
    real = key.path.with_name("real.toml")
    real.write_text(HANDMADE)
    key.path.symlink_to(real)
    assert key("new", "team-a")[0] == 0
    assert key.path.is_symlink()
    assert len(read_keys(real)["team-a"].keys) == 1


def test_failed_write_leaves_the_old_file(key: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    key.path.write_text(HANDMADE)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, out, err = key("new", "team-a")
    assert (code, out, err) == (2, "", "The keys file: No space left on device.\n")
    assert key.path.read_text() == HANDMADE
    assert [path.name for path in key.path.parent.iterdir()] == ["keys.toml"]
