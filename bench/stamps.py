"""The text of a token: a mark, and when the upstream sent it.

Every token is `@`, the time it was sent and the time its request was read, 14 digits each, in
microseconds of the machine's monotonic clock, which all processes share. The mark is one byte that
occurs nowhere else in a stream, so a reader counts tokens in bytes, in any wire format and however
the reads cut them.
"""

import re
import time

MARK = b"@"
FORMAT = b"@%014d%014d"
WIDTH = 29

_STAMP = re.compile(rb"@(\d{14})(\d{14})")


def now_us() -> int:
    """Return the time of the monotonic clock in microseconds."""
    return time.monotonic_ns() // 1000


class StampReader:
    """Finds the stamps in the data of a connection, however it is split."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, int]]:
        """Return (sent, request read), in µs, of each token that *data* completes."""
        data = self._rest + data
        found: list[tuple[int, int]] = []
        end = 0
        for match in _STAMP.finditer(data):
            found.append((int(match[1]), int(match[2])))
            end = match.end()
        self._rest = data[max(end, len(data) - WIDTH + 1) :]
        return found
