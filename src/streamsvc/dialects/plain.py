"""The words and nothing else, as `text/plain`: for `curl`, and the AI SDK's text transport.

It has no word for an error. An answer that fails therefore breaks the connection off: a tidy end is a
whole answer.
"""

from typing import ClassVar

from typing_extensions import override

from streamsvc.dialects.base import BrokenOff, Dialect, Encoder, Ends
from streamsvc.events import Done, Record, Restart, Status, Text


class PlainDialect(Dialect, Encoder):
    """Keeps no state, so one makes the frames of every stream. See the module."""

    media_type = "text/plain"
    keepalive = b""
    ends: ClassVar[Ends] = (Done, Restart)

    @override
    def encoder(self) -> Encoder:
        return self

    @override
    def lost(self, generation: str) -> bytes:
        raise BrokenOff

    @override
    def encode(self, record: Record) -> bytes:
        match record.event:
            case Text(text=text):
                return text.encode()
            case Done(status=Status.FAILED | Status.STOPPED) | Restart():
                raise BrokenOff
            case _:
                return b""
