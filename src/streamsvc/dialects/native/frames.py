"""The native dialect: text unnamed, everything else named, every payload one line of JSON."""

from typing_extensions import override

from streamsvc.dialects.base import EVENT_NAMES, Dialect, Encoder, json_line, lost_block
from streamsvc.events import Record


class NativeDialect(Dialect, Encoder):
    """One makes the frames of every stream. See the module, and `docs/wire.md`.

    The viewers of a generation are woken one after another and ask for the same record: the last block
    is remembered, so that it is made once.
    """

    is_resumable = True

    def __init__(self) -> None:
        self._last: Record | None = None
        self._block = b""

    @override
    def encoder(self) -> Encoder:
        return self

    @override
    def lost(self, generation: str) -> bytes:
        return lost_block(generation)

    @override
    def encode(self, record: Record) -> bytes:
        if record is not self._last:
            event = record.event
            self._block = b"id: %b.%d\n%bdata: %b\n\n" % (
                record.generation.encode(),
                record.seq,
                EVENT_NAMES[type(event)],
                json_line(event),
            )
            self._last = record
        return self._block
