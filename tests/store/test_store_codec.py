"""What is stored comes back as it was, and what cannot be read is refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.eventlog.base import BEFORE_FIRST, EPOCH_SEQS
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
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
    Usage,
)
from streamsvc.store import codec

words = st.text(st.characters(codec="utf-8"))
pairs = st.dictionaries(words, words, max_size=2)
names = st.lists(words, max_size=2).map(tuple)
numbers = st.integers(0, 2**70)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | words | st.floats(-1, 1),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(words, values, max_size=2)
lists = st.lists(values, max_size=2).map(tuple)
adjusted = {"dropped_parameters": names, "adjusted_parameters": pairs}

events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Text, words),
    st.builds(Reasoning, words),
    st.builds(Refusal, words),
    st.builds(Logprobs, lists, lists),
    st.builds(ToolCallBegun, index=numbers, id=words, name=words),
    st.builds(ToolCallArguments, index=numbers, arguments=words),
    st.builds(
        ToolCallReady, index=numbers, id=words, name=words, arguments=words, provider_data=objects
    ),
    st.builds(Restart, reason=words, provider=words, model=words),
    st.builds(
        Progress,
        state=st.sampled_from(["retrying", "switching"]),
        provider=words,
        reason=words,
        **adjusted,
    ),
    st.builds(
        Start,
        generation=words,
        provider=words,
        model=words,
        created=numbers,
        metadata=pairs,
        **adjusted,
    ),
    st.builds(
        Done,
        status=st.sampled_from(Status),
        finish_reason=st.sampled_from(["stop", "error", "stopped"]),
        outcome=st.sampled_from(Outcome),
        provider=words,
        model=words,
        usage=st.none() | st.builds(Usage, input_tokens=numbers, output_tokens=numbers),
        error=st.none() | st.builds(PublicError, words, words, st.booleans()),
        provider_data=st.just(msgspec.UNSET) | objects,
    ),
)


@pytest.mark.promise("content:exact")
@given(events)
def test_every_event_comes_back(event: Event) -> None:
    assert codec.decode(codec.encode(event).encode()) == event


@given(words)
def test_the_bare_text_of_a_log_is_stored_as_its_event(text: str) -> None:
    assert codec.encode(text) == codec.encode(Text(text))


@given(st.integers(0, 999 * EPOCH_SEQS))
def test_a_record_number_is_its_id_in_the_store(seq: int) -> None:
    """Redis has no entry 0-0, and reads the entries after an id."""
    name = codec.stream_id(seq).encode()
    assert codec.records("g", [(name, [b"e", b"ta"])]) == [Record("g", seq, Text("a"))]
    parts = [int(part) for part in name.split(b"-")]
    before = [int(part) for part in codec.stream_id(seq - 1).split("-")]
    assert before < parts
    assert codec.stream_id(BEFORE_FIRST) == "0-0"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (b"1-0", [b"e", b'e{"type":"event_of_a_later_version"}']),
        (b"1-0", [b"e", b"e{"]),
        (b"1-0", [b"e", b"t\xff"]),
        (b"1-0", [b"e", b"\xff"]),
        (b"1-0", [b"e", b""]),
        (b"x", [b"e", b"ta"]),
        (b"1-0", [b"e"]),
    ],
)
def test_what_is_not_ours_is_refused(name: bytes, fields: list[bytes]) -> None:
    with pytest.raises(codec.RecordUnreadable):
        codec.records("g", [(name, fields)])
