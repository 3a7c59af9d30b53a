"""Error messages about fields that clients send: which one is wrong, and what is accepted.

Many clients show only the message, so it names the field. This is the one place that rewrites msgspec's messages.
`config.reader` does not use them: it knows the place of each key, and says what its type accepts.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from msgspec import inspect

from streamsvc.errors import InvalidField

MAX_QUOTED_CHARS = 80
"""How much of a client's input an error message repeats."""

_MAX_CHARS = 1000
"""How much of a name that a client made up is looked at."""

_PATH = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")
_NAMED_FIELD = re.compile(r"(?P<what>unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)
_VALUE = re.compile(r"Invalid (?:enum )?value '(?P<value>.*)'", re.DOTALL)
_STEP = re.compile(r"[^.\[\]]+")
_EXPECTED = re.compile(r"`([^`]*)`")
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}

_ELSEWHERE = {
    "max_completion_tokens": "here it is 'max_tokens'",
    "model": "here it is 'provider', the name of a provider entry",
    "stream": "the header 'Accept: text/event-stream' asks for a stream",
    "frequencyPenalty": "here it is 'frequency_penalty'",
    "maxOutputTokens": "here it is 'max_tokens'",
    "presencePenalty": "here it is 'presence_penalty'",
    "stopSequences": "here it is 'stop'",
    "toolChoice": "here it is 'tool_choice'",
    "topK": "here it is 'top_k'",
    "topP": "here it is 'top_p'",
}
"""Fields of other APIs, and their names here."""


def quoted(name: str) -> str:
    """Return a client's input in quotes, shortened, for an error message."""
    return repr(name if len(name) <= MAX_QUOTED_CHARS else f"{name[:MAX_QUOTED_CHARS]}…")


def nearest(name: str, known: tuple[str, ...]) -> str | None:
    """Return the most similar known name, or None if none is similar enough."""
    return next(iter(get_close_matches(name[:100], known, n=1, cutoff=0.75)), None)


def refused(field: str, why: str) -> InvalidField:
    """Return the refusal of a field whose value is not valid.

    Args:
        field: its place in the body.
        why: the rest of the sentence, without a full stop.
    """
    return InvalidField(f"Invalid {quoted(field)}: {why}.", field=field)


def unknown_field(path: str, known: tuple[str, ...], *, sentence: str) -> InvalidField:
    """Return the refusal of an unknown field.

    Args:
        path: the field.
        known: the fields that exist in its place; the message suggests a similar one.
        sentence: the beginning of the message, before the name.
    """
    path = path[:_MAX_CHARS]
    place, _, name = path.rpartition(".")
    if hint := _ELSEWHERE.get(path, ""):
        hint = f"; {hint}."
    elif near := nearest(name, known):
        hint = f"; did you mean {quoted(near)}?"
    elif place and known:  # few: the whole body has dozens
        hint = f"; accepted: {', '.join(sorted(known))}."
    return InvalidField(f"{sentence} {quoted(path)}{hint or '.'}", field=path)


def accepted_values(kind: object, path: str) -> list[str]:
    """Return the strings that a field accepts, of those that take one of a fixed set; msgspec does not list them.

    Args:
        kind: the type of the body.
        path: the field.
    """
    literals = [it for it in _types_at(kind, path) if isinstance(it, inspect.LiteralType)]
    return sorted({str(value) for literal in literals for value in literal.values})


def _known_fields(kind: object, path: str) -> tuple[str, ...]:
    """Return the fields that the objects at a place may have, their `type` included."""
    structs = [it for it in _types_at(kind, path) if isinstance(it, inspect.StructType)]
    names = [field.encode_name for struct in structs for field in struct.fields]
    names += [struct.tag_field for struct in structs if struct.tag_field]
    return tuple(dict.fromkeys(names))


def _types_at(kind: object, path: str) -> Sequence[inspect.Type]:
    """Return the types that a value at a place of a body may have; none if the body does not say.

    Args:
        kind: the type of the body.
        path: the place, as in msgspec's messages; "": the body itself.
    """
    types = _members(inspect.type_info(kind))
    for step in _STEP.findall(path):
        types = [inner for outer in types for inner in _inside(outer, step)]
    return types


def _members(info: inspect.Type) -> Sequence[inspect.Type]:
    """Return the types that a value of this type may have."""
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _inside(info: inspect.Type, step: str) -> Sequence[inspect.Type]:
    """Return the types of what is inside a value of this type: of a field, or of the items of an array."""
    if isinstance(info, inspect.ListType | inspect.VarTupleType):
        return _members(info.item_type)
    if not isinstance(info, inspect.StructType):
        return ()
    if step == info.tag_field:
        return (inspect.LiteralType((info.tag,)),)
    return [it for field in info.fields if field.encode_name == step for it in _members(field.type)]


def invalid_field(text: str, kind: object) -> InvalidField:
    """Turn a validation error of msgspec into ours.

    Args:
        text: msgspec's message; it names types, a path and, if only some strings are accepted, the string.
        kind: the type that was expected; its fields are suggested for an unknown one.
    """
    if len(text) > 2 * _MAX_CHARS:  # it repeats what the client sent; the path is at the end
        text = text[:_MAX_CHARS] + text[-_MAX_CHARS:]
    found = _PATH.search(text)
    what, path = (text[: found.start()], found[1]) if found else (text, "")
    if named := _NAMED_FIELD.search(what):
        field = f"{path}.{named['name']}" if path else named["name"]
        if named["what"] == "unknown":
            return unknown_field(field, _known_fields(kind, path), sentence="Unknown field")
        return InvalidField(f"The field {quoted(field)} is missing.", field=field)
    about = f"Invalid {quoted(path)}" if path else "Invalid body"
    if value := _VALUE.fullmatch(what):
        accepted = ", ".join(accepted_values(kind, path))
        given = quoted(value["value"])
        return InvalidField(f"{about}: {given} is not supported; accepted: {accepted}.", field=path)
    why = _EXPECTED.sub(_json_types, what)
    return InvalidField(f"{about}: {why[0].lower()}{why[1:]}.", field=path or "body")


def _json_types(types: re.Match[str]) -> str:
    return " or ".join(_TYPES.get(name, name) for name in types[1].split(" | "))
