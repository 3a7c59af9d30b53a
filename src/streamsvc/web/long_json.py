"""JSON that contains long text, encoded piece by piece, so that other streams are not held up."""

from collections.abc import AsyncIterator

import anyio.lowlevel
import msgspec

from streamsvc.snapshot import LongText

STEP_BYTES = 65_536
"""Roughly how much is encoded in one iteration of the event loop."""

_HOLE = b"\0"
"""Marks the position of a `LongText`: valid JSON does not contain this byte (RFC 8259, section 7)."""


async def encode(value: object) -> bytes:
    """Encode a value as JSON; each `LongText` in it becomes a string."""
    texts: list[LongText] = []

    def leave_out(text: LongText) -> msgspec.Raw:
        texts.append(text)
        return msgspec.Raw(_HOLE)

    first, *others = msgspec.json.encode(value, enc_hook=leave_out).split(_HOLE)
    parts = [first]
    for text, rest in zip(texts, others, strict=True):
        parts += (b'"', *[part async for part in _encoded(text)], b'"', rest)
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
