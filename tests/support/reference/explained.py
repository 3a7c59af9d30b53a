"""What `config.toml` says of each key: its default as it is written there, and the comment above it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[3] / "config.toml"

_TABLE = re.compile(r"\[([\w.]+)\]")
_KEY = re.compile(r"(\w+) = (.+)")


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A key of the file.

    Attributes:
        default: its value, as TOML.
        comment: the lines above it, without their `#`; empty if it has none of its own.
        first: the key whose comment it shares; empty if it has its own, or none.
    """

    default: str
    comment: tuple[str, ...] = ()
    first: str = ""


def explained() -> Mapping[tuple[str, ...], Explained]:
    """Return every key of the shipped file by its path, such as `("server", "port")`."""
    return dict(_keys(FILE.read_text(encoding="utf-8")))


def _keys(text: str) -> Iterator[tuple[tuple[str, ...], Explained]]:
    table: tuple[str, ...] = ()
    comment: list[str] = []
    first = ""
    for line in text.splitlines():
        if line.startswith("#"):
            comment, first = ([] if first else comment), ""
            comment.append(line.removeprefix("#").removeprefix(" "))
        elif found := _TABLE.fullmatch(line):
            table, comment, first = (*found[1].split("."),), [], ""
        elif found := _KEY.fullmatch(line):
            is_first = bool(comment) and not first
            own = tuple(comment) if is_first else ()
            yield (*table, found[1]), Explained(default=found[2], comment=own, first=first)
            first = first or (found[1] if comment else "")
        else:
            comment, first = [], ""
