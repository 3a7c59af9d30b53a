"""Pieces of Markdown: tables, sentences one a line, and what a docstring says of each attribute."""

import re
from collections.abc import Iterable, Mapping
from inspect import cleandoc

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z0-9`\"\[])")


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table; a bar in a cell is escaped."""
    escaped = (tuple(cell.replace("|", "\\|") for cell in cells) for cells in rows)
    lines = [head, ("---",) * len(head), *escaped]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def sentences(text: str) -> str:
    """Return a paragraph with one sentence a line."""
    return _SENTENCE_END.sub("\n", " ".join(text.split()))


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def summary_of(kind: type) -> str:
    """Return what a class is, without its attributes, as one line."""
    text = cleandoc(kind.__doc__ or "").partition("Attributes:")[0].partition("Args:")[0]
    return " ".join(text.split())


def attributes_of(kind: type) -> Mapping[str, str]:
    """Return what the docstring of a class says of each attribute, as sentences."""
    text = cleandoc(kind.__doc__ or "").partition("Attributes:")[2]
    found = {name: " ".join(words.split()) for name, words in _ATTRIBUTE.findall(text)}
    return {name: f"{words[:1].upper()}{words[1:]}" for name, words in found.items()}
