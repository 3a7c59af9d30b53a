"""Reads chunks of servers that follow their API loosely: what is needed is read, the rest is skipped.

Normal chunks are decoded into structs; this is for those that do not fit. A value without text (null, a number
instead of an object, an empty list) is skipped. Anything else in the place of an answer's text is an error,
because text may be lost.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from streamsvc.provider_errors import UpstreamInvalid
from streamsvc.providers.base import whole

MOST_TOKENS = 2**53
"""The largest integer that every JSON reader can represent, plus one (RFC 8259, section 6)."""

_MOST_LEVELS = 4
"""How deeply the parts of a `content` may be nested."""

_MOST_LEVELS_OF_DATA = 32
"""How deeply `provider_data` may be nested."""

_WORDS = ("text", "thinking", "reasoning", "summary", "content", "value")
"""The keys of a part's text: OpenAI's and Mistral's `text`, the `thinking` of Mistral and Anthropic, and others."""


def load(payload: bytes) -> object:
    """Return the value of a JSON text; the escape of half an emoji stays as it is.

    Raises:
        UpstreamInvalid: it is not JSON, or not UTF-8.
    """
    try:
        value: object = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise UpstreamInvalid from exc
    return value


def objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield the value if it is an object, or the objects in it if it is a list."""
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, dict):
            yield item


def word(value: object) -> str | None:
    """Return a string such as a finish reason, whatever its type; None if there is none."""
    if not value:
        return None
    if isinstance(value, str):
        return whole(value)
    return str(value) if isinstance(value, int | float) else "unreadable"


def count(value: object) -> int | None:
    """Return a token count, which may be a string; None for anything else."""
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and len(value) <= len(str(MOST_TOKENS))
    ):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def words(content: object, levels: int = _MOST_LEVELS) -> tuple[str, str]:
    """Return the thinking and the text of a `content`: a string, a part, or a list of these.

    Raises:
        UpstreamInvalid: it holds something else where the text should be.
    """
    match content:
        case str():
            return "", content
        case None | bool():
            return "", ""
        case int() | float():
            return "", json.dumps(content)
        case list() if levels:
            found = [words(part, levels - 1) for part in content]
            return "".join(it[0] for it in found), "".join(it[1] for it in found)
        case dict() if levels:
            return _part(content, levels)
        case _:
            raise UpstreamInvalid


def thoughts(value: object) -> str:
    """Return the thinking in a value of any shape; what cannot be read is skipped."""
    try:
        return "".join(words(value))
    except UpstreamInvalid:
        return ""


def refusals(content: object) -> str:
    """Return the refusing parts of a content: `{"type": "refusal", "refusal": "…"}`, alone or in a list.

    Raises:
        UpstreamInvalid: the place of the words holds something else.
    """
    values = (
        part.get("refusal") or (part.get("text") if _kind(part) == "refusal" else None)
        for part in objects(content)
    )
    return "".join(text for value in values for text in words(value))


def opaque(value: object) -> Mapping[str, Any]:
    """Return an object of any shape with valid Unicode; empty if the value is not an object.

    Raises:
        UpstreamInvalid: it is nested too deeply.
    """
    return _clean(value, _MOST_LEVELS_OF_DATA) if isinstance(value, dict) else {}


def _clean(value: Any, levels: int) -> Any:
    if not levels:
        raise UpstreamInvalid
    match value:
        case str():
            return whole(value)
        case list():
            return [_clean(item, levels - 1) for item in value]
        case dict():
            return {whole(name): _clean(item, levels - 1) for name, item in value.items()}
        case _:
            return value


def _kind(part: Mapping[str, Any]) -> str:
    return str(part.get("type")).lower()


def _part(part: Mapping[str, Any], levels: int) -> tuple[str, str]:
    kind = _kind(part)
    name = next((name for name in _WORDS if part.get(name)), None)
    if kind == "refusal" or (name is None and "refusal" in part):  # `refusals` has it
        return "", ""
    if name is None:
        if part and "type" not in part and not any(name in part for name in _WORDS):
            raise UpstreamInvalid
        return "", ""  # an image, a reference, an empty text
    reasoning, text = words(part[name], levels - 1)
    if name == "thinking" or "thinking" in kind or "reasoning" in kind or part.get("thought"):
        return reasoning + text, ""
    return reasoning, text
