"""The lesson's own frames, `?format=text`: the words as they are, then `event: done`.

Line ends become those of the event stream, so a carriage return does not survive; the native
dialect carries every text.
"""

from typing_extensions import override

from streamsvc.dialects.base import EVENT_NAMES, Dialect, Encoder, json_line, lost_block
from streamsvc.events import Record, Text


class TextDialect(Dialect, Encoder):
    """Keeps no state, so one makes the frames of every stream. See the module."""

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
        if isinstance(event, Text):
            lines = event.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            data = b"".join(b"data: %b\n" % line.encode() for line in lines)
        else:
            data = b"%bdata: %b\n" % (EVENT_NAMES[type(event)], json_line(event))
        return b"id: %b.%d\n%b\n" % (record.generation.encode(), record.seq, data)
