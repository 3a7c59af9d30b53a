"""Pieces of requests that have more than text: images, tools, turns with calls and results."""

import base64
from typing import Any

PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
GIF = b"GIF89a" + bytes(60)
WEBP = b"RIFF\x10\0\0\0WEBPVP8 " + bytes(60)
PDF = b"%PDF-1.7\n" + bytes(60)
"""Files of their type, as far as their first bytes show."""

HI: dict[str, Any] = {"role": "user", "content": "hi"}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
        "strict": True,
    },
}


def data_url(data: bytes, media_type: str = "image/png") -> str:
    """Return a data URL in base64."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image(url: str, **fields: Any) -> dict[str, Any]:
    """Return a user's message with an image."""
    return asking({"type": "image_url", "image_url": {"url": url, **fields}})


def file(**fields: Any) -> dict[str, Any]:
    """Return a user's message with a file."""
    return asking({"type": "file", "file": fields})


def asking(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return a user's message with these parts after its text."""
    return {"role": "user", "content": [{"type": "text", "text": "What is this?"}, *parts]}


def call(call_id: str = "a", name: str = "get_weather", arguments: str = "{}") -> dict[str, Any]:
    """Return a tool call."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an assistant's message with tool calls."""
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **fields}


def result(call_id: str = "a", content: Any = "20") -> dict[str, Any]:
    """Return the result of a tool call."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def tool(name: str = "get_weather", **fields: Any) -> dict[str, Any]:
    """Return a tool."""
    return {"type": "function", "function": {"name": name, **fields}}


def schema_format(schema: dict[str, Any], name: str = "answer") -> dict[str, Any]:
    """Return the format of an answer that follows a schema."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
