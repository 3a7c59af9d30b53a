"""The schemas: JSON Schema (2020-12), from the structs that read requests and write answers."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import inspect

from streamsvc import events
from streamsvc.dialects.ai_sdk.chunks import TYPES
from streamsvc.dialects.ai_sdk.request import UIMessageBody
from streamsvc.dialects.native.request import TicketFields
from streamsvc.dialects.openai import fields
from streamsvc.dialects.openai.errors import ErrorBody
from streamsvc.dialects.openai.shapes import ChatCompletion, ChatCompletionChunk
from streamsvc.dialects.request import RequestFields
from streamsvc.dialects.sse import Gone
from streamsvc.snapshot import LongText, Snapshot
from streamsvc.web.openai import Models
from streamsvc.web.openapi.meanings import MEANINGS
from streamsvc.web.operations import Health, ProviderStates, Readiness
from streamsvc.web.problems import Problem
from streamsvc.web.tickets import NewTicket

Schema = dict[str, Any]

_READ: Sequence[type[msgspec.Struct]] = (
    RequestFields,
    fields.RequestBody,
    UIMessageBody,
    TicketFields,
)
_WRITTEN: Sequence[object] = (
    *(events.Event, Gone, Snapshot, Problem, ErrorBody, ChatCompletion, ChatCompletionChunk),
    *(Models, ProviderStates, Health, Readiness, NewTicket),
)
_PREFIX = "#/components/schemas/"
_MSGSPEC = "#/$defs/"

_NAMES: Mapping[str, str] = {
    "RequestFields": "GenerationBody",
    "RequestBody": "ChatCompletionBody",
    "TicketFields": "TicketBody",
    "Turn": "Message",
    "TextShape": "TextPart",
    "ImageShape": "ImagePart",
    "FileShape": "FilePart",
    "RefusalShape": "RefusalPart",
    "ToolCallShape": "ToolCall",
    "FunctionCallShape": "ToolCallFunction",
    "ToolShape": "Tool",
    "FunctionShape": "Function",
    "SchemaShape": "NamedSchema",
}
"""What the document calls a struct, where that differs."""

_CHAT: Mapping[str, tuple[str, fields.Fields]] = {
    "Turn": ("ChatMessage", fields.MESSAGE),
    "ToolCallShape": ("ChatToolCall", fields.TOOL_CALL),
    "FunctionCallShape": ("ChatToolCallFunction", fields.FUNCTION_CALL),
    "TextShape": ("ChatTextPart", fields.PART),
    "ImageShape": ("ChatImagePart", fields.PART),
    "FileShape": ("ChatFilePart", fields.PART),
    "RefusalShape": ("ChatRefusalPart", fields.PART),
    "ToolShape": ("ChatTool", fields.TOOL),
}
"""The shapes that OpenAI's clients send with more fields: what they are called, and which fields."""

_UI_CHUNK: Schema = {
    "description": "A chunk of a UI message stream (package `ai`, `src/ui-message-stream/ui-message-chunks.ts`).",
    "type": "object",
    "properties": {"type": {"anyOf": [{"enum": sorted(TYPES)}, {"pattern": "^data-"}]}},
    "required": ["type"],
}

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def reference(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"{_PREFIX}{name}"}


def schemas() -> Schema:
    """Return all schemas by name."""
    roots, found = msgspec.json.schema_components(
        (*_READ, *_WRITTEN), schema_hook=_hook, ref_template=f"{_MSGSPEC}{{name}}"
    )
    found = dict(found)
    found["Event"] = {"description": "What a generation says.", **roots[len(_READ)]}
    found["UIMessageChunk"] = _UI_CHUNK
    found["Snapshot"]["properties"]["status"] = {"enum": ["running", *events.Status]}
    for struct in _structs(inspect.multi_type_info(_WRITTEN)):
        if written := _always_written(struct):
            found[struct.cls.__name__]["required"] = written
    _accept_what_openai_clients_send(found)
    for schema in found.values():
        _describe(schema)
    for kind in _READ:
        for name, property_ in found[kind.__name__]["properties"].items():
            property_.setdefault("description", MEANINGS.get(name, ""))
    return {_NAMES.get(name, name): _renamed(schema) for name, schema in sorted(found.items())}


