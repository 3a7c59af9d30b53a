"""The native dialect, byte for byte: a browser's parser returns what was encoded, and nothing else."""

import re

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.sse import EVENT_NAMES, KEEPALIVE, json_line, preamble
from streamsvc.engine.ids import new_id
from streamsvc.events import (
    Done,
    Event,
    Logprobs,
    Outcome,
    Progress,
    PublicError,
    Reasoning,
    Record,
    Refusal,
    Restart,
    Start,
    Status,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)
from streamsvc.events import Text as TextEvent
from support.events import FAILED, GENERATION, RESTART, START, SWITCHING
from support.eventstream import EventStreamParser, parse

ENCODE = NativeDialect().encode
LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""All characters that Unicode (Standard Annex 14) or Python treats as the end of a line."""

texts = st.text(min_size=1) | st.text(
    st.sampled_from(LINE_ENDS + ' :a"\\\0\ufeff\U0001f980'), min_size=1
)
events = st.one_of(
    st.builds(TextEvent, texts),
    st.builds(Reasoning, texts),
    st.builds(
        Start,
        generation=st.just(GENERATION),
        provider=texts,
        model=texts,
        created=st.integers(0, 2**40),
        metadata=st.dictionaries(texts, texts, max_size=3),
    ),
    st.builds(Refusal, texts),
    st.builds(ToolCallBegun, index=st.integers(0, 127), id=texts, name=texts),
    st.builds(ToolCallArguments, st.integers(0, 127), texts),
    st.builds(ToolCallReady, index=st.integers(0, 127), id=texts, name=texts, arguments=texts),
    st.builds(Logprobs, st.just(({"token": "a", "logprob": -0.5},))),
    st.builds(
        Progress,
        dropped_parameters=st.lists(texts, max_size=2).map(tuple),
        adjusted_parameters=st.dictionaries(texts, texts, max_size=2),
    ),
    st.from_type(Restart),
    st.builds(
        Done,
        status=st.sampled_from(Status),
        finish_reason=st.just("stop"),
        outcome=st.sampled_from(Outcome),
        provider=texts,
        model=texts,
        error=st.none() | st.from_type(PublicError),
        provider_data=st.just(msgspec.UNSET) | st.just({"google": {"a": "b"}}),
    ),
)


@pytest.mark.promise("stream:word-by-word")
@pytest.mark.parametrize(
    ("seq", "event", "block"),
    [
        (
            0,
            START,
            b"id: %b.0\nevent: start\n"
            b'data: {"type":"start","generation":"%b","provider":"fake","model":"words",'
            b'"created":1795305600}\n\n' % (GENERATION.encode(), GENERATION.encode()),
        ),
        (
            1,
            TextEvent("FastAPI "),
            b'id: %b.1\ndata: {"type":"text","text":"FastAPI "}\n\n' % GENERATION.encode(),
        ),
        (
            2,
            Reasoning("hm"),
            b'id: %b.2\nevent: reasoning\ndata: {"type":"reasoning","text":"hm"}\n\n'
            % GENERATION.encode(),
        ),
        (
            3,
            SWITCHING,
            b'id: %b.3\nevent: status\ndata: {"type":"status","state":"switching",'
            b'"provider":"other","reason":"upstream_cut"}\n\n' % GENERATION.encode(),
        ),
        (
            4,
            RESTART,
            b'id: %b.4\nevent: restart\ndata: {"type":"restart","reason":"upstream_cut",'
            b'"provider":"other","model":"words"}\n\n' % GENERATION.encode(),
        ),
        (
            5,
            FAILED,
            b"id: %b.5\nevent: done\n"
            b'data: {"type":"done","status":"failed","finish_reason":"error",'
            b'"provider_finish_reason":null,"outcome":"upstream_cut","provider":"fake",'
            b'"model":"words","usage":null,"error":{"code":"upstream_cut",'
            b'"message":"It broke off.","retryable":true}}\n\n' % GENERATION.encode(),
        ),
    ],
    ids=["start", "text", "reasoning", "status", "restart", "done"],
)
def test_record_is_one_block_of_id_name_and_json(seq: int, event: Event, block: bytes) -> None:
    assert ENCODE(Record(GENERATION, seq, event)) == block


@pytest.mark.promise("stream:word-by-word")
@settings(deadline=None)
@given(event=events, seq=st.integers(0, 10**12 - 1))
@example(event=TextEvent("\r\n\n\r"), seq=1)
@example(event=TextEvent("data: x\n\nid: y\nevent: done\n\n"), seq=1)
@example(event=TextEvent("\ufeff"), seq=1)
def test_any_event_reaches_a_browser_unchanged(event: Event, seq: int) -> None:
    """Encoded, parsed by the standard and decoded, it is the same event."""
    (seen,) = parse(ENCODE(Record(GENERATION, seq, event)))
    assert msgspec.json.decode(seen.data, type=Event) == event
    assert seen.last_event_id == f"{GENERATION}.{seq}"


@settings(deadline=None)
@given(event=events)
def test_payload_is_one_line_however_a_client_splits(event: Event) -> None:
    """Some clients split at more than LF and CR: at U+2028, U+2029, U+0085 and control characters."""
    lines = ENCODE(Record(GENERATION, 1, event)).decode().split("\n")
    assert all(len(line.splitlines()) == 1 for line in lines if line)
    assert lines[-2:] == ["", ""]


@pytest.mark.parametrize("character", LINE_ENDS)
def test_characters_that_some_clients_split_at_are_escaped(character: str) -> None:
    line = json_line({"text": f"é{character}é"})
    assert character not in line.decode()
    assert msgspec.json.decode(line) == {"text": f"é{character}é"}


def test_other_text_is_not_escaped() -> None:
    """UTF-8 is shorter, and readable with curl."""
    assert json_line("é \U0001f980 ￿") == '"é \U0001f980 ￿"'.encode()


def test_only_text_is_unnamed_and_no_name_is_reserved() -> None:
    """`onmessage` gets all text and nothing else; `error` and `open` are connection events."""
    assert [event for event, name in EVENT_NAMES.items() if not name] == [TextEvent]
    names = {name for name in EVENT_NAMES.values() if name}
    tools = {it for it, name in EVENT_NAMES.items() if name == b"event: tool\n"}
    assert tools == {ToolCallBegun, ToolCallArguments, ToolCallReady}
    assert len(names) == len(EVENT_NAMES) - len(tools)
    for name in names:
        assert re.fullmatch(rb"event: [a-z]+\n", name)
        assert name not in {b"event: error\n", b"event: open\n", b"event: message\n"}


@settings(deadline=None)
@given(event=events)
def test_event_name_is_its_type(event: Event) -> None:
    """Except for text, and for tool calls, which have one name. A page can use either."""
    (seen,) = parse(ENCODE(Record(GENERATION, 0, event)))
    kind = seen.json["type"]
    kind = "tool" if kind.startswith("tool_call") else kind
    assert seen.type == ("message" if kind == "text" else kind)


@settings(deadline=None)
@given(seq=st.integers(0, 10**12 - 1))
def test_ids_are_short_and_need_no_quoting(seq: int) -> None:
    """They serve as cursors in addresses."""
    (seen,) = parse(ENCODE(Record(new_id(), seq, TextEvent("a"))))
    assert re.fullmatch(r"[A-Za-z0-9._-]+", seen.last_event_id)
    assert len(seen.last_event_id.encode()) < 64


@pytest.mark.promise("alive:ping")
def test_keepalive_between_blocks_changes_nothing() -> None:
    """It is not an event, and does not change the cursor."""
    parser = EventStreamParser()
    text = ENCODE(Record(GENERATION, 1, TextEvent("a")))
    done = ENCODE(Record(GENERATION, 2, FAILED))
    stream = preamble(2000) + text + KEEPALIVE * 3 + done + KEEPALIVE
    assert [event.seq for event in parser.feed(stream)] == [1, 2]
    assert parser.retry_ms == 2000
    assert KEEPALIVE.startswith(b":")
    assert KEEPALIVE.count(b"\n") == 1


def test_retry_line_is_part_of_the_first_block() -> None:
    """Some clients would read a block of its own as an empty event."""
    assert preamble(2000) == b"retry: 2000\n"


def test_client_that_keeps_no_half_line_can_ignore_the_event_for_webkit() -> None:
    (cut,) = parse(preamble(2000, cut_at=f"{GENERATION}.3"))
    assert (cut.type, cut.json, cut.last_event_id) == ("cut", {"type": "cut"}, f"{GENERATION}.3")


@pytest.mark.promise("resume:no-gap")
@settings(deadline=None)
@given(texts=st.lists(texts, min_size=2, max_size=5), data=st.data())
def test_webkit_gets_the_event_at_which_its_connection_broke(
    texts: list[str], data: st.DataObject
) -> None:
    """It reads on in the line and the event that broke off, but goes back to the id of the last whole event."""
    records = [Record(GENERATION, seq, TextEvent(text)) for seq, text in enumerate(texts)]
    blocks = [ENCODE(record) for record in records]
    whole = data.draw(st.integers(1, len(blocks) - 1))
    part = blocks[whole][: data.draw(st.integers(0, len(blocks[whole]) - 2))]
    cursor = f"{GENERATION}.{whole - 1}"
    rest = preamble(2000, cut_at=cursor) + b"".join(blocks[whole:])
    parser = EventStreamParser()
    before = parser.feed(preamble(2000) + b"".join(blocks[:whole]) + part)
    after = parser.feed(rest)
    assert after[0].type == "cut"
    assert after[0].last_event_id == cursor
    assert [event.json["text"] for event in (*before, *after[1:])] == texts


@pytest.mark.promise("resume:no-gap")
@settings(deadline=None)
@given(texts=st.lists(texts, min_size=1, max_size=5), data=st.data())
def test_stream_cut_anywhere_leaves_the_cursor_of_its_last_event(
    texts: list[str], data: st.DataObject
) -> None:
    """A block that is cut is not dispatched, so it comes whole after the reconnect."""
    records = [Record(GENERATION, seq, TextEvent(text)) for seq, text in enumerate(texts)]
    stream = preamble(2000) + b"".join(ENCODE(record) for record in records)
    parser = EventStreamParser()
    seen = parser.feed(stream[: data.draw(st.integers(0, len(stream)))])
    assert [event.json["text"] for event in seen] == texts[: len(seen)]
    assert parser.last_event_id == (f"{GENERATION}.{len(seen) - 1}" if seen else "")
