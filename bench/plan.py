"""The answer that the fake upstream shall give, as the name of a model: `t200-p50-f100`.

The upstream takes the first plan that it finds in the body of a request, so the plan can be the name
of the model, or the prompt, where a target fixes the model.
"""

import re
from dataclasses import dataclass
from typing import Self

from typing_extensions import override

_PLAN = re.compile(r"\bt(\d+)-p(\d+)-f(\d+)(-h)?(?:-k(\d+))?\b")


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer of the fake upstream.

    Attributes:
        tokens: how many there are.
        per_second: the pace; 0 is as fast as the socket takes them.
        first_ms: the silence from the request to the first one.
        is_held: whether the stream stays open and silent after the last token.
        key: identifies this stream in the records of the upstream; empty if it needs none.
    """

    tokens: int
    per_second: int = 0
    first_ms: int = 0
    is_held: bool = False
    key: int | None = None

    @override
    def __str__(self) -> str:
        held = "-h" if self.is_held else ""
        key = "" if self.key is None else f"-k{self.key}"
        return f"t{self.tokens}-p{self.per_second}-f{self.first_ms}{held}{key}"

    @classmethod
    def find(cls, text: str) -> Self | None:
        """Return the first plan in *text*, if there is one."""
        if (match := _PLAN.search(text)) is None:
            return None
        tokens, per_second, first_ms, held, key = match.groups()
        return cls(
            tokens=int(tokens),
            per_second=int(per_second),
            first_ms=int(first_ms),
            is_held=held is not None,
            key=None if key is None else int(key),
        )