def _hook(kind: type) -> Schema:
    """Return the schema of `LongText`, the only type that msgspec does not know."""
    if kind is not LongText:
        raise NotImplementedError
    return {"type": "string"}


def _structs(kinds: Iterable[inspect.Type]) -> Iterator[inspect.StructType]:
    """Yield all structs of which these types consist."""
    for kind in kinds:
        match kind:
            case inspect.StructType(fields=parts):
                yield kind
                yield from _structs(part.type for part in parts)
            case inspect.UnionType(types=types):
                yield from _structs(types)
            case inspect.CollectionType(item_type=item) | inspect.VarTupleType(item_type=item):
                yield from _structs([item])
            case _:
                pass


def _always_written(struct: inspect.StructType) -> list[str]:
    """Return the fields that every answer has: all but those whose default is left out."""
    omits = struct.cls.__struct_config__.omit_defaults
    tag = [struct.tag_field] if struct.tag_field else []
    return tag + [
        field.encode_name
        for field in struct.fields
        if field.required
        or not (omits or (field.default, field.default_factory) == (msgspec.NODEFAULT,) * 2)
    ]


def _accept_what_openai_clients_send(found: Schema) -> None:
    """Add the fields of OpenAI's API that are ignored, or accepted with some values, to what is read."""
    for name, (new, known) in _CHAT.items():
        found[new] = _widened(found[name], known)
    body = found["RequestBody"]
    found["RequestBody"] = body = {**body, **_widened(body, fields.BODY)}
    found["StreamOptions"] = _widened(found["StreamOptions"], fields.STREAM_OPTIONS)
    for name in ("messages", "tools"):
        body["properties"][name] = _in_chat(body["properties"][name])
    body["required"] = ["model", "messages"]


def _widened(schema: Schema, known: fields.Fields) -> Schema:
    """Return the schema of an object that may have more fields: any that are ignored, others with some values."""
    properties = dict(_in_chat(schema["properties"]))
    if "extra_content" in known.known and "provider_data" in properties:
        properties["extra_content"] = properties.pop("provider_data")
    properties |= {name: {"description": "Ignored."} for name in known.ignored}
    properties |= {
        name: {
            "enum": [*values, None],
            "description": "Accepted only with a value that changes nothing.",
        }
        for name, values in known.neutral.items()
    }
    return {**schema, "properties": properties}


def _in_chat(schema: Any) -> Any:
    """Return a schema that refers to what OpenAI's clients send."""
    new = {f"{_MSGSPEC}{name}": f"{_MSGSPEC}{chat}" for name, (chat, _) in _CHAT.items()}
    return _replaced(schema, lambda target: new.get(target, target))


def _renamed(schema: Any) -> Any:
    """Return a schema that refers to the names in the document."""

    def target(old: str) -> str:
        name = old.removeprefix(_MSGSPEC)
        return f"{_PREFIX}{_NAMES.get(name, name)}"

    return _replaced(schema, target)


def _replaced(schema: Any, target: Callable[[str], str]) -> Any:
    """Return a copy of a schema with other references."""
    match schema:
        case {"$ref": str(old)}:
            return {**schema, "$ref": target(old)}
        case {"propertyName": name, "mapping": mapping}:
            return {
                "propertyName": name,
                "mapping": {tag: target(old) for tag, old in mapping.items()},
            }
        case dict():
            return {key: _replaced(value, target) for key, value in schema.items()}
        case list():
            return [_replaced(value, target) for value in schema]
        case _:
            return schema


def _describe(schema: Schema) -> None:
    """Move what a docstring says of each attribute to the attribute, and leave the name to the document.

    Defaults are left out: generators of clients take a field with a default for one that is always there.
    """
    schema.pop("title", None)
    text, _, attributes = cleandoc(schema.get("description", "")).partition("Attributes:")
    schema["description"] = " ".join(text.split())
    meanings = dict(_ATTRIBUTE.findall(attributes))
    for name, part in schema.get("properties", {}).items():
        part.pop("default", None)
        if meaning := " ".join(meanings.get(name, "").split()):
            part["description"] = meaning[:1].upper() + meaning[1:]
