"""Tool calls in the pieces that servers send, through the reader of OpenAI's chunks."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.events import Delta, ToolCallArguments, ToolCallBegun, ToolCallReady
from streamsvc.provider_errors import UpstreamInvalid
from streamsvc.providers.base import Finish
from streamsvc.providers.openai.quirks import OPENAI, QUIRKS, Style, WrittenCall, chunks
from streamsvc.providers.tool_calls import MAX_CALLS, MAX_DATA_BYTES
from streamsvc.providers.tool_draft import MOST_HELD_CHARS
from support.openai_chunks import read, still_clock

PARIS = WrittenCall(id="call_p", name="weather", pieces=('{"ci', 'ty":"Pa', 'ris"}'))
OSLO = WrittenCall(id="call_o", name="weather", pieces=('{"city":', '"Oslo"}'))
CLOCK = WrittenCall(id="call_c", name="clock", pieces=())
BOTH = PARIS, CLOCK, OSLO

pytestmark = pytest.mark.usefixtures("still_clock")

__all__ = ["still_clock"]  # a fixture

Piece = Mapping[str, Any]


def written(calls: Sequence[WrittenCall], style: Style) -> tuple[list[Delta], Finish]:
    """Read calls as a server of this style writes them."""
    return read(*chunks(calls, style), reason="")


def calls_of(finish: Finish) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in finish.tool_calls]


def assert_drafted(drafts: Sequence[Delta], calls: Sequence[ToolCallReady]) -> None:
    """Check that the drafts, joined as a client joins them, are the beginnings of the calls."""
    begun = {it.index: it for it in drafts if isinstance(it, ToolCallBegun)}
    assert list(begun) == list(range(len(begun)))
    for call in calls:
        assert (begun[call.index].id, begun[call.index].name) == (call.id, call.name)
        pieces = (
            it for it in drafts if isinstance(it, ToolCallArguments) and it.index == call.index
        )
        assert "".join(it.arguments for it in pieces) in {call.arguments, ""}


def piece(index: int | None = None, **fields: Any) -> Piece:
    """Return a piece of a call: `id`, `name`, `arguments`, and its index if it has one."""
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    place = {} if index is None else {"index": index}
    return {**place, **fields, "function": function}


# Every quirk


@pytest.mark.parametrize("style", [OPENAI, *QUIRKS.values()], ids=["openai", *QUIRKS])
def test_calls_of_every_quirk_are_whole(style: Style) -> None:
    drafts, finish = written(BOTH, style)
    assert calls_of(finish) == [
        ("weather", {"city": "Paris"}), ("clock", {}), ("weather", {"city": "Oslo"}),
    ]  # fmt: skip
    assert finish.reason == "tool_calls"
    assert_drafted(drafts, finish.tool_calls)
    ids = [call.id for call in finish.tool_calls]
    assert len(set(ids)) == len(ids)
    if style.id == "first":
        assert ids == ["call_p", "call_c", "call_o"]


def _is_unambiguous(style: Style) -> bool:
    """Return whether a style tells the end of one call from the next: by ids, or by indices."""
    return style.id in {"first", "every"} or style.index == "counted"


STYLES = [
    style
    for values in product(*(get_args(kind) for kind in list(get_type_hints(Style).values())[:4]))
    if _is_unambiguous(style := Style(**dict(zip(Style.__struct_fields__, values, strict=False))))
]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def some_calls(draw: st.DrawFn) -> list[WrittenCall]:
    """Draw calls with unique ids, whose arguments are cut anywhere."""
    calls = []
    for number in range(draw(st.integers(1, 5))):
        arguments = draw(st.dictionaries(st.text(max_size=4), values, max_size=3))
        text = draw(
            st.sampled_from([json.dumps(arguments), json.dumps(arguments, ensure_ascii=False)])
        )
        text = draw(st.sampled_from(["", text])) if not arguments else text
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
        edges = [0, *cuts, len(text)]
        pieces = [text[a:b] for a, b in pairwise(edges)]
        name = draw(st.sampled_from(["a", "b", "get_weather"]))
        calls.append(WrittenCall(id=f"id-{number}", name=name, pieces=pieces))
    return calls


@given(calls=some_calls(), style=st.sampled_from(STYLES))
def test_any_calls_in_any_style_are_joined(calls: list[WrittenCall], style: Style) -> None:
    drafts, finish = written(calls, style)
    assert calls_of(finish) == [(it.name, json.loads(it.arguments or "{}")) for it in calls]
    if style.id in {"first", "every"}:
        assert [call.id for call in finish.tool_calls] == [it.id for it in calls]
    if style.arguments != "object":
        assert [call.arguments for call in finish.tool_calls] == [
            it.arguments or "{}" for it in calls
        ]
    assert_drafted(drafts, finish.tool_calls)


@given(calls=some_calls(), order=st.randoms(use_true_random=False))
def test_interleaved_calls_are_joined_by_index_or_id(calls: list[WrittenCall], order: Any) -> None:
    for style in (OPENAI, Style(id="every", index="missing"), Style(id="last")):
        rows = [
            [
                chunk["choices"][0]["delta"]["tool_calls"][0]
                for chunk in [*chunks([call], style)][:-1]
            ]
            for call in calls
        ]
        for number, row in enumerate(rows):
            for one in row:
                one.update({"index": number} if "index" in one else {})
        mixed = []
        while any(rows):
            row = order.choice([row for row in rows if row])
            mixed.append([row.pop(0)])
        _, finish = read(*mixed)
        expected = [(it.name, json.loads(it.arguments or "{}")) for it in calls]
        assert sorted(map(repr, calls_of(finish))) == sorted(map(repr, expected))


# Pieces that share a chunk


def test_two_calls_of_one_chunk_with_the_same_index() -> None:
    _, finish = read([
        piece(0, name="a", arguments='{"x":1}'), piece(0, name="a", arguments='{"x":1}'),
    ])  # fmt: skip
    assert calls_of(finish) == [("a", {"x": 1}), ("a", {"x": 1})]


@pytest.mark.parametrize("index", [0, None])
def test_pieces_of_two_calls_in_each_chunk_belong_by_position(index: int | None) -> None:
    first = [piece(index, name="a", arguments=""), piece(index, name="a", arguments='{"y"')]
    _, finish = read(first, [piece(index, arguments='{"x"'), piece(index, arguments=":2")],
                     [piece(index, arguments=":1}"), piece(index, arguments="}")])  # fmt: skip
    assert calls_of(finish) == [("a", {"x": 1}), ("a", {"y": 2})]


def test_ids_that_come_late_belong_by_position() -> None:
    names = [piece(name="a", arguments='{"x":1}'), piece(name="b", arguments='{"y":2}')]
    _, finish = read(names, [piece(id="i"), piece(id="j")], [piece(id="j", arguments=" ")])
    assert calls_of(finish) == [("a", {"x": 1}), ("b", {"y": 2})]


def test_call_may_begin_beside_a_piece_of_the_one_before() -> None:
    _, finish = read(
        [piece(name="a", arguments='{"x"')], [piece(arguments=":1}"), piece(name="b")],
        [piece(arguments="{}")],
    )  # fmt: skip
    assert calls_of(finish) == [("a", {"x": 1}), ("b", {})]


def test_two_pieces_of_a_call_in_one_chunk_are_joined() -> None:
    _, finish = read([piece(0, id="i", name="a", arguments='{"x"'), piece(0, arguments=":1}")])
    assert calls_of(finish) == [("a", {"x": 1})]


# Ids, names


def test_pieces_with_different_ids_are_never_joined() -> None:
    """A server that gives each piece an id of its own cannot be read."""
    parts = [piece(0, id="i", name="a", arguments='{"x"')], [piece(0, id="j", arguments=":1}")]
    with pytest.raises(UpstreamInvalid):
        read(*parts)


def test_same_id_for_two_calls_gives_the_second_one_its_own() -> None:
    _, finish = read(
        [piece(0, id="i", name="a", arguments="{}")], [piece(1, id="i", name="b", arguments="{")],
        [piece(1, id="i", arguments="}")], [piece(2, id="i", name="b", arguments='{"x":1}')],
    )  # fmt: skip
    assert calls_of(finish) == [("a", {}), ("b", {}), ("b", {"x": 1})]
    assert len({call.id for call in finish.tool_calls}) == 3


def test_viewers_keep_the_id_that_they_have() -> None:
    drafts, finish = written([PARIS], QUIRKS["tool_id_late"])
    assert isinstance(drafts[0], ToolCallBegun)
    assert drafts[0].id == finish.tool_calls[0].id != "call_p"


def test_id_and_name_may_be_repeated_at_the_end() -> None:
    style = msgspec.structs.replace(OPENAI, id="every", name="every")
    _, finish = written([PARIS], style)
    assert calls_of(finish) == [("weather", {"city": "Paris"})]
    _, finish = read(
        [piece(0, name="a", arguments='{"x":')], [piece(0, arguments="1}")],
        [piece(0, id="i", name="a", arguments="")],
    )  # fmt: skip
    assert calls_of(finish) == [("a", {"x": 1})]


@pytest.mark.parametrize("whole", ['{"x":1}', {"x": 1}], ids=["text", "object"])
def test_whole_arguments_after_their_pieces_are_a_repetition(whole: object) -> None:
    first = [piece(0, id="i", name="a", arguments='{"x"')], [piece(0, arguments=":1}")]
    drafts, finish = read(*first, [piece(0, id="i", name="a", arguments=whole)])
    assert finish.tool_calls[0].arguments == '{"x":1}'
    assert_drafted(drafts, finish.tool_calls)


def test_next_call_of_the_same_tool_without_id_or_index() -> None:
    _, finish = read(
        [piece(name="a")], [piece(arguments='{"x":"}')], [piece(arguments='"}')],
        [piece(name="a")], [piece(arguments='{"x":2}')],
    )  # fmt: skip
    assert calls_of(finish) == [("a", {"x": "}"}), ("a", {"x": 2})]


def test_name_may_come_after_the_arguments() -> None:
    drafts, finish = read(
        [piece(0, id="i", arguments='{"x"')], [piece(0, name="a", arguments=":1}")]
    )
    assert drafts == [
        ToolCallBegun(index=0, id="i", name="a"), ToolCallArguments(0, '{"x"'),
        ToolCallArguments(0, ":1}"),
    ]  # fmt: skip
    assert calls_of(finish) == [("a", {"x": 1})]


# Arguments


@pytest.mark.parametrize(
    "arguments", [None, "", " \n", {}, [], "null", "[]", '""', '"{}"'], ids=repr
)
def test_tool_without_arguments_gets_an_empty_object(arguments: object) -> None:
    drafts, finish = read([piece(0, id="i", name="a", arguments=arguments)])
    assert [call.arguments for call in finish.tool_calls] == ["{}"]
    assert_drafted(drafts, finish.tool_calls)


def test_arguments_within_a_json_string_are_decoded() -> None:
    text = json.dumps(json.dumps({"x": 1}))
    drafts, finish = read([piece(0, name="a", arguments=text[:3])], [piece(0, arguments=text[3:])])
    assert finish.tool_calls[0].arguments == '{"x": 1}'
    assert len(drafts) == 1


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    "arguments",
    ["{", '{"x":}', "[1]", "7", "true", "text", '{"x":NaN}', "{}{}", '"text"', 7, True, [1], "[" * 9999],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_arguments_that_are_not_an_object_are_invalid(arguments: object) -> None:
    with pytest.raises(UpstreamInvalid):
        read([piece(0, id="i", name="a", arguments=arguments)])


def test_half_an_emoji_in_arguments_is_joined() -> None:
    text = '{"x":"🙂"}'
    at = text.index("🙂")
    parts = text[:at] + "\ud83d", "\ude42" + text[at + 1 :]
    drafts, finish = read(*([piece(0, name="a", arguments=part)] for part in parts))
    assert finish.tool_calls[0].arguments == text
    assert_drafted(drafts, finish.tool_calls)


def test_half_an_emoji_alone_is_replaced() -> None:
    _, finish = read([piece(0, name="a", arguments='{"x":"\ud83d"}')])
    assert finish.tool_calls[0].arguments == '{"x":"\ufffd"}'


def test_braces_and_escapes_in_strings_do_not_close_an_object() -> None:
    text = r'{"x":"}\"}\\","y":{"z":"{"}}'
    pieces = ([piece(name="a", arguments=part)] for part in text)
    _, finish = read(*pieces, [piece(name="a", arguments="{}")])
    assert [call.arguments for call in finish.tool_calls] == [text, "{}"]


def test_megabyte_in_ten_thousand_pieces_is_joined() -> None:
    """Each character is looked at a bounded number of times: seconds here would be minutes."""
    text = json.dumps({"x": ["{}", '"'] * 100_000})
    step = len(text) // 10_000
    parts = [text[at : at + step] for at in range(0, len(text), step)]
    assert len(text) > 1_000_000
    _, finish = read(*([piece(name="a", arguments=part)] for part in parts))
    assert finish.tool_calls[0].arguments == text


# Broken calls, and bounds


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("reason", ["length", "content_filter", "tired"])
@pytest.mark.parametrize("half", ["", " ", "{", '{"x":1', None])
def test_half_a_call_is_left_out_of_an_answer_that_was_cut(reason: str, half: str | None) -> None:
    whole = [piece(0, id="i", name="a", arguments="{}")]
    _, finish = read(whole, [piece(1, id="j", name="b", arguments=half)], reason=reason)
    assert calls_of(finish) == [("a", {})]
    assert finish.reason in {"length", "content_filter", "other"}


@pytest.mark.promise("end:exactly-one")
def test_call_without_a_name_is_invalid() -> None:
    with pytest.raises(UpstreamInvalid):
        read([piece(0, id="i", arguments="{}")])
    _, finish = read([piece(0, id="i", arguments="{}")], reason="length")
    assert finish.tool_calls == ()


def test_custom_tool_call_is_invalid() -> None:
    """No request of ours offers a custom tool, whose input is not a JSON object."""
    custom = {"index": 0, "id": "i", "type": "custom", "custom": {"name": "a", "input": "text"}}
    with pytest.raises(UpstreamInvalid):
        read([custom])


@pytest.mark.promise("upstream:bounded")
def test_number_of_calls_is_bounded() -> None:
    calls = [[piece(at, id=f"i{at}", name="a", arguments="{}")] for at in range(MAX_CALLS)]
    assert len(read(*calls)[1].tool_calls) == MAX_CALLS
    with pytest.raises(UpstreamInvalid):
        read(*calls, [piece(MAX_CALLS, id="more", name="a")])


@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize("name", ["", "a"])
def test_what_viewers_cannot_see_of_a_call_is_bounded(name: str) -> None:
    """The log bounds what they see; arguments of a call without a name, or without a brace, it does not."""
    text = "{" if not name else '"'
    with pytest.raises(UpstreamInvalid):
        read([piece(0, name=name, arguments=text)], [piece(0, arguments="x" * MOST_HELD_CHARS)])


@pytest.mark.promise("upstream:bounded")
def test_provider_data_is_bounded() -> None:
    data = "x" * (MAX_DATA_BYTES // 4)
    pieces = [[piece(0, id="i", name="a", extra_content={str(at): data})] for at in range(5)]
    with pytest.raises(UpstreamInvalid):
        read(*pieces)


def test_latest_provider_data_of_each_vendor_is_kept() -> None:
    data: tuple[Any, ...] = ({"a": 1, "b": 1}, {"b": 2}, "x", None)
    _, finish = read(*([piece(0, id="i", name="a", extra_content=it)] for it in data))
    stamp = {"kind": "openai", "model": "gpt-test"}
    assert finish.tool_calls[0].provider_data == {"a": 1, "b": 2, "streamsvc": stamp}
