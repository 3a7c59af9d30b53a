"""Setting values from the file or a variable, converted to their type, and descriptions of the types."""

import math
from typing import Any

import msgspec
from msgspec import inspect

from streamsvc.config.file import one_of


class FromEnvironment(msgspec.Struct, frozen=True):
    """The value of an environment variable: text, whatever the type of its setting."""

    variable: str
    text: str


def variable_of(value: object) -> str | None:
    """Return the variable that a value comes from; for a table, the first one if all its values have one."""
    if isinstance(value, FromEnvironment):
        return value.variable
    if isinstance(value, dict):
        variables = [variable_of(inner) for inner in value.values()]
        return variables[0] if variables and all(variables) else None
    return None


def text_of(value: object) -> object:
    """Return the text of a variable, or the value in the file."""
    return value.text if isinstance(value, FromEnvironment) else value


def convert(raw: object, expected: Any) -> object:
    """Convert a value to the type of its key; the text of a variable may be of any type."""
    if isinstance(inspect.type_info(expected), inspect.DictType):
        return msgspec.convert(json_of(raw), expected)
    if not isinstance(raw, FromEnvironment):
        return msgspec.convert(raw, expected)
    if isinstance(inspect.type_info(expected), inspect.VarTupleType):
        parts = [part.strip() for part in raw.text.split(",")]
        is_json = raw.text.startswith("[")
        items = msgspec.json.decode(raw.text) if is_json else [part for part in parts if part]
        return msgspec.convert(items, expected)
    return msgspec.convert(raw.text, expected, strict=False)


def json_of(raw: object) -> object:
    """Return a value that may have any type; the text of a variable is read as JSON, or else is a string.

    Raises:
        msgspec.ValidationError: the value does not exist in JSON.
    """
    match raw:
        case FromEnvironment(text=text):
            try:
                return msgspec.json.decode(text)
            except msgspec.DecodeError:
                return text
        case dict():
            return {name: json_of(value) for name, value in raw.items()}
        case list():
            return [json_of(value) for value in raw]
        case str() | int() | None:
            return raw
        case float() if math.isfinite(raw):
            return raw
        case _:
            raise msgspec.ValidationError


def describe(expected: Any, raw: object) -> str:
    """Describe the values that a type accepts, in the terms of TOML or the environment, whichever *raw* comes from."""
    is_text = isinstance(raw, FromEnvironment)
    bare = ", without quotes" if isinstance(raw, str) else ""
    info = inspect.type_info(expected)
    match info:
        case inspect.IntType():
            accepted = f"a whole number{_range(info)}{bare}"
        case inspect.FloatType():
            accepted = f"a number{_range(info)}{bare}"
        case inspect.LiteralType(values=values):
            accepted = one_of([str(value) for value in values])
        case inspect.StrType(min_length=length):
            accepted = f"a string{'' if is_text else ' in quotes'}{', not empty' if length else ''}"
        case inspect.DictType():
            accepted = "a JSON object" if is_text else "a table without dates, times, inf and nan"
        case inspect.VarTupleType(item_type=item, min_length=length):
            accepted = f"{_list(item, is_text=is_text)}{', not empty' if length else ''}"
        case inspect.DateTimeType():
            accepted = f"a date and a time with an offset, such as 2027-01-31T00:00:00Z{bare}"
        case _:
            accepted = f"true or false{bare}"
    return accepted


def _list(item: inspect.Type, *, is_text: bool) -> str:
    if isinstance(item, inspect.StructType):
        return (
            "a JSON array of steps" if is_text else "a list of steps, such as [{words = 'Hello'}]"
        )
    words = "strings separated by commas" if is_text else "a list of strings in quotes"
    if isinstance(item, inspect.LiteralType):
        return f"{words}, each {one_of(map(str, item.values))}"
    return words


def _range(info: inspect.IntType | inspect.FloatType) -> str:
    if info.gt is not None:
        return f" above {info.gt:.15g}"
    if info.ge is not None and info.le is not None:
        return f" from {info.ge:.15g} to {info.le:.15g}"
    return f" of at least {info.ge:.15g}" if info.ge is not None else ""
