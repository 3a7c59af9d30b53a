"""Two JSON Schemas become one: what `allOf` says, and what a branch of `anyOf` adds to its surroundings."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

MAX_WORK: Final = 20_000
"""How much work the values of one answer may be, in steps of a few microseconds: keywords and members that are read,
and each hundred characters that are written. A few keywords may ask for a value as large as a disk, branches that
lead back multiply, and other streams wait while a value is made."""


class NoValue(ValueError):
    """No value that fits the schema was found."""


class Work:
    """Counts the work on the values of one answer."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def spend(self, steps: int) -> None:
        """Count steps before they are done.

        Raises:
            NoValue: they are too many.
        """
        self._left -= steps
        if self._left < 0:
            raise NoValue


def merged(one: object, other: object, work: Work) -> Any:
    """Return the schema of what fits both, as far as keywords can be joined; else the second one's counts.

    Raises:
        NoValue: it is too much work.
    """
    if one is False or other is False:
        return False
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one if isinstance(one, Mapping) else other
    work.spend(len(one) + len(other))
    if "const" in one and "const" in other and key_of(one["const"]) != key_of(other["const"]):
        return False
    whole = {**one, **other}
    for keyword in one.keys() & other.keys():
        if join := _JOINED.get(keyword):
            whole[keyword] = join(one[keyword], other[keyword], work)
    return whole


def key_of(value: object) -> bytes:
    """Return the same bytes for equal values of JSON, where a boolean is not a number, but 1.0 by itself is 1."""
    is_whole = isinstance(value, float) and value.is_integer()
    return msgspec.json.encode(int(value) if is_whole else value, order="deterministic")  # type: ignore[call-overload]


def _properties(one: Mapping[str, Any], other: Mapping[str, Any], work: Work) -> dict[str, Any]:
    work.spend(len(one) + len(other))
    both = {name: merged(one[name], other[name], work) for name in one if name in other}
    return {**one, **other, **both}


def _required(one: list[str], other: list[str], work: Work) -> list[str]:
    work.spend(len(one) + len(other))
    return list(dict.fromkeys((*one, *other)))


def _enum(one: list[Any], other: list[Any], work: Work) -> list[Any]:
    work.spend(len(one) + len(other))
    keys = {key_of(value) for value in other}
    return [value for value in one if key_of(value) in keys]


def _types(one: str | list[str], other: str | list[str], _work: Work) -> list[str]:
    """Return the types that both name; an integer is a number. No type fits none."""
    first, second = ([it] if isinstance(it, str) else it for it in (one, other))
    named = {*first, *second}
    both = [name for name in first if name in second]
    return both or (["integer"] if {"integer", "number"} <= named else ["none"])


def _greater(one: Any, other: Any, _work: Work) -> Any:
    return max(one, other)


def _less(one: Any, other: Any, _work: Work) -> Any:
    return min(one, other)


_JOINED: Mapping[str, Callable[[Any, Any, Work], Any]] = {
    "properties": _properties,
    "required": _required,
    "enum": _enum,
    "type": _types,
    "items": merged,
    "additionalProperties": merged,
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), _greater),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), _less),
}  # fmt: skip
"""How the values of a keyword that both have are joined."""
