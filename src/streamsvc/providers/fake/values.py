"""Values that fit a JSON Schema: the same schema always gives the same value.

The fake provider makes the arguments of tool calls from them, and answers to a `response_format`. `const`, `enum`,
`default` and `examples` come first; otherwise a value is the simplest one within the bounds. Objects have the
required properties only. `not`, `patternProperties`, `propertyNames` and the `unevaluated…` keywords are ignored.
Keywords: JSON Schema 2020-12, validation vocabulary; `$ref` may lead to any place in the same document.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count, islice
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from streamsvc.providers.fake.numbers import number_for
from streamsvc.providers.fake.patterns import MAX_PATTERN_CHARS, text_for
from streamsvc.providers.fake.schemas import NoValue, Work, key_of, merged

MAX_DEPTH: Final = 32
"""How deep a value may be nested. A schema whose every value is deeper has none."""

_CHARS_PER_STEP: Final = 100
_STEPS_PER_CHAR_OF_A_PATTERN: Final = 10

_FORMATS: Mapping[str, str] = {
    "date-time": "2026-01-{day:02}T12:00:00Z",
    "date": "2026-01-{day:02}",
    "time": "12:00:{variant:02}Z",
    "duration": "P{number}D",
    "email": "user{number}@example.com",
    "idn-email": "user{number}@example.com",
    "hostname": "host{number}.example.com",
    "idn-hostname": "host{number}.example.com",
    "ipv4": "192.0.2.{number}",
    "ipv6": "2001:db8::{number}",
    "uri": "https://example.com/{number}",
    "uri-reference": "/{number}",
    "iri": "https://example.com/{number}",
    "iri-reference": "/{number}",
    "uri-template": "/{{id}}/{number}",
    "uuid": "00000000-0000-4000-8000-{number:012}",
    "json-pointer": "/{number}",
    "relative-json-pointer": "{number}",
    "regex": "a{number}",
}

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": (int, float),
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}

_HINTS: Mapping[str, tuple[str, ...]] = {
    "object": ("properties", "required", "minProperties", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""The keywords that show the type of a schema that does not name it."""


def value_for(
    schema: object, *, words: Iterable[str] = (), variant: int = 0, work: Work | None = None
) -> Any:
    """Return a value that fits a schema.

    Args:
        schema: the whole document: an object, or `true`.
        words: used for strings that may have any content, one after another; then the property's name is used.
        variant: another value for each number, as far as the schema allows.
        work: counts the work on several values; without it, that on this one.

    Raises:
        NoValue: none was found: the schema is not one, contradicts itself, or every value is too large.
    """
    try:
        return _Maker(schema, iter(words), work or Work()).make(schema, "value", variant)
    except (
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
    ) as exc:  # keywords of a wrong type
        raise NoValue from exc


