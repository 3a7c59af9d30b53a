"""Plain text: the words, and a tidy end only after a whole answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.dialects.base import BrokenOff
from streamsvc.dialects.plain.frames import PlainDialect
from streamsvc.events import (
    Event,
    Outcome,
    PublicError,
    Reasoning,
    Record,
    Status,
    Text,
)
from support.events import FAILED, RESTART, RETRYING, START, WHOLE, done

DIALECT = PlainDialect()
ENCODE = DIALECT.encode


@pytest.mark.promise("stream:word-by-word")
@settings(deadline=None)
@given(text=st.text(min_size=1))
def test_any_text_is_sent_unchanged(text: str) -> None:
    assert ENCODE(Record("gen_a", 1, Text(text))).decode() == text


@pytest.mark.parametrize(
    "event",
    [
        START,
        Reasoning("a"),
        RETRYING,
        WHOLE,
    ],
)
def test_all_other_events_send_nothing(event: Event) -> None:
    assert ENCODE(Record("gen_a", 1, event)) == b""
    assert DIALECT.keepalive == b""


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    "event",
    [RESTART, *(done(status) for status in Status if status is not Status.COMPLETED)],
    ids=lambda event: getattr(event, "status", "restart"),
)
def test_answer_that_is_not_whole_breaks_off(event: Event) -> None:
    with pytest.raises(BrokenOff):
        ENCODE(Record("gen_a", 1, event))


LINE = PlainDialect("e-1")


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    ("event", "line"),
    [
        (WHOLE, "completed"),
        (done(Status.INCOMPLETE, finish_reason="length"), "incomplete length"),
        (
            done(Status.INCOMPLETE, error=PublicError("content_filter", "", retryable=False)),
            "incomplete content_filter",
        ),
        (FAILED, "failed upstream_cut"),
        (done(Status.STOPPED, outcome=Outcome.NO_VIEWERS), "stopped no_viewers"),
        (RESTART, "failed upstream_cut"),
    ],
)
def test_last_line_says_how_the_answer_ended(event: Event, line: str) -> None:
    assert LINE.encode(Record("gen_a", 1, event)) == f"\ne-1 {line}\n".encode()


@pytest.mark.promise("resume:honest")
def test_last_line_says_that_the_stream_is_lost() -> None:
    assert LINE.lost("gen_a") == b"\ne-1 failed not_resumable\n"
    assert LINE.interrupted() == b"\ne-1 failed interrupted\n"


@pytest.mark.promise("resume:honest")
def test_lost_stream_breaks_off() -> None:
    with pytest.raises(BrokenOff):
        DIALECT.lost("gen_a")
