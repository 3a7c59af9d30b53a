"""The text and nothing else, as `text/plain`: for `curl`, and for the AI SDK's text transport.

The format cannot say how an answer ended. So the transfer ends normally after a complete answer, and breaks off
after the text so far in any other case. Several proxies turn that into a normal end. A client that must know
chooses a word: the last line begins with it, and says how the answer ended.
"""

from typing import ClassVar, assert_never

from typing_extensions import override

from streamsvc.dialects.base import BrokenOff, Dialect, Encoder, Ends
from streamsvc.errors import CursorLost
from streamsvc.events import (
    Done,
    Logprobs,
    Progress,
    Reasoning,
    Record,
    Refusal,
    Restart,
    Start,
    Status,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)
from streamsvc.provider_errors import UpstreamCut

_CALL = "[The model calls the tool {}; plain text cannot show a tool call.]\n"
"""The line for a tool call; a client that uses tools should choose another format."""


class PlainDialect(Dialect, Encoder):
    """Encodes all streams that have the same `end`.

    Args:
        end: the word that begins the last line, one that no answer contains; empty: no such line.
    """

    name = "plain"
    media_type = "text/plain"
    keepalive = b""
    ends: ClassVar[Ends] = (Done, Restart)

    def __init__(self, end: str = "") -> None:
        self._end = end

    @override
    def encoder(self) -> Encoder:
        return self

    @override
    def lost(self, generation: str) -> bytes:
        return self._last_line(Status.FAILED, CursorLost.code)

    @override
    def interrupted(self) -> bytes:
        return self._last_line(Status.FAILED, "interrupted")

    @override
    def encode(self, record: Record) -> bytes:
        match record.event:
            case Text(text=text) | Refusal(text=text):
                return text.encode()
            case ToolCallReady(name=name):
                one_line = " ".join(name.splitlines())  # a name could forge the last line
                return _CALL.format(one_line).encode()
            case (
                Start()
                | Reasoning()
                | Logprobs()
                | ToolCallBegun()
                | ToolCallArguments()
                | Progress()
            ):
                return b""
            case Restart():  # text that was sent cannot be taken back
                return self._last_line(Status.FAILED, UpstreamCut.code)
            case Done(status=status) as done:
                return self._last_line(status, _reason(done))
            case other:
                assert_never(other)

    def _last_line(self, status: Status, reason: str) -> bytes:
        """Return the last line, or nothing after a complete answer if there is no `end`.

        Raises:
            BrokenOff: the answer is incomplete, and there is no `end` to say so.
        """
        if self._end:
            return f"\n{self._end} {status.value} {reason}".rstrip().encode() + b"\n"
        if status is Status.COMPLETED:
            return b""
        raise BrokenOff


def _reason(done: Done) -> str:
    """Return why an answer is incomplete, in one word; empty for a complete one."""
    if done.status is Status.COMPLETED:
        return ""
    if done.error is not None:
        return done.error.code
    return done.outcome.value if done.status is Status.STOPPED else done.finish_reason
