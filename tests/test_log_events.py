"""`docs/reference/logs.md` has every event that the service logs, with its level and its fields, and no other."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import streamsvc

PACKAGE = Path(streamsvc.__file__).parent
PAGE = (Path(__file__).parents[1] / "docs/reference/logs.md").read_text(encoding="utf-8")
CALLS = {"log", "_log", "_record"}


class Event(NamedTuple):
    """An event as a call logs it.

    Attributes:
        name: with `*` for what only the running code knows.
        level: "" if only the running code knows.
        fields: that the call names.
        is_complete: whether there are no others.
    """

    name: str
    level: str
    fields: frozenset[str]
    is_complete: bool


def logged() -> Iterator[Event]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in CALLS:
                names = [name for argument in node.args if (name := _name(argument))]
                levels = [it.attr.lower() for it in node.args if isinstance(it, ast.Attribute)]
                fields = {keyword.arg for keyword in node.keywords}
                if names:
                    known = frozenset(filter(None, fields))
                    is_complete = None not in fields and getattr(node.func, "id", "") == "log"
                    yield Event(names[0], "".join(levels), known, is_complete)


def _name(argument: ast.expr) -> str:
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    texts = [part.value if isinstance(part, ast.Constant) else "*" for part in parts]
    if not all(isinstance(text, str) for text in texts):
        return ""
    name = "".join(map(str, texts))
    return name if re.fullmatch(r"[a-z_]+\.[a-z_*]+", name) else ""


def documented() -> Iterator[tuple[str, str, frozenset[str], str]]:
    table = PAGE.partition("## All events")[2]
    for row in table.splitlines():
        if row.startswith("| `"):
            events, level, fields, _ = (cell.strip() for cell in row.strip("|").split("|"))
            for event in re.findall(r"`([^`]+)`", events):
                yield event, level, frozenset(re.findall(r"`([^`]+)`", fields)), fields


def test_every_event_is_documented_and_every_documented_one_exists() -> None:
    names, pages = {event.name for event in logged()}, {name for name, *_ in documented()}
    assert len(names) > 50
    assert {name for name in names if not any(fnmatch(page, name) for page in pages)} == set()
    assert {page for page in pages if not any(fnmatch(page, name) for name in names)} == set()


def test_documented_levels_and_fields_are_those_of_the_code() -> None:
    rows = [*documented()]
    wrong: list[tuple[str, object]] = []
    for event in logged():
        mine = [row for row in rows if fnmatch(row[0], event.name)]
        levels = {level for _, level, _, _ in mine}
        if event.level and event.level not in levels:
            wrong.append((event.name, event.level))
        is_listed = any(
            event.fields == fields
            or (event.fields <= fields and (not event.is_complete or "; " in cell))
            or "see above" in cell
            for _, level, fields, cell in mine
            if level == (event.level or level)
        )
        if not is_listed:
            wrong.append((event.name, sorted(event.fields)))
    assert wrong == []
