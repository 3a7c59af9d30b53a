"""The port of every dialect: a pure function from records to frames.

A frame is what is sent for one record: complete blocks of an event stream, each with its blank line, or a piece of text.
"""

from collections.abc import Mapping
from typing import ClassVar, Protocol

from streamsvc.dialects.sse import KEEPALIVE
from streamsvc.events import Done, Event, Record

Ends = tuple[type[Event], ...]


class BrokenOff(Exception):
    """The answer has failed, and the dialect has no way to say so: the connection must be dropped."""


class Encoder(Protocol):
    """Makes the frames of one stream.

    Records come in the order of their log, each once. The first is the one after the viewer's cursor; it is the
    `Start` unless the dialect is resumable, or its endpoint leaves out what a `Restart` has discarded.
    """

    def encode(self, record: Record) -> bytes:
        """Return the frame of one record; it is empty if the dialect sends nothing for the event.

        Raises:
            BrokenOff: only dropping the connection can express this record. Nothing is sent for it.
        """
        ...


class Dialect(Protocol):
    """A wire format: server-sent events (HTML, section 9.2), unless its `media_type` says otherwise.

    One dialect serves any number of streams. It does no I/O and never waits.

    Attributes:
        name: for log lines and metrics.
        media_type: of the response.
        headers: of the response, in addition to those of every stream.
        keepalive: what is sent in silence, between blocks; empty if the format does not allow it.
        is_resumable: whether clients resume with the id of the last block.
        ends: the events that end a stream; after the first of them nothing is encoded.
    """

    name: ClassVar[str]
    media_type: ClassVar[str] = "text/event-stream"
    headers: ClassVar[Mapping[str, str]] = {}
    keepalive: ClassVar[bytes] = KEEPALIVE
    is_resumable: ClassVar[bool] = False
    ends: ClassVar[Ends] = (Done,)

    def encoder(self) -> Encoder:
        """Return the encoder for one stream; a dialect without per-stream state may return the same one for all."""
        ...

    def lost(self, generation: str) -> bytes:
        """Return the end of a stream whose remaining records are gone.

        Raises:
            BrokenOff: only dropping the connection can express this.
        """
        ...

    def interrupted(self) -> bytes:
        """Return the end of a stream whose remaining records this process cannot get, but another one may.

        Raises:
            BrokenOff: dropping the connection tells the client to come back. That is the default.
        """
        raise BrokenOff
