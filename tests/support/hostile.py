"""Strings that would become something else if they were not encoded, and events that are full of them."""

import enum
import json
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from streamsvc.events import AnswerEnd, Done, Event, ToolCallReady

INJECTED = (
    "a\r\nX-Injected: 1\r\n\r\n<script>alert(1)</script>",
    "a\nevent: injected\ndata: 1\n\n",
    "a\rid: injected\rdata: 1\r\r",
    "a\u2028data: 1\u2029\x85event: injected",
    "a\0b\x0bc\x0cd\x1ce\x7f",
    ": comment\n: ka\n\ndata: [DONE]\n\n",
    "__proto__",
    "constructor",
    "../../etc/passwd",
    "é\N{CRAB}\ufeff\uffff",
)
"""One for each way out of a frame, a header, a path or an object."""

TEXT = st.sampled_from(INJECTED) | st.lists(
    st.sampled_from(
        ["\r", "\n", "\r\n", "\0", "\u2028", "\x85", ": ", "data: x", "id: 1", '"', "\\"]
    ),
    min_size=1,
).map("".join)
"""What a value may be made of."""


def values(kind: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911  # one for each kind of type
    """Return values of a type of the events, with hostile strings wherever it has any."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return st.one_of(*(values(it) for it in arguments if it is not msgspec.UnsetType))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin in {dict, Mapping}:
        return st.dictionaries(TEXT, values(arguments[1]), max_size=2)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return structs(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    simple: Mapping[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        Any: st.dictionaries(TEXT, TEXT, max_size=1),
        int: st.integers(0, 9),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return simple[kind]


def structs(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Return structs of a type."""
    fields = {field.name: values(field.type) for field in msgspec.structs.fields(kind)}
    if kind is Done:
        fields["finish_reason"] = values(AnswerEnd)  # the others belong to some statuses only
    if kind is ToolCallReady:
        fields["arguments"] = st.dictionaries(TEXT, TEXT, max_size=2).map(_spread)
    return st.builds(kind, **fields)


def _spread(value: object) -> str:
    """Return JSON with every kind of line end between its tokens; it has no others (RFC 8259, section 2)."""
    return json.dumps(value, indent="\r\n\t\n\r", ensure_ascii=False)


EVENTS: Mapping[type[Event], st.SearchStrategy[Event]] = {
    kind: structs(kind) for kind in get_args(Event)
}
"""Events of each type."""
