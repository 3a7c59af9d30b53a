"""The parser that stands for a browser in these tests keeps to the standard."""

import pytest

from support.eventstream import EventStreamParser


@pytest.mark.parametrize(
    ("stream", "events", "last_event_id"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10")], ""),
        (b": c\n\ndata: a\nid: 1\n\ndata:b\nid\n\ndata:  c", [("message", "a"), ("message", "b")], ""),
        (b"data\n\ndata\ndata\n\ndata:", [("message", ""), ("message", "\n")], ""),
        (b"data:test\n\ndata: test\n\n", [("message", "test"), ("message", "test")], ""),
        (b"\xef\xbb\xbfevent: x\r\ndata: \xc3\xa9\r\rdata: y\n\n", [("x", "é"), ("message", "y")], ""),
        (b"id: 7\n\nevent: lost\n\ndata: a\n\nid: 8\ndata: b\n", [("message", "a")], "7"),
        (b"id: 1\ndata: a\n\nid: \0\nretry: 1x\nretry: 9\ndata: b\n\n", [("message", "a"), ("message", "b")], "1"),
    ],
)  # fmt: skip
def test_parser_follows_the_html_standard(
    stream: bytes, events: list[tuple[str, str]], last_event_id: str
) -> None:
    """The examples and corner cases of HTML 9.2.6, with the bytes in any pieces."""
    for size in (1, 2, 3, len(stream)):
        parser = EventStreamParser()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        seen = [event for piece in pieces for event in parser.feed(piece)]
        assert [(event.type, event.data) for event in seen] == events
        assert parser.last_event_id == last_event_id
        assert parser.retry_ms == (9 if b"retry: 9" in stream else None)
