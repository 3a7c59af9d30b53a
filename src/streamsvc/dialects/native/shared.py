"""Blocks that are the same for every viewer, made once."""

from msgspec.structs import force_setattr
from typing_extensions import override

from streamsvc.dialects.base import Encoder
from streamsvc.events import Record


class SharedEncoder(Encoder):
    """Makes the blocks of all streams of a dialect that keeps no state for a stream: each block once.

    A log gives the same `Record` to all viewers who follow at the same place, so the block is kept in the record: it
    is found however many records come at a time, and is let go with them. A memo in here would have to guess
    how much to keep: one block, as before, serves batches of one record alone.
    """

    @override
    def encode(self, record: Record) -> bytes:
        if (encoded := record.encoded) is not None and encoded[0] is self:
            return encoded[1]
        block = self.block(record)
        force_setattr(record, "encoded", (self, block))
        return block

    def block(self, record: Record) -> bytes:
        """Return the block of a record."""
        raise NotImplementedError
