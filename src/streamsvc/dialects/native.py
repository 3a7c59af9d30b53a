"""The native dialect: text unnamed, everything else named, every payload one line of JSON."""

from typing_extensions import override

from streamsvc.dialects.base import EVENT_NAMES, Dialect, Encoder, json_line, lost_block
from streamsvc.events import Record


class NativeDialect(Dialect, Encoder):
    """Keeps no state, so one makes the frames of every stream. See the module, and `docs/wire.md`."""

    is_resumable = True

    @override
    def encoder(self) -> Encoder:
        return self

    @override
    def lost(self, generation: str) -> bytes:
        return lost_block(generation)

    @override
    def encode(self, record: Record) -> bytes:
        event = record.event
        return b"id: %b.%d\n%bdata: %b\n\n" % (
            record.generation.encode(),
            record.seq,
            EVENT_NAMES[type(event)],
            json_line(event),
        )
