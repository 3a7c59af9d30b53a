"""What the native dialects share: ids to resume by, and frames that are made once for all viewers."""

from msgspec.structs import force_setattr
from typing_extensions import override

from streamsvc.dialects.base import Dialect, Encoder
from streamsvc.dialects.sse import lost_block
from streamsvc.events import Record


class SharedDialect(Dialect, Encoder):
    """A resumable dialect without state per stream; it makes each frame once, for all streams.

    A log gives the same `Record` to all viewers that follow at the same place, so the record keeps its frame. It
    is found however many records come at a time, and is freed with them. Before, the encoder remembered its last
    frame, which helps only if records come one at a time: with two or more, every viewer encoded them again.
    `Record` is frozen, and this is a cache and not a part of its value: hence `force_setattr`.
    """

    is_resumable = True

    @override
    def encoder(self) -> Encoder:
        return self

    @override
    def lost(self, generation: str) -> bytes:
        return lost_block(generation)

    @override
    def encode(self, record: Record) -> bytes:
        if (encoded := record.encoded) is not None and encoded[0] is self:
            return encoded[1]
        frame = self.frame(record)
        force_setattr(record, "encoded", (self, frame))
        return frame

    def frame(self, record: Record) -> bytes:
        """Return the frame of a record."""
        raise NotImplementedError
