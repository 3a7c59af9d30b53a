"""The contract of every dialect, as checks that are given one; nothing here knows which it is.

A stream is encoded as a viewer does it: record by record, up to the first event of `ends`, or until it breaks off.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from msgspec.structs import replace

from streamsvc.dialects.base import BrokenOff, Dialect, Encoder
from streamsvc.events import (
    Done,
    Event,
    Outcome,
    Progress,
    PublicError,
    Reasoning,
    Record,
    Restart,
    Start,
    Status,
    Text,
)
from support.eventstream import EventStreamParser

Check = Callable[[Dialect], None]

GENERATION = "gen_cpnzhjd76rdyqdjg7zjvnyhiw4tmoj75"
OTHER = "gen_aaaaaaaa76rdyqdjg7zjvnyhiw4tmoj7"
WORDS = ("Words", " é\N{CRAB}\u2028", "data: x\n\nid: y\n\n", " end")

START = Start(generation=GENERATION, provider="fake", model="words", created=1795305600)
RETRYING = Progress(state="retrying", provider="fake", reason="provider_unavailable")
RESTART = Restart(reason="upstream_cut", provider="other", model="words")
WHOLE = Done(
    status=Status.COMPLETED,
    finish_reason="stop",
    outcome=Outcome.COMPLETED,
    provider="fake",
    model="words",
)
DONES = (
    WHOLE,
    replace(WHOLE, status=Status.INCOMPLETE, finish_reason="length"),
    replace(WHOLE, status=Status.STOPPED, finish_reason="stopped", outcome=Outcome.CLIENT_STOP),
    replace(WHOLE, status=Status.STOPPED, finish_reason="stopped", outcome=Outcome.NO_VIEWERS),
    replace(
        WHOLE,
        status=Status.FAILED,
        finish_reason="error",
        outcome=Outcome.UPSTREAM_CUT,
        error=PublicError("upstream_cut", "It broke off.", retryable=True),
    ),
)
EVENTS: tuple[Event, ...] = (START, RETRYING, Reasoning("hm"), *map(Text, WORDS), RESTART, *DONES)
WRITING: tuple[Event, ...] = (START, RETRYING, Reasoning("hm"), *map(Text, WORDS))
ANSWERS: tuple[tuple[Event, ...], ...] = tuple((*WRITING, last) for last in (*DONES, RESTART))

CONTRACT: list[Check] = []


def contract(check: Check) -> Check:
    """Add a check to the contract."""
    CONTRACT.append(check)
    return check


def records(events: Sequence[Event], generation: str = GENERATION) -> list[Record]:
    """Return events as a log has them."""
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
    """Tell whether the format is server-sent events."""
    return dialect.media_type == "text/event-stream"


def blocks(stream: bytes) -> int:
    """Count the whole blocks of an event stream."""
    return len(EventStreamParser().feed(stream))


@contract
def every_type_of_event_is_handled(dialect: Dialect) -> None:
    """Bytes, or a broken connection; never another exception."""
    assert {type(event) for event in EVENTS} == set(get_args(Event))
    for event in EVENTS:
        encoder = dialect.encoder()
        encoder.encode(Record(GENERATION, 0, START))
        try:
            frame = encoder.encode(Record(GENERATION, 1, event))
        except BrokenOff:
            assert type(event) in dialect.ends
        else:
            assert type(frame) is bytes


@contract
def words_are_sent_when_they_come(dialect: Dialect) -> None:
    """Each text has a frame of its own, and nothing of it waits for the next one."""
    for number, frame in enumerate(frames(dialect, WRITING)[0][3:]):
        assert frame
        if not is_event_stream(dialect):
            assert frame == WORDS[number].encode()


@contract
def a_frame_is_whole_blocks(dialect: Dialect) -> None:
    """What is written between two frames, such as a keepalive, cuts no block."""
    if not is_event_stream(dialect):
        return
    for answer in ANSWERS:
        made, _ = frames(dialect, answer)
        for frame in made:
            assert not frame or frame.endswith(b"\n\n")
        assert b"\r" not in b"".join(made)
        assert sum(map(blocks, made)) == blocks(b"".join(made)) > 0


@contract
def lines_are_what_every_client_takes_for_lines(dialect: Dialect) -> None:
    """Some split at more than LF, so JSON is one line to all of them; raw text cannot be."""
    if not is_event_stream(dialect):
        return
    for answer in ANSWERS:
        for frame in frames(dialect, answer)[0]:
            for line in frame.decode().split("\n"):
                assert len(line.splitlines()) <= 1 or not line.endswith("}")


@contract
def an_answer_has_one_end_and_it_is_last(dialect: Dialect) -> None:
    """The end is frames or a break, and differs between a whole answer and any other."""
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
def an_answer_that_starts_over_goes_on_or_ends(dialect: Dialect) -> None:
    """A dialect that cannot take words back ends; it does not end like a whole answer."""
    made, is_tidy = frames(dialect, (*WRITING, RESTART, Text("Other"), WHOLE))
    if Restart in dialect.ends:
        assert len(made) == len(WRITING) + is_tidy
        whole, _ = frames(dialect, (*WRITING, WHOLE))
        assert not is_tidy or made != whole
    else:
        assert dialect.is_resumable  # its clients know the event by which they clear their text
        assert is_tidy
        assert len(made) == len(WRITING) + 3
        assert made[len(WRITING)]


@contract
def a_keepalive_is_seen_by_nobody(dialect: Dialect) -> None:
    """Anywhere between two frames: no event, no change of what is read."""
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
def a_lost_stream_ends_as_a_failure(dialect: Dialect) -> None:
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
def ids_are_there_to_come_back_with_or_not_at_all(dialect: Dialect) -> None:
    """A resumable dialect gives each block the id of its record; no other gives any."""
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
def a_resumed_stream_goes_on_with_the_same_bytes(dialect: Dialect) -> None:
    """A resumable dialect needs no memory of what came before."""
    if not dialect.is_resumable:
        return
    whole = [dialect.encoder().encode(record) for record in records(ANSWERS[0])]
    for after in range(len(whole)):
        encoder = dialect.encoder()
        assert [encoder.encode(it) for it in records(ANSWERS[0])[after:]] == whole[after:]


@contract
def streams_do_not_disturb_one_another(dialect: Dialect) -> None:
    """Two streams encoded in turns have the frames that each has alone."""
    other = records((replace(START, generation=OTHER), *WRITING[1:]), OTHER)
    alone = list(_encoded(dialect.encoder(), other))
    first, second = dialect.encoder(), dialect.encoder()
    turns = zip(records(WRITING), other, strict=True)
    mixed = [(first.encode(mine), second.encode(theirs)) for mine, theirs in turns]
    assert [mine for mine, _ in mixed] == frames(dialect, WRITING)[0]
    assert [theirs for _, theirs in mixed] == alone


@contract
def the_same_records_give_the_same_frames(dialect: Dialect) -> None:
    """For every viewer, from the same record or one that is equal."""
    shared = records(WRITING)
    first = list(_encoded(dialect.encoder(), shared))
    assert list(_encoded(dialect.encoder(), shared)) == first
    assert list(_encoded(dialect.encoder(), records(WRITING))) == first


@contract
def names_of_header_fields_are_lower_case_and_latin(dialect: Dialect) -> None:
    """They go out as they are, beside those of every stream."""
    for name, value in dialect.headers.items():
        assert name == name.lower()
        assert value.encode("latin-1")


def _encoded(encoder: Encoder, given: Sequence[Record]) -> Iterator[bytes]:
    return map(encoder.encode, given)
