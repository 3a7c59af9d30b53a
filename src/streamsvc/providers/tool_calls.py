"""The tool calls of one answer, joined from the pieces in which servers send them.

OpenAI's API gives each call an index, and an id and a name with its first piece. Servers that follow it loosely
send the index 0 with every call, no index, the id late or never, the name with every piece, a whole call in one
piece, or arguments as an object instead of a string. So a piece belongs to the call with its id; else to the latest
call with its index; else to the call at its position in the chunk. Pieces with different ids are never joined.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from streamsvc.errors import UpstreamInvalid
from streamsvc.events import Delta, ToolCallArguments, ToolCallBegun, ToolCallReady

MAX_CALLS = 128
"""The maximum number of calls in one answer: as many as a request of OpenAI's API may have tools."""


class CallPiece(msgspec.Struct, kw_only=True):
    """What one chunk says about one call.

    Attributes:
        index: of the call, if the server gives it.
        id: of the call, if the server gives it.
        name: the tool's name, or empty.
        arguments: a piece of the string, or the whole object.
        provider_data: what the provider wants back, by vendor.
    """

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: Any = None
    provider_data: Mapping[str, Any] = {}


class _Draft:
    """A call that is being written."""

    __slots__ = (
        "arguments",
        "id",
        "index",
        "name",
        "provider_data",
        "upstream_id",
        "upstream_index",
    )

    def __init__(self, index: int, piece: CallPiece) -> None:
        self.index = index
        self.upstream_index = piece.index
        self.upstream_id = piece.id or ""
        self.id = self.upstream_id or new_call_id()
        self.name = piece.name or ""
        self.arguments = ""
        self.provider_data: Mapping[str, Any] = {}

    @property
    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON object."""
        return self.arguments != "" and _object(self.arguments) is not None

    def begins_again(self, piece: CallPiece) -> bool:
        """Return whether a piece without an id begins another call, even though its position is the same."""
        if not piece.name or not self.name:
            return False
        return piece.name != self.name or (self.is_whole and _text(piece.arguments) != "")


class ToolCallJoiner:
    """Joins the pieces of an answer's calls, and emits them as drafts.

    Args:
        emit: gets a `ToolCallBegun` and `ToolCallArguments` for each call.
    """

    def __init__(self, emit: Callable[[Delta], None]) -> None:
        self._emit = emit
        self._drafts: list[_Draft] = []
        self._by_id: dict[str, _Draft] = {}

    def take(self, pieces: list[CallPiece]) -> None:
        """Take the pieces of one chunk, in order.

        Raises:
            UpstreamInvalid: more than the maximum of calls, or arguments that are neither a string nor an object.
        """
        found: list[_Draft] = []
        for place, piece in enumerate(pieces):
            draft = self._find(piece, place, len(pieces), found)
            if draft is None:
                draft = self._begin(piece)
            found.append(draft)
            self._add(draft, piece)

    def whole(self, *, may_be_cut: bool) -> tuple[ToolCallReady, ...]:
        """Return the complete calls.

        Args:
            may_be_cut: whether the answer ended early, so that its last call may be incomplete and is left out.

        Raises:
            UpstreamInvalid: the arguments of a call are not a JSON object, or it has no name.
        """
        calls = []
        for draft in self._drafts:
            arguments = draft.arguments.strip() or "{}"
            if draft.name and _object(arguments) is not None:
                calls.append(
                    ToolCallReady(
                        index=draft.index,
                        id=draft.id,
                        name=draft.name,
                        arguments=draft.arguments if draft.arguments.strip() else "{}",
                        provider_data=draft.provider_data,
                    )
                )
            elif not may_be_cut:
                raise UpstreamInvalid
        return tuple(calls)

    def _find(self, piece: CallPiece, place: int, count: int, found: list[_Draft]) -> _Draft | None:
        """Return the draft that a piece continues, or None if it begins one."""
        if piece.id:
            return self._by_id.get(piece.id) or self._awaiting_id(piece)
        draft = self._at(piece, place, count)
        if draft is None or draft in found or draft.begins_again(piece):
            return None
        return draft

    def _awaiting_id(self, piece: CallPiece) -> _Draft | None:
        """Return the draft whose id arrives with this piece."""
        if piece.index is None:
            draft = self._drafts[-1] if self._drafts else None
        else:
            draft = next(self._with_index(piece.index), None)
        if draft is None or draft.upstream_id or draft.begins_again(piece):
            return None
        return draft

    def _at(self, piece: CallPiece, place: int, count: int) -> _Draft | None:
        """Return the draft that a piece without an id belongs to, by its index or its position."""
        if piece.index is not None:
            return next(self._with_index(piece.index), None)
        if count > 1:
            return self._drafts[place] if place < len(self._drafts) else None
        return self._drafts[-1] if self._drafts else None

    def _with_index(self, index: int) -> Iterator[_Draft]:
        """Return the drafts with the server's index, the latest first."""
        return (draft for draft in reversed(self._drafts) if draft.upstream_index == index)

    def _begin(self, piece: CallPiece) -> _Draft:
        if len(self._drafts) == MAX_CALLS:
            raise UpstreamInvalid
        draft = _Draft(len(self._drafts), piece)
        self._drafts.append(draft)
        if draft.name:
            self._emit(ToolCallBegun(index=draft.index, id=draft.id, name=draft.name))
        return draft

    def _add(self, draft: _Draft, piece: CallPiece) -> None:
        """Add a piece to its draft; viewers get the call once its name is known."""
        if piece.id and not draft.upstream_id:
            draft.upstream_id = piece.id  # viewers keep the id that they have
        if draft.upstream_id:
            self._by_id[draft.upstream_id] = draft
        draft.provider_data = {**draft.provider_data, **piece.provider_data}
        arguments = _text(piece.arguments)
        if not draft.name and piece.name:
            draft.name = piece.name
            self._emit(ToolCallBegun(index=draft.index, id=draft.id, name=draft.name))
            arguments, draft.arguments = draft.arguments + arguments, ""
        if not arguments or (arguments == draft.arguments and draft.is_whole):
            return  # nothing, or a repetition of all of it
        draft.arguments += arguments
        if draft.name:
            self._emit(ToolCallArguments(draft.index, arguments))


def new_call_id() -> str:
    """Return an id for a call whose server gives none: unique, because clients use it throughout a chat."""
    return f"call_{os.urandom(12).hex()}"


def _text(arguments: object) -> str:
    """Return arguments as a string.

    Raises:
        UpstreamInvalid: they are neither a string nor an object.
    """
    match arguments:
        case None:
            return ""
        case str():
            return arguments
        case dict():
            return json.dumps(arguments, ensure_ascii=False)
        case _:
            raise UpstreamInvalid


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which Python takes for JSON."""
    raise ValueError(constant)


def _object(arguments: str) -> dict[str, Any] | None:
    """Return the JSON object in a string, or None."""
    try:
        value = json.loads(arguments, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
