"""The decoder of upstreams' event streams: the HTML Living Standard, section 9.2.6, in bytes."""

import codecs
import time
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamsvc.providers.http.errors import LineTooLong
from streamsvc.providers.http.eventstream import EventStreamDecoder

BOUND = 1024
deterministic = settings(max_examples=150, deadline=None, derandomize=True, database=None)

line_ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
values = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
blocks = st.lists(st.lists(values, min_size=1, max_size=3), max_size=6)
"""Each block is the values of its `data` lines."""

streams = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from(
            [
                b"data:",
                b"data: ",
                b"data",
                b"d",
                b" ",
                b":",
                b"\n",
                b"\r",
                b"\r\n",
                b"x" * 9,
                b"id: 7",
            ]
        ),
        max_size=40,
    ).map(b"".join),
)
"""Arbitrary bytes, and bytes that are almost an event stream."""


def decode(chunks: Iterable[bytes], *, bound: int = BOUND) -> tuple[list[bytes], bool]:
    """Return the payloads, and whether the bound was exceeded."""
    decoder = EventStreamDecoder(bound)
    payloads: list[bytes] = []
    try:
        for chunk in chunks:
            payloads += (payload for payload in decoder.feed(chunk))
    except LineTooLong:
        return payloads, True
    return payloads, False


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Cut *data* at these offsets; pieces may be empty."""
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(blocks, line_ends, st.lists(st.integers(0, 500), max_size=20))
@deterministic
def test_payloads_survive_any_line_ends_and_chunks(
    blocks: list[list[str]], line_end: bytes, cuts: list[int]
) -> None:
    data = b"".join(
        b"".join(b"data: %b%b" % (value.encode(), line_end) for value in block) + line_end
        for block in blocks
    )
    payloads, _ = decode(split(data, cuts), bound=10_000)
    assert payloads == ["\n".join(block).encode() for block in blocks]


@given(streams, st.lists(st.integers(0, 500), max_size=20))
@example(b"data: a\r\ndata: b\r\n\r\n", list(range(30)))
@example(b"data: a\r\rdata: b\n\r", list(range(30)))
@deterministic
def test_any_split_of_the_bytes_gives_the_same_payloads(data: bytes, cuts: list[int]) -> None:
    whole = decode([data])
    assert decode(split(data, cuts)) == whole
    assert decode(data[at : at + 1] for at in range(len(data))) == whole


@given(streams, st.lists(st.integers(0, 500), max_size=20), st.integers(1, 40))
@deterministic
def test_any_split_of_the_bytes_meets_the_same_bound(
    data: bytes, cuts: list[int], bound: int
) -> None:
    assert decode(split(data, cuts), bound=bound) == decode([data], bound=bound)


@pytest.mark.parametrize(
    ("data", "payloads"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a \n\n", [b" a "]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:\n\n", [b""]),
        (b"data: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b": ka\n\n: ka\ndata: a\n: ka\n\n", [b"a"]),
        (b"id: 7\nevent: x\nretry: 1\ndata: a\n\n", [b"a"]),
        (b"database: a\ndat: b\n data: c\nData: d\n\n", []),
        (b"data: a", []),
        (b"data: a\n", []),
        (b"data: [DONE]\r\n\r\n", [b"[DONE]"]),
        ("data: \u2028\u0085\v\f\n\n".encode(), ["\u2028\u0085\v\f".encode()]),
        (codecs.BOM_UTF8 + b"data: a\n\n", [b"a"]),
        (b"data: a\n\n" + codecs.BOM_UTF8 + b"data: b\n\n", [b"a"]),
        (b"data: \xff\xfe\n\n", [b"\xff\xfe"]),
    ],
)
def test_the_rules_of_the_standard_hold(data: bytes, payloads: list[bytes]) -> None:
    assert decode([data]) == (payloads, False)


@pytest.mark.parametrize("ends", [b"\n", b"\r", b"\r\n"])
def test_payload_comes_with_the_first_byte_that_ends_its_block(ends: bytes) -> None:
    """A word that waits for the next one would be a token late."""
    decoder = EventStreamDecoder(BOUND)
    assert list(decoder.feed(b"data: a" + ends + ends)) == [b"a"]
    assert list(decoder.feed(b"data: b" + ends)) == []
    assert list(decoder.feed(ends[:1])) == [b"b"]


@pytest.mark.parametrize("piece_bytes", [1, 7, BOUND * 2])
def test_line_may_be_exactly_as_long_as_the_bound(piece_bytes: int) -> None:
    line = b"data: ".ljust(BOUND, b"x")
    for data, is_over in ((line + b"\n\n", False), (line + b"x\n\n", True)):
        pieces = (data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes))
        payloads, met = decode(pieces)
        assert met is is_over
        assert payloads == ([] if is_over else [line[6:]])


@pytest.mark.parametrize("line", [b"data: 123\n", b"data: 123", b": 123"])
def test_unfinished_line_is_bounded(line: bytes) -> None:
    """An endless line or block cannot fill the memory."""
    payloads, met = decode([line] * BOUND)
    assert (payloads, met) == ([], True)


def test_what_is_not_held_is_not_bounded() -> None:
    payloads, met = decode([b"data: a\n\n", b": a comment\n\n"] * BOUND)
    assert (payloads, met) == ([b"a"] * BOUND, False)


def test_small_pieces_of_a_long_line_cost_no_more() -> None:
    """Buffered pieces are neither copied nor counted again for each piece: the last cost as much as the first."""
    decoder = EventStreamDecoder(100_000_000)
    assert not list(decoder.feed(b"data: "))

    def seconds(pieces: int) -> float:
        began = time.process_time()
        for _ in range(pieces):
            assert not list(decoder.feed(b"x"))
        return time.process_time() - began

    first = seconds(1_000)
    assert not list(decoder.feed(b"x" * 32_000_000))
    seconds(20_000)
    assert seconds(1_000) < 20 * first
    assert [len(payload) for payload in decoder.feed(b"\n\n")] == [32_022_000]


@pytest.mark.parametrize(
    ("block", "payload"),
    [
        (b'event: error\ndata: {"code": 1}\n\n', b'{"error":{"code": 1}}'),
        (b'data: {"code": 1}\nevent:error\n\n', b'{"error":{"code": 1}}'),
        (b'error: {"code": 1}\n\n', b'{"error":{"code": 1}}'),
        (b"event: error\ndata: no\ndata: way\n\n", b'{"error":"no\\nway"}'),
        (b"error: no\n\n", b'{"error":"no"}'),
        (b"event: error\n\n", b'{"error":true}'),
        (b"event: error\ndata: {}\n\n", b'{"error":true}'),
        (b"event: error\ndata: \xff\n\n", b'{"error":"\\ufffd"}'),
        (b"event: error\nevent: message\ndata: {}\n\n", b"{}"),
        (b"event: errors\ndata: {}\n\n", b"{}"),
        (b"event: error\r\ndata: no\r\n\r\n", b'{"error":"no"}'),
    ],
    ids=repr,
)
@pytest.mark.parametrize("size", [1, 1000])
def test_error_block_comes_in_an_envelope(block: bytes, payload: bytes, size: int) -> None:
    """The blocks around it are unchanged."""
    stream = b"data: a\n\n" + block + b"data: b\n\n"
    decoder = EventStreamDecoder(1000)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [it for piece in pieces for it in decoder.feed(piece)] == [b"a", payload, b"b"]


@pytest.mark.parametrize(
    "json_text",
    [b'{"error": 1}\n', b'{\n  "error": {\n    "code": 1\n  }\n}\n', b'[{\r\n"error": 1}]\r\n', b"[DONE]\n"],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("end", [b"\n", b""], ids=["blank line", "end of the body"])
def test_json_between_the_blocks_is_a_payload(json_text: bytes, size: int, end: bytes) -> None:
    stream = b"data: a\n\n" + json_text + end
    decoder = EventStreamDecoder(1000)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    payloads = [it for piece in pieces for it in decoder.feed(piece)] + [*decoder.flush()]
    assert payloads == [b"a", json_text.replace(b"\r\n", b"\n").rstrip()]


@pytest.mark.parametrize(
    ("rest", "payloads"),
    [
        (b"data: a", [b"a"]),
        (b"data: a\n", [b"a"]),
        (b"data: a\r", [b"a"]),
        (b"data: a\r\n", [b"a"]),
        (b"data: a\ndata: b", [b"a\nb"]),
        (b"data: a\n\ndata: b", [b"a", b"b"]),
        (b"data: a\n\n", [b"a"]),
        (b"event: error\ndata: a", [b'{"error":"a"}']),
        (b": comment", []),
        (b"", []),
    ],
    ids=repr,
)
@pytest.mark.parametrize("size", [1, 1000])
def test_flush_yields_a_last_block_without_its_blank_line(
    rest: bytes, payloads: list[bytes], size: int
) -> None:
    decoder = EventStreamDecoder(1000)
    pieces = [rest[at : at + size] for at in range(0, len(rest), size)]
    assert [it for piece in pieces for it in decoder.feed(piece)] + [*decoder.flush()] == payloads
