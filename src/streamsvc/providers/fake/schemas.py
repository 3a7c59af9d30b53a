"""Two JSON Schemas become one: what `allOf` says, and what a branch of `anyOf` adds to its surroundings."""

from collections.abc import Callable, Mapping
from typing import Any


class NoValue(ValueError):
    """No value that fits the schema was found."""


def merged(one: object, other: object) -> Any:
    """Return the schema of what fits both, as far as keywords can be joined; else the second one's counts."""
    if one is False or other is False:
        return False
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one if isinstance(one, Mapping) else other
    whole = {**one, **other}
    for keyword in one.keys() & other.keys():
        if join := _JOINED.get(keyword):
            whole[keyword] = join(one[keyword], other[keyword])
    return whole


def _properties(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {name: merged(one[name], other[name]) for name in one if name in other}
    return {**one, **other, **both}


def _required(one: list[str], other: list[str]) -> list[str]:
    return [*one, *(name for name in other if name not in one)]


def _enum(one: list[Any], other: list[Any]) -> list[Any]:
    return [value for value in one if value in other]


def _types(one: str | list[str], other: str | list[str]) -> list[str]:
    """Return the types that both name; an integer is a number. No type fits none."""
    first, second = ([it] if isinstance(it, str) else it for it in (one, other))
    named = {*first, *second}
    both = [name for name in first if name in second]
    return both or (["integer"] if {"integer", "number"} <= named else ["none"])


_JOINED: Mapping[str, Callable[[Any, Any], Any]] = {
    "properties": _properties,
    "required": _required,
    "enum": _enum,
    "type": _types,
    "items": merged,
    "additionalProperties": merged,
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}
"""How the values of a keyword that both have are joined."""
