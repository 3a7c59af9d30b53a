"""The native dialect: text has no event name, everything else has one; every payload is one line of JSON."""

from typing_extensions import override

from streamsvc.dialects.base import Dialect, Encoder
from streamsvc.dialects.native.shared import SharedEncoder
from streamsvc.dialects.sse import EVENT_NAMES, encode_json, lost_block, one_line
from streamsvc.events import Record


class NativeDialect(Dialect, SharedEncoder):
    """Encodes all streams. `docs/wire.md` describes the format."""

    is_resumable = True

    @override
    def encoder(self) -> Encoder:
        return self

    @override
    def lost(self, generation: str) -> bytes:
        return lost_block(generation)

    @override
    def frame(self, record: Record) -> bytes:
        event = record.event
        json = encode_json(event)  # not `json_line`, which is one more call for each token
        return b"id: %b.%d\n%bdata: %b\n\n" % (
            record.generation.encode(),
            record.seq,
            EVENT_NAMES[type(event)],
            json if json.isascii() else one_line(json),
        )
