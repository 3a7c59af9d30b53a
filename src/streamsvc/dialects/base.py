"""The port of every dialect: a pure function from records to frames."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from streamsvc.events import Done, Event, Progress, Reasoning, Record, Restart, Start, Text

EVENT_NAMES: Mapping[type[Event], bytes] = {
    Start: b"event: start\n",
    Text: b"",
    Reasoning: b"event: reasoning\n",
    Restart: b"event: restart\n",
    Progress: b"event: status\n",
    Done: b"event: done\n",
}
"""The `event` line of each. Text has none, so that `onmessage` sees all of it and nothing else."""

KEEPALIVE = b": ka\n"
"""A lone comment line. A blank line after it would be an empty event to several client libraries."""


class Dialect(Protocol):
    """A wire format over server-sent events (HTML Living Standard, section 9.2). Keeps no state."""

    def encode(self, record: Record) -> bytes:
        """Turn one record into one whole block of the event stream, the blank line included."""
        ...


def preamble(retry_ms: int) -> bytes:
    """Return the `retry` line, which rides in the first block of a connection."""
    return b"retry: %d\n" % retry_ms


_encode = msgspec.json.Encoder().encode


def json_line(value: object) -> bytes:
    """Return *value* as JSON that no client can take for more than one line.

    Three code points that some take for the end of a line are escaped (U+0085, U+2028, U+2029);
    JSON has no others of the kind outside its escapes (RFC 8259, section 7).
    """
    line = _encode(value)
    if not line.isascii():
        line = line.replace(b"\xc2\x85", b"\\u0085")
        line = line.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return line
