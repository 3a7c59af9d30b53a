"""The native dialect: text has no event name, everything else has one; every payload is one line of JSON."""

from typing_extensions import override

from streamsvc.dialects.native.shared import SharedDialect
from streamsvc.dialects.sse import EVENT_NAMES, encode_json, one_line
from streamsvc.events import Record


class NativeDialect(SharedDialect):
    """Encodes all streams. `docs/reference/http.md` describes the format."""

    name = "native"

    @override
    def frame(self, record: Record) -> bytes:
        event = record.event
        json = encode_json(event)  # not `json_line`, which would be one more call per token
        return b"id: %b.%d\n%bdata: %b\n\n" % (
            record.generation.encode(),
            record.seq,
            EVENT_NAMES[type(event)],
            json if json.isascii() else one_line(json),
        )
