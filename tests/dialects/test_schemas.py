"""The check of JSON Schemas: what no provider takes is refused, and says where it is."""

import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from streamsvc.dialects.schema import MAX_DEPTH, MAX_SUBSCHEMAS, check_schema
from streamsvc.errors import InvalidField

FIELD = "tools[0].function.parameters"


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


class Address(BaseModel):
    street: str
    zip: str | None = None


class Person(BaseModel):
    name: str
    home: Address
    work: Address | None
    scores: list[tuple[int, float]] = []


ACCEPTED: list[dict[str, Any]] = [
    {},
    {"type": "object", "properties": {"a": True, "b": False, "c": {}}, "required": ["a"]},
    {"type": ["string", "null"], "enum": ["a", None], "description": "", "x-own": {"type": 7}},
    {"type": "array", "items": [{"type": "string"}], "additionalItems": False},
    {"anyOf": [{"const": 1}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"minimum": 0.5}}},
    {"$defs": {"a": {}, "b": {"$ref": "#/$defs/a"}}, "allOf": [{"$ref": "#/$defs/b"}] * 2},
    {"definitions": {"~/ü%": {}}, "not": {"$ref": "#/definitions/~0~1%C3%BC%25"}},
    {"properties": {"$ref": {"type": "string"}, "type": {"type": "integer", "maxLength": 3}}},
    Person.model_json_schema(),
    nested(MAX_DEPTH),
]


@pytest.mark.parametrize("schema", ACCEPTED)
def test_valid_schema_is_accepted(schema: dict[str, Any]) -> None:
    check_schema(schema, FIELD)


CYCLE = "must not be recursive"
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"$ref": "#"}, "#/$ref", CYCLE),
    ({"properties": {"next": {"$ref": "#"}}}, "#/properties/next/$ref", CYCLE),
    ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "#/$defs/a/items/$ref", CYCLE),
    (
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
        "#/$defs/",
        CYCLE,
    ),
    ({"$ref": "#/$defs/a"}, "#/$ref", "there is no '#/$defs/a'"),
    ({"$ref": "#/properties", "properties": {}}, "#/$ref", "there is no '#/properties'"),
    ({"$ref": "https://a.example/schema.json"}, "#/$ref", "such as '#/$defs/name'"),
    ({"$ref": "#a"}, "#/$ref", "such as '#/$defs/name'"),
    ({"$ref": 7}, "#/$ref", "a string"),
    ({"items": {"$dynamicRef": "#a"}}, "#/items", "only '$ref'"),
    ({"type": "objekt"}, "#/type", "one or several of array"),
    ({"type": []}, "#/type", "one or several of array"),
    ({"type": ["string", 7]}, "#/type", "one or several of array"),
    ({"properties": []}, "#/properties", "an object with schemas"),
    ({"properties": {"a": "string"}}, "#/properties/a", "an object, true or false"),
    ({"properties": {"a/b": 7}}, "#/properties/a~1b", "an object, true or false"),
    ({"items": None}, "#/items", "an object, true or false"),
    ({"anyOf": {}}, "#/anyOf", "a list with at least one schema"),
    ({"oneOf": []}, "#/oneOf", "a list with at least one schema"),
    ({"prefixItems": [{}, 7]}, "#/prefixItems/1", "an object, true or false"),
    ({"enum": []}, "#/enum", "a list with at least one value"),
    ({"enum": "a"}, "#/enum", "a list with at least one value"),
    ({"required": "a"}, "#/required", "a list of names"),
    ({"required": [7]}, "#/required", "a list of names"),
    ({"minimum": "3"}, "#/minimum", "a number"),
    ({"exclusiveMinimum": True}, "#/exclusiveMinimum", "a number"),
    ({"maxLength": -1}, "#/maxLength", "a whole number"),
    ({"minItems": 0.5}, "#/minItems", "a whole number"),
    ({"uniqueItems": 1}, "#/uniqueItems", "true or false"),
    ({"pattern": 7}, "#/pattern", "a string"),
    ({"multipleOf": 0}, "#/multipleOf", "a number above 0"),
    ({"type": ["string"] * 8}, "#/type", "one or several of array"),
    ({"items": {"$ref": "#/items/properties"}}, "#/items/$ref", "there is no"),
]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(("schema", "where", "why"), REFUSED)
def test_mistake_in_a_schema_names_its_place(schema: dict[str, Any], where: str, why: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_schema(schema, FIELD)
    assert refused.value.field == FIELD
    assert why in refused.value.message
    assert f"at '{where}" in refused.value.message


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "schema",
    [nested(MAX_DEPTH + 1), {"properties": {f"a{n}": {} for n in range(MAX_SUBSCHEMAS + 1)}}],
    ids=["deep", "large"],
)
def test_depth_and_size_of_a_schema_have_limits(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidField, match="more than 64 levels or 5000 subschemas"):
        check_schema(schema, FIELD)


@pytest.mark.promise("input:clear-error")
def test_long_names_do_not_multiply_the_memory() -> None:
    many: dict[str, Any] = {f"a{number}": True for number in range(4000)}
    schema = {"properties": {"a" * 10**6: {"properties": many}}}
    tracemalloc.start()
    try:
        check_schema(schema, FIELD)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10**7


keywords = st.sampled_from(
    ["$ref", "$defs", "properties", "items", "anyOf", "type", "enum", "required", "not", "minimum"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["#", "#/$defs/a", "string", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keywords | st.just("a"), inner, max_size=3)
    ),
)


@given(st.dictionaries(keywords, values))
def test_any_object_is_a_schema_or_refused(schema: dict[str, Any]) -> None:
    with suppress(InvalidField):  # and nothing else
        check_schema(schema, FIELD)
