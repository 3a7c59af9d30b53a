"""The sentences that the service says, as patterns: for comparing those that a page quotes."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import streamsvc

PACKAGE = Path(streamsvc.__file__).parent

MIN_CHARS = 12
"""A pattern has at least this much text of its own."""


@cache
def patterns() -> Sequence[re.Pattern[str]]:
    """Return a pattern for each text in the code that may be a sentence."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(it.value) for it in ast.walk(tree) if isinstance(it, ast.Expr)}
        for node in ast.walk(tree):
            pieces = [] if id(node) in docstrings else [*_pieces(node)]
            if sum(len(piece) for piece in pieces if piece) >= MIN_CHARS:
                text = "".join(".+" if piece is None else re.escape(piece) for piece in pieces)
                found[text] = re.compile(text)
    return [*found.values()]


def is_said(sentence: str) -> bool:
    """Return whether some text in the code, its gaps filled, is this sentence."""
    return any(pattern.fullmatch(sentence) for pattern in patterns())


def _pieces(node: ast.AST) -> Iterator[str | None]:
    """Yield the parts of a text; None for each gap."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            for part in parts:
                yield from _pieces(part)
        case ast.FormattedValue():
            yield None
        case _:
            pass
