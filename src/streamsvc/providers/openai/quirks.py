"""Tool calls as loosely compatible servers write them: one style for each quirk of a real server.

The chunks are those of `POST /chat/completions` with `stream: true` (openai SDK, `types/chat/chat_completion_chunk.py`).
`tool_calls` joins all of them to whole calls. The fake provider offers them by name, so that clients can be tested
with them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from streamsvc.config.provider_settings import FaultName


class WrittenCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call as a model writes it.

    Attributes:
        id: of the call.
        name: the tool's name.
        pieces: the arguments, a JSON object as text, in the pieces in which they are written.
    """

    id: str
    name: str
    pieces: Sequence[str]

    @property
    def arguments(self) -> str:
        """The whole arguments."""
        return "".join(self.pieces)


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """How a server writes tool calls; the defaults are OpenAI's way.

    Attributes:
        index: whether each call has its own number, every call has 0, or the field is missing.
        id: which pieces of a call have its id.
        name: which pieces have its name.
        arguments: in pieces, or in one piece as a string or as an object.
        finish_reason: of an answer with calls.
    """

    index: Literal["counted", "zero", "missing"] = "counted"
    id: Literal["first", "last", "every", "missing"] = "first"
    name: Literal["first", "every"] = "first"
    arguments: Literal["pieces", "whole", "object"] = "pieces"
    finish_reason: str = "tool_calls"


OPENAI = Style()

QUIRKS: Mapping[FaultName, Style] = {
    "tool_index_zero": Style(index="zero"),
    "tool_index_missing": Style(index="missing"),
    "tool_id_late": Style(id="last"),
    "tool_id_missing": Style(id="missing"),
    "tool_whole": Style(arguments="whole"),
    "tool_object": Style(arguments="object"),
    "tool_finish_stop": Style(finish_reason="stop"),
    "tool_name_repeated": Style(name="every"),
}
"""The quirks that can be chosen as a fault of the fake provider, by name."""


def chunks(calls: Sequence[WrittenCall], style: Style) -> Iterator[Mapping[str, Any]]:
    """Yield the chunks of an answer that calls tools: the calls one after the other, then the finish reason."""
    for number, call in enumerate(calls):
        for piece in _pieces(call, number, style):
            yield _chunk({"tool_calls": [piece]}, None)
    yield _chunk({}, style.finish_reason)


def _pieces(call: WrittenCall, number: int, style: Style) -> Iterator[Mapping[str, Any]]:
    """Yield the pieces of one call (`ChoiceDeltaToolCall`)."""
    written = _arguments(call, style)
    for at, arguments in enumerate(written):
        is_first, is_last = at == 0, at == len(written) - 1
        piece: dict[str, Any] = {}
        if style.index != "missing":
            piece["index"] = number if style.index == "counted" else 0
        if (
            style.id == "every"
            or (style.id == "first" and is_first)
            or (style.id == "last" and is_last)
        ):
            piece["id"] = call.id
        if is_first:
            piece["type"] = "function"
        function: dict[str, Any] = {}
        if is_first or style.name == "every":
            function["name"] = call.name
        function["arguments"] = arguments
        yield {**piece, "function": function}


def _arguments(call: WrittenCall, style: Style) -> Sequence[object]:
    """Return the arguments, piece by piece; in pieces, the first one is empty, as OpenAI's is."""
    if style.arguments == "pieces":
        return ("", *call.pieces)
    whole = call.arguments
    return (whole if style.arguments == "whole" else msgspec.json.decode(whole or "{}"),)


def _chunk(delta: Mapping[str, Any], finish_reason: str | None) -> Mapping[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
