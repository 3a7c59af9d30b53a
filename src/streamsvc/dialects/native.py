"""The native dialect: text unnamed, everything else named, every payload one line of JSON."""

from typing_extensions import override

from streamsvc.dialects.base import EVENT_NAMES, Dialect, json_line
from streamsvc.events import Record


class NativeDialect(Dialect):
    """See the module, and `docs/wire.md`."""

    @override
    def encode(self, record: Record) -> bytes:
        event = record.event
        return b"id: %b.%d\n%bdata: %b\n\n" % (
            record.generation.encode(),
            record.seq,
            EVENT_NAMES[type(event)],
            json_line(event),
        )
