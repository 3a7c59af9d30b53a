"""How many connections each worker has, in memory that all workers of a service map.

All workers accept from the same sockets, and the kernel wakes them in an order that favours one of them: of 200
connections in a row, two idle workers took 23 and 177 (Linux 6, uvloop 0.23, 2026-11-26). So before it accepts a
connection, a worker compares its count with the average. One that is ahead lets the others go first (`listening`).

A count is a native `int`; a worker that does not accept has the count -1. A count that is read while another
process writes it may be out of date, which shifts one connection.
"""

import os
import sys
import tempfile
from mmap import mmap

_SIZE = 4
_CLOSED = -1

SLACK = 1
"""How many connections above the average a worker may have; beyond 32, a sixteenth of the average."""


class Shares:
    """The counts of all workers, by seat.

    Args:
        descriptor: of the shared memory; it may be closed afterwards.
        seats: how many counts it has.
    """

    def __init__(self, descriptor: int, seats: int) -> None:
        self._counts = memoryview(mmap(descriptor, seats * _SIZE)).cast("i")

    @staticmethod
    def create(seats: int) -> int:
        """Return the descriptor of new shared memory, in which no worker accepts."""
        if sys.platform == "linux":
            descriptor = os.memfd_create("streamsvc shares")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.write(descriptor, _CLOSED.to_bytes(_SIZE, sys.byteorder, signed=True) * seats)
        return descriptor

    def close(self, seat: int) -> None:
        """Note that the worker on a seat accepts no more connections."""
        self._counts[seat] = _CLOSED

    def share(self, seat: int) -> "Share":
        """Return the view of one worker."""
        return Share(self._counts, seat)


class Share:
    """What one worker knows of its share.

    Args:
        counts: of all workers.
        seat: of this one.
    """

    def __init__(self, counts: memoryview, seat: int) -> None:
        self._counts = counts
        self._seat = seat

    def is_ahead(self, connections: int) -> bool:
        """Publish how many connections this worker has; return whether the others should accept the next one."""
        self._counts[self._seat] = connections
        open_counts = [count for count in self._counts if count != _CLOSED]
        average = sum(open_counts) / len(open_counts)
        return connections >= average + max(SLACK, average / 16)

    def close(self) -> None:
        """Note that this worker accepts no more connections."""
        self._counts[self._seat] = _CLOSED
