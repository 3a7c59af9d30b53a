"""The values that the fake provider makes from JSON Schemas, judged by the `jsonschema` library."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from streamsvc.providers.fake.patterns import MAX_CHARS, text_for
from streamsvc.providers.fake.schemas import MAX_WORK, NoValue, Work
from streamsvc.providers.fake.values import value_for
from support.schemas import PATTERNS, Schema, schemas

deterministic = settings(max_examples=300, deadline=None, derandomize=True, database=None)


def check(schema: Any, value: Any) -> None:
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


@pytest.mark.long
@given(schemas, st.integers(0, 2))
@deterministic
def test_value_fits_its_schema(schema: Schema, variant: int) -> None:
    Draft202012Validator.check_schema(schema)
    value = value_for(schema, words=["Paris"], variant=variant)
    check(schema, value)
    assert value_for(schema, words=["Paris"], variant=variant) == value


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 3}, 3),
        ({"enum": ["c", "f"]}, "c"),
        ({"enum": ["c", "f"], "default": "f"}, "f"),
        ({"type": "string", "enum": [None, "f"]}, "f"),
        ({"type": "integer", "default": 7}, 7),
        ({"type": "integer", "default": "seven", "examples": [8]}, 8),
        ({"type": "integer", "default": True}, 1),
        ({"type": "number", "default": 7.0}, 7.0),
        ({"type": ["null", "string"]}, "value"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMaximum": -5}, -6),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "minimum": 0.5, "maximum": 0.5}, 0.5),
        ({"multipleOf": 0.1}, 0.1),
        ({"type": "integer", "multipleOf": 2.5}, 5),
        ({"minLength": 7}, "value.."),
        ({"type": "string", "maxLength": 2}, "va"),
        ({"format": "date"}, "2026-01-01"),
        ({"type": "string", "format": "unheard-of"}, "value"),
        ({"items": {"type": "integer"}}, [1]),
        ({"type": "array", "maxItems": 0}, []),
        ({"type": "array", "items": False}, []),
        ({"type": "array", "items": {"type": "integer", "minimum": 2, "maximum": 1}}, []),
        ({"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"a": None}),
        ({"properties": {"a": {"type": "null"}}}, {}),
        ({"required": ["b"]}, {"b": "b"}),
        ({"type": "object", "required": ["b"]}, {"b": "b"}),
        ({"type": "object", "minProperties": 1}, {"property_1": "property_1"}),
        (True, "value"),
        ({"allOf": [{"type": "number"}, {"type": "integer", "minimum": 3}]}, 3),
        ({"minimum": 2, "allOf": [{"$ref": "#/$defs/n"}], "$defs": {"n": {"maximum": 9}}}, 2),
        ({"anyOf": [False, {"type": "integer"}]}, 1),
        ({"allOf": [{"enum": [1, 2]}, {"enum": [3, 2]}]}, 2),
        ({"allOf": [{"type": ["string", "integer"]}, {"type": ["integer", "null"]}]}, 1),
        (
            {
                "type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}},
                "allOf": [{"required": ["b"], "properties": {"a": {"minimum": 5}, "b": {"const": 0}}}],
            },
            {"a": 5, "b": 0},
        ),
        ({"type": "integer", "default": 7.5}, 1),
        ({"type": "integer", "enum": [7.5, 8.0]}, 8.0),
        ({"$ref": "#/$defs/a%20b~1c/anyOf/1", "$defs": {"a b/c": {"anyOf": [{}, {"const": 9}]}}}, 9),
    ],
)  # fmt: skip
def test_value_is_the_simplest_one(schema: Schema, value: object) -> None:
    made = value_for(schema)
    assert made == value
    assert type(made) is type(value)
    check(schema, made)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "nonsense"},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "number", "multipleOf": 2, "minimum": 3, "maximum": 3},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 0},
        {"type": "string", "minLength": 5, "maxLength": 4},
        {"type": "string", "minLength": 10**12},
        {"type": "array", "minItems": 10**9},
        {"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True},
        {"type": "object", "minProperties": 1, "additionalProperties": False},
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"const": "a", "type": "integer"},
        {"enum": ["a", None], "type": "integer"},
        {"const": 1, "enum": [2, True]},
        {"allOf": [{"const": 1}, {"const": 2}]},
        {"anyOf": [False, {"type": "string", "minLength": 2, "maxLength": 1}]},
        {"allOf": [True, False]},
        {"$ref": "#"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": 3},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "required": ["b"],
            "properties": {"b": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}}}},
        {"type": "integer", "minimum": "five"},
        {"type": "object", "required": 3},
        {"type": "object", "properties": [], "required": ["a"]},
    ],
)  # fmt: skip
def test_schema_without_a_value_is_refused_soon(schema: object) -> None:
    with pytest.raises(NoValue):
        value_for(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "array", "minItems": 1000}, "minItems": 1000},
        {"type": "array", "items": {"type": "string", "minLength": 10**5}, "minItems": 1000},
        {"type": "array", "items": {"const": "x" * 10**5}, "minItems": 1000},
        {"type": "array", "items": {"enum": [*range(10**4)]}, "minItems": 1000},
        {"type": "array", "items": {"type": "string", "pattern": "a{9999}"}, "minItems": 1000},
        {"type": "array", "items": {"type": "string", "pattern": "a?" * 10**4}, "minItems": 1000},
        {"type": "array", "items": {"required": ["x" * 10**5]}, "minItems": 1000},
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 10**4},
        {"type": "object", "minProperties": 10**9},
        {"type": "array", "contains": {"type": "integer"}, "minContains": 10**9},
        {"anyOf": [{"type": "none"}] * 10**5},
        {"allOf": [{"enum": [*range(10**5)]}, {"enum": [*range(10**5, 2 * 10**5)]}]},
        {"allOf": [{"required": [f"{it}{n}" for n in range(10**5)]} for it in "ab"]},
        {"required": ["a"], "dependentRequired": {"a": [str(n) for n in range(10**5)]}},
        {
            "allOf": [{"$ref": "#/$defs/a"}] * 4000,
            "$defs": {"a": {"properties": {str(n): {} for n in range(1000)}}},
        },
        {"type": "array", "items": {"type": "string", "pattern": "[a-z]" * 200}, "minItems": 9},
    ],
)
def test_value_that_would_be_huge_is_refused(schema: Schema) -> None:
    with pytest.raises(NoValue):
        value_for(schema)


def test_work_on_all_calls_of_an_answer_is_bounded() -> None:
    work = Work()
    schema = {"type": "array", "minItems": MAX_WORK // 3, "items": {"type": "integer"}}
    value_for(schema, work=work)
    value_for(schema, work=work)
    with pytest.raises(NoValue):
        value_for(schema, work=work)


def test_unique_items_are_compared_as_json() -> None:
    items = {"enum": [1, 1.0, True, "1", [1], [True], {"a": 1, "b": 2}, {"b": 2, "a": 1}]}
    made = value_for({"type": "array", "items": items, "minItems": 6, "uniqueItems": True})
    assert msgspec.json.encode(made) == b'[1,true,"1",[1],[true],{"a":1,"b":2}]'
    assert value_for({"allOf": [{"enum": [True, 1]}, {"enum": [1.0]}]}) == 1


def test_strings_take_words_in_order_and_then_the_property_name() -> None:
    names = ["from", "to", "class"]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
    }
    words = iter(["Paris", "London"])
    assert value_for(schema, words=words) == {"from": "Paris", "to": "London", "class": "class"}


def test_variant_is_another_value() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "boolean"}, "c": {"type": "integer"}},
        "required": ["a", "b", "c"],
    }
    first, second = (value_for(schema, variant=number) for number in (0, 1))
    assert first == {"a": "a", "b": True, "c": 1}
    assert second == {"a": "2 a", "b": False, "c": 2}


@pytest.mark.parametrize("pattern", [*PATTERNS, "^(?:a|b){2,4}c??$", "[[a]", "\\[\\]", "(?<y>z)", "^.$", "[]a]", "a|", ""])  # fmt: skip
@pytest.mark.parametrize("least", [0, 7])
def test_text_matches_its_pattern(pattern: str, least: int) -> None:
    text = text_for(pattern, least)
    assert text is not None
    python = pattern.replace("(?<y>", "(?P<y>").replace("[[", "[\\[")
    assert re.search(python, text)


def test_text_is_as_long_as_its_pattern_allows() -> None:
    assert text_for("^a+$", 5) == "aaaaa"
    assert text_for("^a{2,3}b*$", 5) == "aaabb"
    assert text_for("^a{2}$", 5) == "aa"
    assert text_for("[ab]", variant=1) == "b"


@pytest.mark.parametrize(
    "pattern", ["(?=a)b", "(?i)a", "\\1", "\\p{L}", "a**", "(a", "a)", "[", "(", "{2}", "(((a{99}){99}){99}){99}", "a" * 10_001, "[^\\s\\S]", "(" * 900, "(" * 5000, "[" * 10**6, "[a-z]" * 201]
)  # fmt: skip
def test_pattern_that_is_not_understood_has_no_text(pattern: str) -> None:
    assert text_for(pattern) is None
    assert value_for({"type": "string", "pattern": pattern}) == "value"


def test_open_repetition_is_bounded() -> None:
    assert text_for("^a*$", MAX_CHARS) == "a" * MAX_CHARS
    assert text_for("^(ab)*$", 10 * MAX_CHARS) is None
