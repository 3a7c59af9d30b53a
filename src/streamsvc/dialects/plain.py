"""The words and nothing else, as `text/plain`: for `curl`, and the AI SDK's text transport.

It has no word for how an answer ended. A tidy end therefore is a whole answer, and any other end breaks
the transfer off, behind the words that there are.
"""

from typing import ClassVar, assert_never

from typing_extensions import override

from streamsvc.dialects.base import BrokenOff, Dialect, Encoder, Ends
from streamsvc.events import Done, Progress, Reasoning, Record, Restart, Start, Status, Text


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
            case Start() | Reasoning() | Progress() | Done(status=Status.COMPLETED):
                return b""
            case Restart() | Done():
                raise BrokenOff
            case other:
                assert_never(other)
