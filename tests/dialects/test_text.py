"""Raw words: unchanged text, and all other events as in the native dialect."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.native.text import TextDialect
from streamsvc.events import (
    Event,
    Reasoning,
    Record,
    Text,
)
from support.events import RESTART, START, SWITCHING, WHOLE
from support.eventstream import parse

ENCODE = TextDialect().encode


@pytest.mark.promise("stream:word-by-word")
@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("FastAPI ", b"id: gen_a.1\ndata: FastAPI \n\n"),
        (" two leading", b"id: gen_a.1\ndata:  two leading\n\n"),
        ("a\nb", b"id: gen_a.1\ndata: a\ndata: b\n\n"),
        ("\n", b"id: gen_a.1\ndata: \ndata: \n\n"),
        ("a\r\nb\rc", b"id: gen_a.1\ndata: a\ndata: b\ndata: c\n\n"),
        ("é\U0001f980", "id: gen_a.1\ndata: é\U0001f980\n\n".encode()),
    ],
)
def test_each_line_of_text_is_a_line_of_data(text: str, block: bytes) -> None:
    assert ENCODE(Record("gen_a", 1, Text(text))) == block


@pytest.mark.promise("stream:word-by-word")
@settings(deadline=None)
@given(text=st.text(min_size=1) | st.text(st.sampled_from("\r\n a:\0\ufeff\x85\u2028"), min_size=1))
@example(text="data: x\n\nevent: done\n\n")
@example(text="\r")
def test_browser_gets_any_text_with_normalized_line_ends(text: str) -> None:
    """A carriage return becomes a line feed: an event stream can carry nothing else."""
    (seen,) = parse(ENCODE(Record("gen_a", 1, Text(text))))
    assert seen.data == text.replace("\r\n", "\n").replace("\r", "\n")
    assert (seen.type, seen.last_event_id) == ("message", "gen_a.1")


@pytest.mark.parametrize("event", [START, Reasoning("a\nb"), SWITCHING, RESTART, WHOLE])
def test_other_events_are_as_in_the_native_dialect(event: Event) -> None:
    """They have names, so a page that listens only to messages gets only words."""
    record = Record("gen_a", 7, event)
    assert ENCODE(record) == NativeDialect().encode(record)
