"""Chunks of a UI message stream, as blocks of an event stream.

They are those of the package `ai`, `src/ui-message-stream/ui-message-chunks.ts`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from streamsvc.dialects.sse import data_block

Chunk = Mapping[str, Any]

TYPES = frozenset({
    *("start", "start-step", "finish-step", "finish", "abort", "error", "message-metadata"),
    *("text-start", "text-delta", "text-end", "reasoning-start", "reasoning-delta", "reasoning-end"),
    *("tool-input-start", "tool-input-delta", "tool-input-available"),
    *("tool-output-available", "tool-output-error", "tool-output-denied"),
    *("source-url", "source-document", "file", "reasoning-file", "custom"),
})  # fmt: skip
"""The types of chunks that streams have, besides `data-…`: ours are `data-status` and `data-restart`."""

_NO_LINE_ENDS = str.maketrans("\r\n", "  ")


def encoded(*chunks: Chunk) -> bytes:
    """Return chunks as blocks."""
    return b"".join(map(data_block, chunks))


def embedded(json: str) -> msgspec.Raw:
    """Return JSON text as a value in a chunk: on one line, and otherwise as it is.

    JSON has line ends between its tokens only (RFC 8259, sections 2 and 7).
    """
    return msgspec.Raw(json.translate(_NO_LINE_ENDS).encode())


def metadata(data: Mapping[str, Any], name: str = "providerMetadata") -> Chunk:
    """Return the field with what a provider wants back, or no field if that is nothing.

    The AI SDK fails a message in which the data of a vendor is not an object.
    """
    objects = {vendor: own for vendor, own in data.items() if isinstance(own, Mapping)}
    return {name: objects} if objects else {}
