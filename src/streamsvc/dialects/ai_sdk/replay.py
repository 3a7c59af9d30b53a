"""The steps of a message before the one that an answer adds, as chunks.

The page has them already when it asks for the next step. A replay starts the message from nothing, so it repeats them.
No chunk of an earlier step is one on which a page acts: `tool-input-available`, at which the hook runs `onToolCall`,
is not among them. The hook takes the input from the delta, and the state from the output.
"""

from collections.abc import Iterator, Mapping

from streamsvc.dialects.ai_sdk.chunks import Chunk, embedded, encoded, metadata
from streamsvc.dialects.ai_sdk.history import json_text
from streamsvc.dialects.ai_sdk.shapes import DENIED, UIMessage, UIPart

_COPIED: Mapping[str, tuple[str, ...]] = {
    "file": ("url", "mediaType"),
    "reasoning-file": ("url", "mediaType"),
    "source-url": ("sourceId", "url", "title"),
    "source-document": ("sourceId", "mediaType", "title", "filename"),
    "custom": ("kind",),
}
"""Parts whose chunk is the part itself: its fields besides the type and the metadata."""


def earlier_steps(message: UIMessage) -> bytes:
    """Return the chunks between the `start` of a message and its next step."""
    return encoded(*_chunks(message))


def _chunks(message: UIMessage) -> Iterator[Chunk]:
    if own := json_text(message.metadata):
        yield {"type": "message-metadata", "messageMetadata": embedded(own)}
    is_open = False
    for at, part in enumerate(message.parts or []):
        if part.type == "step-start":
            if is_open:
                yield {"type": "finish-step"}
            is_open = True
            yield {"type": "start-step"}
        elif part.is_tool:
            yield from _tool(part)
        else:
            yield from _part(part, part.id or f"earlier-{at}")
    if is_open:
        yield {"type": "finish-step"}


def _part(part: UIPart, part_id: str) -> Iterator[Chunk]:
    data = metadata(part.provider_metadata or {})
    if part.type in ("text", "reasoning"):
        yield {"type": f"{part.type}-start", "id": part_id, **data}
        yield {"type": f"{part.type}-delta", "id": part_id, "delta": part.text or ""}
        yield {"type": f"{part.type}-end", "id": part_id}
    elif part.type in _COPIED:
        yield {"type": part.type, **_fields(part, _COPIED[part.type]), **data}
    else:
        own = {"data": embedded(json_text(part.data) or "null")}
        yield {"type": part.type, **own, **({"id": part.id} if part.id else {})}


def _tool(part: UIPart) -> Iterator[Chunk]:
    call = {"toolCallId": part.tool_call_id}
    yield {
        "type": "tool-input-start",
        **call,
        "toolName": part.tool,
        **({"dynamic": True} if part.type == "dynamic-tool" else {}),
        **_fields(part, ("title", "toolMetadata", "providerExecuted")),
        **metadata(part.call_provider_metadata or {}),
    }
    if given := json_text(part.input):
        yield {"type": "tool-input-delta", **call, "inputTextDelta": given}
    data = metadata(part.result_provider_metadata or {})
    match part.state:
        case "output-available":
            output = embedded(json_text(part.output) or "null")
            preliminary = _fields(part, ("preliminary",))
            yield {"type": "tool-output-available", **call, "output": output, **preliminary, **data}
        case "output-error":
            yield {"type": "tool-output-error", **call, "errorText": part.error_text, **data}
        case "output-denied":
            yield {"type": "tool-output-denied", **call}
        case "approval-responded" if part.approval and part.approval.approved is False:
            yield {"type": "tool-output-error", **call, "errorText": part.approval.reason or DENIED}
        case _:
            return


def _fields(part: UIPart, names: tuple[str, ...]) -> Chunk:
    """Return the fields of a part that have a value, by their names on the wire."""
    own = {
        wire: getattr(part, name)
        for name, wire in zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True)
    }
    return {name: own[name] for name in names if own[name] is not None}
