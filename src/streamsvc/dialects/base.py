"""The port of every dialect: a pure function from records to frames."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

import msgspec

from streamsvc.errors import CursorLost
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


Ends = tuple[type[Event], ...]


class BrokenOff(Exception):
    """The answer has failed, and the dialect has no word for it: the connection is to be dropped."""


class Encoder(Protocol):
    """Makes the frames of one stream."""

    def encode(self, record: Record) -> bytes:
        """Turn one record into whole blocks of the stream; nothing where the dialect has no word for it.

        Records come in their order; to an encoder that remembers, from the `Start` on.

        Raises:
            BrokenOff: it can only be said by breaking off.
        """
        ...


class Dialect(Protocol):
    """A wire format, over server-sent events where its `media_type` says so (HTML, section 9.2).

    Attributes:
        media_type: of the answer.
        headers: of the answer, besides those of every stream.
        keepalive: what is sent in silence; nothing where the format has no room for it.
        is_resumable: whether clients come back with the id of the last block.
        ends: the events behind which nothing more is sent.
    """

    media_type: ClassVar[str] = "text/event-stream"
    headers: ClassVar[Mapping[str, str]] = {}
    keepalive: ClassVar[bytes] = KEEPALIVE
    is_resumable: ClassVar[bool] = False
    ends: ClassVar[Ends] = (Done,)

    def encoder(self) -> Encoder:
        """Return what makes the frames of one stream."""
        ...

    def lost(self, generation: str) -> bytes:
        """Return the end of a stream whose further records are gone.

        Raises:
            BrokenOff: it can only be said by breaking off.
        """
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


def data_block(value: object) -> bytes:
    """Return a block that has data and nothing else."""
    return b"data: %b\n\n" % json_line(value)


def lost_block(generation: str) -> bytes:
    """Return the block that says that a cursor cannot be honoured.

    It is no record of any log, so its id has a word in the place of the number.
    """
    data = {
        "type": "done",
        "status": "failed",
        "finish_reason": "error",
        "usage": None,
        "error": {"code": CursorLost.code, "message": CursorLost.message, "retryable": True},
    }
    return b"id: %b.gone\nevent: done\ndata: %b\n\n" % (generation.encode(), json_line(data))
