"""Blocks of an event stream (HTML, section 9.2), and the names that the native API gives its events."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from streamsvc.errors import CursorLost, RequestError
from streamsvc.events import (
    Done,
    Event,
    Logprobs,
    Progress,
    PublicError,
    Reasoning,
    Refusal,
    Restart,
    Start,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)

EVENT_NAMES: Mapping[type[Event], bytes] = {
    Start: b"event: start\n",
    Text: b"",
    Reasoning: b"event: reasoning\n",
    Refusal: b"event: refusal\n",
    Logprobs: b"event: logprobs\n",
    ToolCallBegun: b"event: tool\n",
    ToolCallArguments: b"event: tool\n",
    ToolCallReady: b"event: tool\n",
    Restart: b"event: restart\n",
    Progress: b"event: status\n",
    Done: b"event: done\n",
}
"""The `event` line of each event. Text has none, so that `onmessage` gets all text and nothing else."""


class Gone(msgspec.Struct, frozen=True, tag="done", tag_field="type"):
    """The `done` of a stream that cannot be resumed, or opened: nothing else is known of its answer."""

    status: Literal["failed"] = "failed"
    finish_reason: Literal["error"] = "error"
    usage: None = None
    error: PublicError = PublicError(CursorLost.code, CursorLost.message, retryable=True)


KEEPALIVE = b": ka\n"
"""A lone comment line. Several client libraries take a blank line after it for an empty event."""

encode_json = msgspec.json.Encoder().encode
"""Encodes a value as JSON. `one_line` makes it safe for clients that split lines at more than LF."""


def one_line(json: bytes) -> bytes:
    r"""Return JSON that every client takes for one line.

    Some clients end lines at U+0085, U+2028 or U+2029, so these are escaped. JSON contains no other line end: it
    escapes all control characters up to U+001F (RFC 8259, section 7).
    """
    json = json.replace(b"\xc2\x85", b"\\u0085")
    return json.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")


def json_line(value: object) -> bytes:
    """Return *value* as JSON that every client takes for one line."""
    json = encode_json(value)
    return json if json.isascii() else one_line(json)


def data_block(value: object) -> bytes:
    """Return a block with data but no id and no name."""
    return b"data: %b\n\n" % json_line(value)


def preamble(retry_ms: int, *, cut_at: str = "") -> bytes:
    """Return the `retry` line; it is part of the first block of a connection.

    Args:
        retry_ms: the reconnection time.
        cut_at: the cursor of a WebKit whose last connection broke; "" for any other client. WebKit puts the first line
            after what it has of a line that broke off, and what follows into the same event, which would be lost (seen
            with WebKitGTK 2.50.6). So the line ends as a comment would, and the event gets a name that nobody listens
            to, and the id of the last whole one.
    """
    retry = b"retry: %d\n" % retry_ms
    if not cut_at:
        return retry
    return b':\nevent: cut\nid: %b\ndata: {"type":"cut"}\n\n%b' % (cut_at.encode(), retry)


def lost_block(generation: str, because: type[CursorLost] | RequestError = CursorLost) -> bytes:
    """Return the block that says why there is no stream, such as a cursor that cannot be honoured.

    It is not a record of any log, so its id has the word `gone` instead of a number.
    """
    gone = Gone(error=PublicError(because.code, because.message, retryable=True))
    return b"id: %b.gone\nevent: done\ndata: %b\n\n" % (generation.encode(), json_line(gone))
