"""The examples of `docs/reference/command-line.md` do what the page says."""

import re
import shlex
from pathlib import Path

import pytest

from streamsvc import cli, errors
from streamsvc.arguments import parser_of_commands
from support.tables import DOCS

PAGE = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def words_of(command: str) -> list[str]:
    """Return the arguments of a line of a shell, without variables before it."""
    words = shlex.split(command)
    return words[words.index("streamsvc") + 1 :]


SESSIONS = [
    re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE) for block in blocks("console")
]
"""The commands of each block with what they print."""


def run(words: list[str]) -> int:
    try:
        return cli.main(words)
    except SystemExit as exc:  # of argparse
        return int(str(exc.code))


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session[0][0])
def test_commands_print_what_the_page_shows(
    session: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A `…` stands for anything in a line, and alone for any number of lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("STREAMSVC_SERVER__PORT", "0")  # another may have 8000
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "STREAMSVC_CONFIG", "STREAMSVC_KEY"):
        monkeypatch.delenv(name, raising=False)
    for command, shown in session:
        code = run(words_of(command))
        printed = capfd.readouterr()
        pattern = re.escape(shown).replace("…\\\n", "…").replace("…", ".*")
        assert re.fullmatch(pattern, printed.out + printed.err, re.DOTALL), printed
        assert code == (errors.EXIT_CONFIG if "error:" in shown else 0)


@pytest.mark.parametrize("command", [line for it in blocks("sh") for line in it.splitlines()])
def test_parsers_accept_the_commands_of_the_page(command: str) -> None:
    parser, _ = parser_of_commands()
    assert parser.parse_args(words_of(command)).command in command


def test_every_exit_code_is_explained() -> None:
    table = PAGE.partition("## Exit codes")[2].partition("\n## ")[0]
    own = {value for name, value in vars(cli).items() if name.startswith("EXIT_")}
    own |= {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert set(map(int, re.findall(r"^\| (\d+) ", table, re.MULTILINE))) == {0, *own}


def test_every_command_has_an_example() -> None:
    _, commands = parser_of_commands()
    shown = " ".join(command for session in SESSIONS for command, _ in session)
    assert [it for it in commands if it not in shown + " ".join(blocks("sh"))] == ["demo"]
