"""Checks tools, the choice between them and the format of the answer, and turns them into the service's own types."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from streamsvc.dialects.invalid import quoted, refused
from streamsvc.dialects.schema import check_schema
from streamsvc.dialects.shapes import (
    Choice,
    Format,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedChoice,
    TextFormat,
    ToolShape,
)
from streamsvc.messages import JsonFormat, NamedTool, Tool, ToolChoice

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
NAME_RULE = "a name has 1 to 64 letters, digits, '_' or '-'"


def check_name(name: str, field: str) -> str:
    """Return a name of a tool or a schema.

    Raises:
        InvalidField: the APIs do not accept it.
    """
    if not _NAME.fullmatch(name):
        raise refused(field, NAME_RULE)
    return name


def tools_of(shapes: Sequence[ToolShape] | None) -> tuple[Tool, ...]:
    """Return the tools.

    Raises:
        InvalidField: a name or a schema is invalid, or two tools have the same name.
    """
    tools: list[Tool] = []
    names: set[str] = set()
    for at, shape in enumerate(shapes or ()):
        function, field = shape.function, f"tools[{at}].function"
        name = check_name(function.name, f"{field}.name")
        if name in names:
            raise refused(f"{field}.name", f"there are two tools named {quoted(name)}")
        names.add(name)
        tools.append(
            Tool(
                name=name,
                description=function.description or "",
                parameters=_parameters(function.parameters, f"{field}.parameters"),
                strict=function.strict,
            )
        )
    return tuple(tools)


def choice_of(choice: Choice | None, tools: Sequence[Tool]) -> ToolChoice | None:
    """Return whether the model may, must not or must call a tool; None if there are no tools.

    Raises:
        InvalidField: it must call a tool that does not exist.
    """
    if isinstance(choice, NamedChoice):
        name = choice.function.name
        if all(tool.name != name for tool in tools):
            raise refused("tool_choice.function.name", f"there is no tool named {quoted(name)}")
        return NamedTool(name)
    if tools:
        return choice
    if choice == "required":
        raise refused("tool_choice", "'required' needs 'tools'")
    return None


def format_of(shape: Format | None) -> JsonFormat | None:
    """Return the format of the answer; None for plain text.

    Raises:
        InvalidField: the name or the schema is invalid.
    """
    match shape:
        case None | TextFormat():
            return None
        case JsonObjectFormat():
            return JsonFormat()
        case JsonSchemaFormat(json_schema=asked):
            field = "response_format.json_schema"
            if asked.schema is not None:
                check_schema(asked.schema, f"{field}.schema")
            return JsonFormat(
                schema={} if asked.schema is None else asked.schema,
                name=check_name(asked.name, f"{field}.name"),
                description=asked.description or "",
                strict=asked.strict,
            )


def _parameters(schema: Mapping[str, Any] | None, field: str) -> Mapping[str, Any] | None:
    if not schema:  # `{}` means that it takes no arguments
        return None
    check_schema(schema, field)
    if schema.get("type", "object") != "object":
        raise refused(field, "its type must be 'object'")
    return schema
