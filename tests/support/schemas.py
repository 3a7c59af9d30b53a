"""JSON Schemas of any shape that has a value."""

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]

PATTERNS = (
    "^[A-Z]{2}-\\d{3}$", "^(foo|bar)+$", "^\\w+@\\w+\\.[a-z]{2,3}$", "^#[0-9a-fA-F]{6}$", "x", "^[^a-z]*$", "a?b*c+",
)  # fmt: skip
FORMATS = (
    "date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid", "regex",
)  # fmt: skip
NAMES = ("city", "unit", "days", "é", "a b")

_json = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3)


@st.composite
def _numbers(draw: st.DrawFn) -> Schema:
    schema: Schema = {"type": draw(st.sampled_from(("integer", "number")))}
    bounds = st.integers(-20, 20)
    if draw(st.booleans()):
        schema[draw(st.sampled_from(("minimum", "exclusiveMinimum")))] = low = draw(bounds)
    else:
        low = -20
    if draw(st.booleans()):
        width = draw(st.integers(8, 20))
        schema[draw(st.sampled_from(("maximum", "exclusiveMaximum")))] = low + width
    if draw(st.booleans()):
        schema["multipleOf"] = draw(st.sampled_from((1, 2, 3, 0.5, 0.25)))
    return schema


@st.composite
def _fractions(draw: st.DrawFn) -> Schema:
    """A number between two bounds that have no whole one between them."""
    low = draw(st.integers(-3, 3))
    return {"type": "number", "exclusiveMinimum": low, "maximum": low + 0.5}


@st.composite
def _strings(draw: st.DrawFn) -> Schema:
    schema: Schema = {"type": "string"}
    match draw(st.integers(0, 3)):
        case 0:
            schema["pattern"] = draw(st.sampled_from(PATTERNS))
        case 1:
            schema["format"] = draw(st.sampled_from(FORMATS))
        case 2:
            schema["minLength"] = least = draw(st.integers(0, 20))
            schema["maxLength"] = least + draw(st.integers(0, 5))
        case _:
            pass
    return schema


def _arrays(items: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.builds(
        lambda items, least, more: {
            "type": "array", "items": items, "minItems": least, "maxItems": least + more
        },
        items, st.integers(0, 3), st.integers(0, 2),
    )  # fmt: skip


def _tuples(items: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.builds(
        lambda first: {"type": "array", "prefixItems": first, "minItems": len(first)},
        st.lists(items, min_size=1, max_size=3),
    )


@st.composite
def _objects(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(st.sampled_from(NAMES), inner, max_size=4))
    required = draw(st.lists(st.sampled_from([*properties]), unique=True)) if properties else []
    schema: Schema = {"type": "object", "properties": properties, "required": required}
    if draw(st.booleans()):
        schema["additionalProperties"] = draw(st.booleans())
        least = len(properties) if schema["additionalProperties"] is False else 5
        schema["minProperties"] = draw(st.integers(0, least))
    return schema


def _compounds(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return (
        _arrays(inner)
        | _tuples(inner)
        | _objects(inner)
        | st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3))
        | st.builds(lambda part: {"oneOf": [part]}, inner)
        | st.builds(lambda part: {"allOf": [{"description": "d"}, part]}, inner)
    )


_PLAIN: tuple[Schema, ...] = (
    {"type": "boolean"}, {"type": "null"}, {}, {"type": ["string", "null"]},
    {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"format": "email"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"format": "date"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 5}, "minContains": 2},
    {
        "type": "object", "properties": {"a": {"const": 1}, "b": {"type": "integer"}},
        "required": ["a"], "dependentRequired": {"a": ["b"], "b": ["c"]},
    },
    {
        "type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
        "if": {"properties": {"a": {"const": "x"}}}, "then": {"required": ["b"]},
        "else": {"required": ["c"]},
    },
    {
        "type": "object", "properties": {"a": {"const": "y"}}, "required": ["a"],
        "if": {"properties": {"a": {"type": "integer"}}}, "else": {"required": ["c"]},
    },
    {
        "type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
        "if": {"properties": {"a": {"type": "integer"}}}, "else": {"required": ["c"]},
    },
    {
        "type": "object", "properties": {"a": {"const": "y"}}, "required": ["a"],
        "if": {"properties": {"a": {"const": "x"}}}, "else": {"required": ["c"]},
    },
    {
        "type": "object", "properties": {"a": {"const": "y"}}, "required": ["a"],
        "if": {"properties": {"a": {"enum": ["x"]}}}, "else": {"required": ["c"]},
    },
)  # fmt: skip
_REFERENCES: tuple[Schema, ...] = {"$ref": "#/$defs/leaf"}, {"$ref": "#/$defs/node"}

leaves: st.SearchStrategy[Schema] = (
    _numbers()
    | _fractions()
    | _strings()
    | st.sampled_from(_PLAIN)
    | st.builds(lambda value: {"const": value}, _json)
    | st.builds(lambda values: {"enum": values}, st.lists(_json, min_size=1, max_size=4))
    | st.sampled_from(_REFERENCES)
)

DEFINITIONS: Schema = {
    "leaf": {"type": "string", "enum": ["c", "f"]},
    "node": {
        "type": "object",
        "required": ["value", "next", "children"],
        "properties": {
            "value": {"type": "integer"},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
        },
    },
}


def _with_definitions(schema: Schema) -> Schema:
    return {**schema, "$defs": DEFINITIONS}


schemas: st.SearchStrategy[Schema] = st.builds(
    _with_definitions, st.recursive(leaves, _compounds, max_leaves=8)
)
"""A document; its definitions are one plain schema and one that contains itself."""
