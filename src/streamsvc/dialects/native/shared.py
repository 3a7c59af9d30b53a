"""What the native dialects share: ids for resuming, and frames that are encoded once for all viewers."""

from msgspec.structs import force_setattr
from typing_extensions import override

from streamsvc.dialects.base import Dialect, Encoder
from streamsvc.dialects.sse import lost_block
from streamsvc.events import Record


class SharedDialect(Dialect, Encoder):
    """A resumable dialect without per-stream state, which encodes each frame once for all streams.

    A log gives the same `Record` to all viewers that follow at the same position, so the record caches its frame.
    That works however many records come at a time, and the frame is freed with the record. An encoder that only
    remembered its last frame would encode again for every viewer when two or more records come at once. `Record`
    is frozen, and the cache is not part of its value: hence `force_setattr`.
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
