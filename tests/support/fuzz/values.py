"""Odd values: for the fields of JSON, for parameters and for headers."""

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

from support.native import NEVER

STRINGS: Sequence[str] = (
    *("", " ", "hi", "-1", "0", "\0", "\u2028", "\ufeff", "😀", "\ud800", "\udfff\ud83d", "x" * 2000),
    *("$.prompt", "` - at `$.x`", "`", "gen_", NEVER, f"{NEVER}.0", "fake", "json", "text", "xml"),
    *("user", "system", "assistant", "tool", "__proto__", "%s%n", "\r\nX: y", "NaN", "é" * 300),
    *("y " * 1500, "😀" * 1200, "x" * 1001),
    *("../../etc/passwd", "%2e%2e%2f", "data:image/png;base64,AAAA", "https://127.0.0.1:1/x", "{}"),
)  # fmt: skip
NUMBERS = (0, -1, 1, 2, 1.5, -0.0, 1e308, 10**40, -(10**20), 2**31, 2**63, 2**64, float("inf"))

MAX_DEPTH = 3


class Values:
    """Makes values that are odd; the same seed makes the same ones.

    Args:
        source: the randomness.
    """

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._pick = source.choice

    def value(self, depth: int = 0) -> object:
        """Return any JSON value."""
        kind = self._random.randrange(3 if depth > MAX_DEPTH else 5)
        size = self._random.randrange(4)
        match kind:
            case 0:
                return self._pick(STRINGS)
            case 1:
                return self._pick(NUMBERS)
            case 2:
                return self._pick((None, True, False))
            case 3:
                return [self.value(depth + 1) for _ in range(size)]
            case _:
                return {self._pick(STRINGS): self.value(depth + 1) for _ in range(size)}

    def changed(self, body: Any, changes: int) -> Any:
        """Return a copy of a JSON value with so many other values in it, at any depth."""
        body = copy.deepcopy(body)
        for _ in range(changes):
            self._change(self._pick(_tables(body)))
        return body

    def encoded(self, body: object) -> bytes:
        """Return a value as JSON, with lone surrogates and infinities as they are."""
        text = json.dumps(body, ensure_ascii=self._random.random() < 0.5)
        return text.encode("utf-8", "surrogatepass")

    def scratched(self, raw: bytes, changes: int) -> bytes:
        """Return bytes with so many other bytes in them."""
        found = bytearray(raw)
        for _ in range(changes):
            at = self._random.randrange(len(found) + 1)
            found[at : at + self._random.randrange(4)] = self.bytes(4)
        return bytes(found)

    def bytes(self, below: int) -> bytes:
        """Return up to so many random bytes."""
        return self._random.randbytes(self._random.randrange(below))

    def _change(self, table: Any) -> None:
        if isinstance(table, list):
            at = self._random.randrange(len(table) + 1)
            table[at : at + self._random.randrange(2)] = [self.value()]
        elif self._random.random() < 0.2 and table:
            del table[self._pick(list(table))]
        else:
            table[self._pick((*table, *STRINGS))] = self.value()


def _tables(body: Any) -> list[Any]:
    """Return all objects and arrays of a JSON value."""
    found: list[Any] = [body]
    for table in found:
        parts = table.values() if isinstance(table, dict) else table
        found += [part for part in parts if isinstance(part, dict | list)]
    return found
