"""The contract of the `Dialect` port, as checks that take any dialect.

They encode a stream as a viewer does: record by record, up to the first event of `ends` or a break.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from msgspec.structs import replace

from streamsvc.dialects.base import BrokenOff, Dialect, Encoder
from streamsvc.events import (
    Done,
    Event,
    Logprobs,
    Outcome,
    Reasoning,
    Record,
    Refusal,
    Restart,
    Status,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)
from support.events import FAILED, GENERATION, RESTART, RETRYING, START, WHOLE, done
from support.eventstream import EventStreamParser

Check = Callable[[Dialect], None]

OTHER = "gen_aaaaaaaa76rdyqdjg7zjvnyhiw4tmoj7"
WORDS = ("Words", " é\N{CRAB}\u2028", "data: x\n\nid: y\n\n", " end")

DONES = (
    WHOLE,
    done(Status.INCOMPLETE, "length"),
    done(Status.STOPPED, "stopped", Outcome.CLIENT_STOP),
    done(Status.STOPPED, "stopped", Outcome.NO_VIEWERS),
    FAILED,
)
CALLS: tuple[Event, ...] = (
    ToolCallBegun(index=0, id="call_a", name="look_up"),
    ToolCallArguments(0, '{"q":'),
    ToolCallArguments(0, ' "x"}'),
    ToolCallReady(index=0, id="call_a", name="look_up", arguments='{"q": "x"}'),
)
EVENTS: tuple[Event, ...] = (
    START,
    RETRYING,
    Reasoning("hm"),
    *map(Text, WORDS),
    Refusal("no"),
    Logprobs(({"token": "a", "logprob": -0.5},)),
    *CALLS,
    RESTART,
    *DONES,
)
WRITING: tuple[Event, ...] = (START, RETRYING, Reasoning("hm"), *map(Text, WORDS))
ANSWERS: tuple[tuple[Event, ...], ...] = tuple((*WRITING, last) for last in (*DONES, RESTART))

CONTRACT: list[Check] = []


def contract(check: Check) -> Check:
    """Add a check to the contract."""
    CONTRACT.append(check)
    return check


def records(events: Sequence[Event], generation: str = GENERATION) -> list[Record]:
    """Return events as the records of a log."""
    return [Record(generation, seq, event) for seq, event in enumerate(events)]


def frames(dialect: Dialect, events: Sequence[Event]) -> tuple[list[bytes], bool]:
    """Return the frames of a stream, and whether it ends tidily."""
    encoder = dialect.encoder()
    made: list[bytes] = []
    for record in records(events):
        try:
            made.append(encoder.encode(record))
        except BrokenOff:
            return made, False
        if type(record.event) in dialect.ends:
            break
    return made, True


def is_event_stream(dialect: Dialect) -> bool:
    """Return whether the format is server-sent events."""
    return dialect.media_type == "text/event-stream"


def blocks(stream: bytes) -> int:
    """Count the whole blocks of an event stream."""
    return len(EventStreamParser().feed(stream))


@contract
def every_type_of_event_is_handled(dialect: Dialect) -> None:
    """It becomes bytes or a break; nothing else is raised."""
    assert {type(event) for event in EVENTS} == set(get_args(Event))
    for event in EVENTS:
        encoder = dialect.encoder()
        for before in (START, *CALLS[:1]):
            encoder.encode(Record(GENERATION, 0, before))
        try:
            frame = encoder.encode(Record(GENERATION, 1, event))
        except BrokenOff:
            assert type(event) in dialect.ends
        else:
            assert type(frame) is bytes


@contract
def each_text_is_sent_at_once(dialect: Dialect) -> None:
    """Each text gets a frame of its own, and no part of it waits for the next one."""
    for number, frame in enumerate(frames(dialect, WRITING)[0][3:]):
        assert frame
        if not is_event_stream(dialect):
            assert frame == WORDS[number].encode()


@contract
def frames_are_whole_blocks(dialect: Dialect) -> None:
    """A keepalive between two frames splits no block."""
    if not is_event_stream(dialect):
        return
    for answer in ANSWERS:
        made, _ = frames(dialect, answer)
        for frame in made:
            assert not frame or frame.endswith(b"\n\n")
        assert b"\r" not in b"".join(made)
        assert sum(map(blocks, made)) == blocks(b"".join(made)) > 0


@contract
def json_is_one_line_to_every_client(dialect: Dialect) -> None:
    """Some clients split at more than LF, so JSON has no such characters; raw text may have them."""
    if not is_event_stream(dialect):
        return
    for answer in ANSWERS:
        for frame in frames(dialect, answer)[0]:
            for line in frame.decode().split("\n"):
                assert len(line.splitlines()) <= 1 or not line.endswith("}")


@contract
def answer_has_one_end_and_it_is_last(dialect: Dialect) -> None:
    """The end is a frame or a break, and only a whole answer ends like a whole answer."""
    assert Done in dialect.ends
    seen = {}
    for last in DONES:
        made, is_tidy = frames(dialect, (*WRITING, last))
        assert len(made) == len(WRITING) + is_tidy
        seen[last.status, last.outcome] = (made[len(WRITING) :], is_tidy)
    whole = seen.pop((Status.COMPLETED, Outcome.COMPLETED))
    assert whole[1]
    assert whole not in seen.values()


@contract
def restarted_answer_continues_or_ends(dialect: Dialect) -> None:
    """A dialect that cannot take words back ends the stream, but not like a whole answer."""
    made, is_tidy = frames(dialect, (*WRITING, RESTART, Text("Other"), WHOLE))
    if Restart in dialect.ends:
        assert len(made) == len(WRITING) + is_tidy
        whole, _ = frames(dialect, (*WRITING, WHOLE))
        assert not is_tidy or made != whole
    else:
        assert dialect.is_resumable  # its clients clear their text at a `restart`
        assert is_tidy
        assert len(made) == len(WRITING) + 3
        assert made[len(WRITING)]


@contract
def keepalive_changes_nothing(dialect: Dialect) -> None:
    """Between any two frames it adds no event and changes none."""
    assert is_event_stream(dialect) or not dialect.keepalive
    if not is_event_stream(dialect):
        return
    assert dialect.keepalive.startswith(b":")
    assert dialect.keepalive.endswith(b"\n")
    assert dialect.keepalive.count(b"\n") == 1
    made, _ = frames(dialect, ANSWERS[0])
    quiet, kept = EventStreamParser(), EventStreamParser()
    plain = quiet.feed(b"".join(made))
    with_it = kept.feed(dialect.keepalive.join((b"", *made, b"")))
    assert [(it.type, it.data) for it in with_it] == [(it.type, it.data) for it in plain]
    assert kept.last_event_id == quiet.last_event_id


@contract
def lost_stream_ends_as_a_failure(dialect: Dialect) -> None:
    """Whole blocks, or a break; never the end of a whole answer."""
    try:
        end = dialect.lost(GENERATION)
    except BrokenOff:
        return
    assert end
    assert not is_event_stream(dialect) or end.endswith(b"\n\n")
    assert end != frames(dialect, (*WRITING, WHOLE))[0][-1]
    assert b"not_resumable" in end or b"gone" in end or b"error" in end


@contract
def interrupted_stream_never_looks_complete(dialect: Dialect) -> None:
    """A break, at which a client that can resume does so, or whole blocks without an id that say `interrupted`."""
    try:
        end = dialect.interrupted()
    except BrokenOff:
        return
    assert not dialect.is_resumable
    assert not is_event_stream(dialect) or end.endswith(b"\n\n")
    assert b"interrupted" in end


@contract
def only_resumable_dialects_have_ids(dialect: Dialect) -> None:
    """A resumable dialect gives each block the id of its record."""
    if not is_event_stream(dialect):
        assert not dialect.is_resumable
        return
    parser = EventStreamParser()
    for seq, frame in enumerate(frames(dialect, ANSWERS[0])[0]):
        for event in parser.feed(frame):
            expected = f"{GENERATION}.{seq}" if dialect.is_resumable else ""
            assert event.last_event_id == expected
    (*_, lost) = parser.feed(dialect.lost(GENERATION))
    assert bool(lost.last_event_id) == dialect.is_resumable


@contract
def resumed_stream_continues_with_the_same_bytes(dialect: Dialect) -> None:
    """A resumable dialect keeps no state from earlier records."""
    if not dialect.is_resumable:
        return
    whole = [dialect.encoder().encode(record) for record in records(ANSWERS[0])]
    for after in range(len(whole)):
        encoder = dialect.encoder()
        assert [encoder.encode(it) for it in records(ANSWERS[0])[after:]] == whole[after:]


@contract
def concurrent_streams_are_independent(dialect: Dialect) -> None:
    """Two streams encoded in turns give the same frames as each alone."""
    other = records((replace(START, generation=OTHER), *WRITING[1:]), OTHER)
    alone = list(_encoded(dialect.encoder(), other))
    first, second = dialect.encoder(), dialect.encoder()
    turns = zip(records(WRITING), other, strict=True)
    mixed = [(first.encode(mine), second.encode(theirs)) for mine, theirs in turns]
    assert [mine for mine, _ in mixed] == frames(dialect, WRITING)[0]
    assert [theirs for _, theirs in mixed] == alone


@contract
def same_records_give_the_same_frames(dialect: Dialect) -> None:
    """For every viewer, and for equal records."""
    shared = records(WRITING)
    first = list(_encoded(dialect.encoder(), shared))
    assert list(_encoded(dialect.encoder(), shared)) == first
    assert list(_encoded(dialect.encoder(), records(WRITING))) == first


@contract
def header_names_are_lower_case_and_values_latin_1(dialect: Dialect) -> None:
    """They go out unchanged, next to the headers of every stream."""
    for name, value in dialect.headers.items():
        assert name == name.lower()
        assert value.encode("latin-1")


def _encoded(encoder: Encoder, given: Sequence[Record]) -> Iterator[bytes]:
    return map(encoder.encode, given)