class _Maker:
    """Makes the values of one document."""

    def __init__(self, document: object, words: Iterator[str], work: Work) -> None:
        self._document = document
        self._words = words
        self._depth = 0
        self._work = work
        self._open: list[str] = []  # the references that are being followed

    def make(self, schema: object, name: str, variant: int = 0) -> Any:
        """Return a value; *name* is the property's, for strings with nothing better."""
        if schema is False or self._depth == MAX_DEPTH:
            raise NoValue
        self._work.spend(1)
        if not isinstance(schema, Mapping):
            return name
        lists = (value for value in schema.values() if isinstance(value, list | Mapping))
        read = min(len(schema.get("pattern", "")), MAX_PATTERN_CHARS)
        self._work.spend(sum(map(len, lists)) + _STEPS_PER_CHAR_OF_A_PATTERN * read)
        self._depth += 1
        try:
            return self._make(schema, name, variant)
        finally:
            self._depth -= 1

    def _spend_on_text(self, chars: int) -> None:
        self._work.spend(chars // _CHARS_PER_STEP)

    def _make(self, schema: Mapping[str, Any], name: str, variant: int) -> Any:
        if reference := schema.get("$ref"):
            return self._follow(reference, schema, name, variant)
        if parts := schema.get("allOf"):
            whole = _without(schema, "allOf")
            for part in parts:
                whole = merged(whole, self._resolved(part), self._work)
            return self.make(whole, name, variant)
        if given := _given(schema):
            value = given[variant % len(given)]
            self._spend_on_text(len(msgspec.json.encode(value)))
            return value
        for keyword in ("anyOf", "oneOf"):
            if branches := schema.get(keyword):
                return self._first_of(_without(schema, keyword), branches, name, variant)
        if "if" in schema:
            met = merged(schema["if"], schema.get("then", True), self._work)
            base = _without(schema, "if", "then", "else")
            return self._first_of(base, [met, schema.get("else", True)], name, variant)
        return self._of_type(schema, name, variant)

    def _follow(self, reference: str, schema: Mapping[str, Any], name: str, variant: int) -> Any:
        """Return a value of the schema that a reference leads to, together with what stands beside it."""
        self._open.append(reference)
        try:
            whole = merged(self._find(reference), _without(schema, "$ref"), self._work)
            return self.make(whole, name, variant)
        finally:
            self._open.pop()

    def _leads_back(self, schema: object) -> bool:
        """Return whether a schema refers to one that is being followed, so that the value would grow."""
        return isinstance(schema, Mapping) and schema.get("$ref") in self._open

    def _first_of(
        self, base: Mapping[str, Any], branches: Sequence[Any], name: str, variant: int
    ) -> Any:
        """Return a value of the first branch that has one; branches that lead back come last."""
        for branch in sorted(branches, key=self._leads_back):
            with suppress(NoValue):
                return self.make(merged(base, branch, self._work), name, variant)
        raise NoValue

    def _of_type(self, schema: Mapping[str, Any], name: str, variant: int) -> Any:
        match _type_of(schema):
            case "object":
                return self._object(schema, variant)
            case "array":
                return self._array(schema, name, variant)
            case "string":
                return self._string(schema, name, variant)
            case "integer" | "number" as kind:
                return number_for(schema, variant, is_whole=kind == "integer")
            case "boolean":
                return variant % 2 == 0
            case "null":
                return None
            case _:
                raise NoValue

    def _object(self, schema: Mapping[str, Any], variant: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        names = self._names(schema)
        least = schema.get("minProperties", 0)
        self._work.spend(least)
        extra = schema.get("additionalProperties", True)
        made = (f"property_{number}" for number in count(1)) if extra is not False else ()
        for source in (properties, (name for name in made if name not in properties)):
            others = (name for name in source if name not in names)
            names.update(dict.fromkeys([*islice(others, max(0, least - len(names)))]))
        if len(names) < least:
            raise NoValue
        self._spend_on_text(sum(map(len, names)))
        return {name: self.make(properties.get(name, extra), name, variant) for name in names}

    def _names(self, schema: Mapping[str, Any]) -> dict[str, None]:
        """Return the names of the properties that an object has to have, in their order."""
        names = dict.fromkeys(schema.get("required", ()))
        needs = schema.get("dependentRequired", {})
        new = [name for name in names if name in needs]
        for name in new:  # which grows
            self._work.spend(len(needs[name]))
            added = dict.fromkeys(it for it in needs[name] if it not in names)
            names.update(added)
            new += [it for it in added if it in needs]
        return names

    def _array(self, schema: Mapping[str, Any], name: str, variant: int) -> list[Any]:
        """Return as many items as there have to be; one if there may be one, so that its shape is seen."""
        others = schema.get("items", True)
        first = [*schema.get("prefixItems", ())]
        if "contains" in schema:
            wanted = schema.get("minContains", 1)
            self._work.spend(wanted)
            first += [merged(others, schema["contains"], self._work)] * wanted
        least = schema.get("minItems", 0)
        wished = max(least, len(first), 1 if others and not self._leads_back(others) else 0)
        wished = min(wished, schema.get("maxItems", wished))
        items: list[Any] = []
        taken: set[bytes] | None = set() if schema.get("uniqueItems") else None
        try:
            for at in range(wished):
                kind = first[at] if at < len(first) else others
                items.append(self._item(kind, name, variant, taken))
        except NoValue:
            if len(items) < least:
                raise
        return items

    def _item(self, kind: object, name: str, variant: int, taken: set[bytes] | None) -> Any:
        """Return an item that is not among those *taken*, and take it; None: any item will do."""
        if taken is None:
            return self.make(kind, name, variant)
        for other in range(len(taken) + 2):
            item = self.make(kind, name, variant + other)
            if (key := key_of(item)) not in taken:
                taken.add(key)
                return item
        raise NoValue

    def _string(self, schema: Mapping[str, Any], name: str, variant: int) -> str:
        least = schema.get("minLength", 0)
        most = schema.get("maxLength", math.inf)
        if least > most:
            raise NoValue
        self._spend_on_text(least)
        text = self._text(schema, name, variant)
        self._spend_on_text(len(text))
        return text

    def _text(self, schema: Mapping[str, Any], name: str, variant: int) -> str:
        least = schema.get("minLength", 0)
        pattern, form = schema.get("pattern"), schema.get("format", "")
        if pattern and (text := text_for(pattern, least, variant)) is not None:
            return text
        if form in _FORMATS:
            low = variant % 28  # as many days as every month has
            return _FORMATS[form].format(variant=low, day=low + 1, number=variant + 1)
        most = schema.get("maxLength")
        if variant:
            is_long = most is None or most > len(str(variant))
            text = f"{variant + 1} {name}" if is_long else str(variant)
        else:
            text = next(self._words, name)
        return text.ljust(least, ".")[:most]

    def _resolved(self, schema: object) -> object:
        """Return a schema without a reference at its top, as far as that ends."""
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, Mapping) or "$ref" not in schema:
                return schema
            schema = merged(self._find(schema["$ref"]), _without(schema, "$ref"), self._work)
        raise NoValue

    def _find(self, reference: object) -> Any:
        """Return the schema at a JSON pointer (RFC 6901) in a fragment."""
        place: Any = self._document
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise NoValue
        for step in unquote(reference[1:]).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(place, list) and key.isdecimal() and int(key) < len(place):
                place = place[int(key)]
            elif isinstance(place, Mapping) and key in place:
                place = place[key]
            else:
                raise NoValue
        return place


def _without(schema: Mapping[str, Any], *keywords: str) -> Mapping[str, Any]:
    return {keyword: value for keyword, value in schema.items() if keyword not in keywords}


def _given(schema: Mapping[str, Any]) -> list[Any]:
    """Return the values that a schema states, best first; empty if it states none.

    Raises:
        NoValue: none that it allows has its type, or its `const` is not in its `enum`.
    """
    if "const" in schema or "enum" in schema:
        stated = _allowed(schema)
        fitting = [value for value in stated if _has_type(value, schema)]
        if not fitting:
            raise NoValue
        default = [value for value in fitting if "default" in schema and value == schema["default"]]
        return default + [value for value in fitting if value not in default]
    stated = [schema["default"]] if "default" in schema else []
    stated += schema.get("examples", ())
    return [value for value in stated if _has_type(value, schema)]


def _allowed(schema: Mapping[str, Any]) -> list[Any]:
    """Return the values that `const` and `enum` allow."""
    if "const" not in schema:
        return [*schema["enum"]]
    const = schema["const"]
    is_allowed = "enum" not in schema or key_of(const) in map(key_of, schema["enum"])
    return [const] if is_allowed else []


def _type_of(schema: Mapping[str, Any]) -> str:
    """Return the type of the simplest value; of several, the first that is not null."""
    named = schema.get("type")
    if isinstance(named, str):
        return named
    if named:
        return next((name for name in named if name != "null"), "null")
    return next((name for name, hints in _HINTS.items() if schema.keys() & {*hints}), "string")


def _has_type(value: object, schema: Mapping[str, Any]) -> bool:
    """Return whether a stated value has the schema's type; authors of schemas make mistakes in defaults."""
    named = schema.get("type")
    if named is None:
        return True
    names = (named,) if isinstance(named, str) else named
    return any(_is_a(value, name) for name in names)


def _is_a(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, ()))
