"""Checks JSON Schemas for mistakes that providers refuse, each with a message of its own.

Known keywords must have values of their type (JSON Schema 2020-12, Validation), references must stay in the schema,
and a schema must not refer to itself: Gemini does not take recursive schemas, and OpenAI not in every place.
What a provider supports beyond that differs, so unknown keywords are not checked.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import unquote

from streamsvc.dialects.invalid import quoted, refused

MAX_DEPTH = 64
MAX_SUBSCHEMAS = 5000

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_POINTER = re.compile(r"#(?:/.*)?", re.DOTALL)

_SCHEMA = frozenset((
    *("additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"),
    *("unevaluatedItems", "unevaluatedProperties"),
))  # fmt: skip
_SCHEMAS = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_DEFINITIONS = frozenset(("$defs", "definitions"))
_NAMED_SCHEMAS = _DEFINITIONS | {"dependentSchemas", "patternProperties", "properties"}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_type(value: object) -> bool:
    names = value if isinstance(value, list) and value else [value]
    return len(names) <= len(_TYPES) and all(
        isinstance(name, str) and name in _TYPES for name in names
    )


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_Check = tuple[Callable[[object], bool], str]
_NUMBER: _Check = (_is_number, "a number")
_POSITIVE: _Check = (_is_positive, "a number above 0")
_COUNT: _Check = (_is_count, "a whole number of at least 0")
_STRING: _Check = (_is_string, "a string")

_KEYWORDS: Mapping[str, _Check] = {
    "type": (_is_type, f"one or several of {', '.join(_TYPES)}"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list with at least one value"),
    "required": (_are_names, "a list of names"),
    "multipleOf": _POSITIVE,
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    **dict.fromkeys(("$ref", "description", "format", "pattern", "title"), _STRING),
    **dict.fromkeys(("maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"), _NUMBER),
    **dict.fromkeys(
        ("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"), _COUNT
    ),
}  # fmt: skip


def check_schema(schema: Mapping[str, Any], field: str) -> None:
    """Check a JSON Schema.

    Args:
        schema: the schema, as decoded JSON.
        field: its place in the body.

    Raises:
        InvalidField: it has a mistake; the message has its place in the schema (RFC 6901).
    """
    schemas = _Schemas(field)
    schemas.add(schema)
    schemas.check_references()


class _Schemas:
    """The subschemas of a schema, each with a number in the order in which they are read.

    JSON pointers are made for errors only: each contains all names above it, and a name may be long.
    """

    def __init__(self, field: str) -> None:
        self._field = field
        self._places: list[
            tuple[int, str]
        ] = []  # the subschema around each, and the step from there
        self._numbers: dict[tuple[int, str], int] = {}  # the reverse
        self._inner: list[list[int]] = []  # what applies to a value together with a subschema
        self._references: dict[int, str] = {}

    def add(self, schema: object, place: tuple[int, str] = (-1, "#"), *, depth: int = 0) -> int:
        """Check a subschema and everything in it, and return its number."""
        number = len(self._places)
        self._places.append(place)
        self._numbers[place] = number
        inner: list[int] = []
        self._inner.append(inner)
        if isinstance(schema, bool):
            return number
        if not isinstance(schema, dict):
            raise self._mistake(number, "", "a schema must be an object, true or false")
        if depth > MAX_DEPTH or len(self._places) > MAX_SUBSCHEMAS:
            limits = f"{MAX_DEPTH} levels or {MAX_SUBSCHEMAS} subschemas"
            raise refused(self._field, f"the schema has more than {limits}")
        self._check_keywords(schema, number)
        for keyword, step, value in self._children(schema, number):
            child = self.add(value, (number, step), depth=depth + 1)
            if keyword not in _DEFINITIONS:
                inner.append(child)
        return number

    def check_references(self) -> None:
        """Refuse references to missing places, and a schema that refers to itself."""
        if not self._references:
            return
        for number, reference in self._references.items():
            target = self._find(unquote(reference))
            if target is None:
                raise self._mistake(
                    number, "$ref", f"there is no {quoted(reference)} in the schema"
                )
            self._inner[number].append(target)
        try:
            TopologicalSorter(dict(enumerate(self._inner))).prepare()
        except CycleError as exc:
            around: list[int] = exc.args[1]
            at = next(it for it in around if it in self._references)
            raise self._mistake(
                at, "$ref", "the schema refers to itself; it must not be recursive"
            ) from exc

    def _find(self, pointer: str) -> int | None:
        """Return the number of the subschema at a JSON pointer."""
        number = 0
        steps = iter(pointer.split("/")[1:])
        for step in steps:
            found = self._numbers.get((number, step))
            if found is None:  # a keyword that contains several: the next step says which
                found = self._numbers.get((number, f"{step}/{next(steps, '')}"))
            if found is None:
                return None
            number = found
        return number

    def _check_keywords(self, schema: Mapping[str, Any], number: int) -> None:
        for keyword, (is_valid, rule) in _KEYWORDS.items():
            if keyword in schema and not is_valid(schema[keyword]):
                raise self._mistake(number, keyword, f"it must be {rule}")
        if "$dynamicRef" in schema or "$recursiveRef" in schema:
            raise self._mistake(number, "", "of the references, only '$ref' is supported")
        if (reference := schema.get("$ref")) is not None:
            if not _POINTER.fullmatch(reference):
                why = "it must refer to a place in the schema, such as '#/$defs/name'"
                raise self._mistake(number, "$ref", why)
            self._references[number] = reference

    def _children(
        self, schema: Mapping[str, Any], number: int
    ) -> Iterator[tuple[str, str, object]]:
        """Yield each subschema with the keyword that it belongs to, and the step to it."""
        for keyword, value in schema.items():
            if keyword in _NAMED_SCHEMAS:
                for name, inner in self._named(value, number, keyword):
                    yield keyword, f"{keyword}/{_escaped(name)}", inner
            elif keyword in _SCHEMAS or (keyword == "items" and isinstance(value, list)):
                for at, inner in self._listed(value, number, keyword):
                    yield keyword, f"{keyword}/{at}", inner
            elif keyword in _SCHEMA:
                yield keyword, keyword, value

    def _named(self, value: object, number: int, keyword: str) -> Iterable[tuple[str, object]]:
        if not isinstance(value, dict):
            raise self._mistake(number, keyword, "it must be an object with schemas")
        return value.items()

    def _listed(self, value: object, number: int, keyword: str) -> Iterable[tuple[int, object]]:
        if not isinstance(value, list) or not value:
            raise self._mistake(number, keyword, "it must be a list with at least one schema")
        return enumerate(value)

    def _mistake(self, number: int, keyword: str, why: str) -> Exception:
        """Return the error for a subschema, or for one of its keywords."""
        steps = [keyword] if keyword else []
        while number >= 0:
            number, step = self._places[number]
            steps.append(step)
        return refused(self._field, f"{why}, at {quoted('/'.join(reversed(steps)))}")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
