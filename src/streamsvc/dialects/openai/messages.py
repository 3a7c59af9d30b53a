"""Turns OpenAI's messages and tools into the shapes that all dialects share; what does not change the answer is left out.

`extra_content` is where Google's compatible API has what it needs back with the next request; here it is `provider_data`.
The types of the shapes check the rest: what is not an object is handed on to them as it came.
"""

from collections.abc import Callable, Mapping
from typing import Any

from streamsvc.dialects.invalid import refused
from streamsvc.dialects.openai.fields import (
    FUNCTION_CALL,
    MESSAGE,
    PART,
    PART_TYPES,
    REASONING,
    TOOL,
    TOOL_CALL,
)
from streamsvc.messages import COMPATIBLE

_Shaped = Callable[[Mapping[str, Any], str], Mapping[str, Any]]


def each(items: object, path: str, shaped: _Shaped) -> object:
    """Return a list with each of its objects in the shared shape.

    Raises:
        InvalidField: one of them has something that is not supported; names the field.
    """
    if not isinstance(items, list):
        return items
    return [
        shaped(item, f"{path}[{at}]") if isinstance(item, dict) else item
        for at, item in enumerate(items)
    ]


def message_of(message: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return a message in the shared shape.

    Raises:
        InvalidField: it has something that is not supported; names the field.
    """
    if message.get("role") == "function":
        raise refused(f"{path}.role", "use 'tool_calls', and the role 'tool' for their results")
    asked = MESSAGE.asked(message, f"{path}.")
    if asked.get("extra_content") and message.get("role") != "assistant":
        raise refused(f"{path}.extra_content", "only assistant messages have it")
    asked = _with_provider_data(asked, path)
    if asked.get("tool_calls") and message.get("role") == "assistant":
        asked = _with_reasoning(asked, message)
    _replace_each(asked, "content", path, _part)
    _replace_each(asked, "tool_calls", path, _tool_call)
    return asked


def tool_of(tool: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return a tool in the shared shape.

    Raises:
        InvalidField: it has something that is not supported; names the field.
    """
    return TOOL.asked(tool, f"{path}.")


def _part(part: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    if part.get("type") not in PART_TYPES:
        return part  # which the shapes refuse by its type
    asked = PART.asked(part, f"{path}.")
    return {**asked, "text": ""} if part.get("text", "") is None else asked


def _tool_call(call: Mapping[str, Any], path: str) -> dict[str, Any]:
    asked = _with_provider_data(TOOL_CALL.asked(call, f"{path}."), path)
    if isinstance(function := asked.get("function"), dict):
        asked["function"] = FUNCTION_CALL.asked(function, f"{path}.function.")
    return asked


def _with_provider_data(asked: dict[str, Any], path: str) -> dict[str, Any]:
    if "extra_content" in asked:
        data = asked.pop("extra_content")
        if not isinstance(data, dict):
            raise refused(f"{path}.extra_content", "it must be an object")
        asked["provider_data"] = data
    return asked


def _with_reasoning(asked: dict[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the reasoning that a client sends back with tool calls: some providers want it back, too."""
    reasoning = {name: message[name] for name in REASONING if message.get(name) is not None}
    data = asked.get("provider_data", {})
    if reasoning and COMPATIBLE not in data:
        asked["provider_data"] = {**data, COMPATIBLE: reasoning}
    return asked


def _replace_each(asked: dict[str, Any], name: str, path: str, shaped: _Shaped) -> None:
    if name in asked:
        asked[name] = each(asked[name], f"{path}.{name}", shaped)
