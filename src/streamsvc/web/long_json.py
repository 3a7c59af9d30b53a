"""JSON with long texts in it, encoded a piece at a time: other streams flow meanwhile."""

from collections.abc import AsyncIterator

import anyio.lowlevel
import msgspec

from streamsvc.snapshot import LongText

STEP_BYTES = 65_536
"""How much is encoded in one turn of the event loop, about."""

_HOLE = b"\0"
"""Stands where a text is to be put: JSON has no such byte of its own (RFC 8259, section 7)."""


async def encode(value: object) -> bytes:
    """Encode a value as JSON, with the `LongText`s that it holds as strings."""
    texts: list[LongText] = []

    def leave_out(text: LongText) -> msgspec.Raw:
        texts.append(text)
        return msgspec.Raw(_HOLE)

    first, *others = msgspec.json.encode(value, enc_hook=leave_out).split(_HOLE)
    parts = [first]
    for text, behind in zip(texts, others, strict=True):
        parts += (b'"', *[part async for part in _encoded(text)], b'"', behind)
    return b"".join(parts)


async def _encoded(text: LongText) -> AsyncIterator[bytes]:
    """Yield the inside of a string."""
    size_bytes = 0
    for piece in text.pieces:
        part = msgspec.json.encode(piece)[1:-1]
        size_bytes += len(part)
        if size_bytes >= STEP_BYTES:
            await anyio.lowlevel.checkpoint()
            size_bytes = 0
        yield part
