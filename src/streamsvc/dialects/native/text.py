"""Raw text, `?format=text`: text as it is, every other event as in the native dialect.

Carriage returns are lost, because an event stream treats them as line ends; the native dialect keeps them.
"""

from typing_extensions import override

from streamsvc.dialects.native.shared import SharedDialect
from streamsvc.dialects.sse import EVENT_NAMES, json_line
from streamsvc.events import Record, Text


class TextDialect(SharedDialect):
    """Encodes all streams."""

    name = "text"

    @override
    def frame(self, record: Record) -> bytes:
        event = record.event
        if isinstance(event, Text):
            lines = event.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            data = b"".join(b"data: %b\n" % line.encode() for line in lines)
        else:
            data = b"%bdata: %b\n" % (EVENT_NAMES[type(event)], json_line(event))
        return b"id: %b.%d\n%b\n" % (record.generation.encode(), record.seq, data)
