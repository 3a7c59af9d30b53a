"""The tool calls of one answer, joined from the pieces in which servers send them.

OpenAI's API gives each call an index, and an id and a name with its first piece (openai SDK,
`types/chat/chat_completion_chunk.py`). Servers that follow it loosely send the index 0 with every call, no index,
the id late or never, the name with every piece, or a whole call in one piece. So a piece belongs

* to the call with its id;
* else to the call with its index, unless several calls and several pieces of its chunk have that index;
* else to the call at its position in the chunk.

Pieces with different ids are never joined. Where a call exists already, only a piece with a name or a new id begins
another one.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from streamsvc.events import Delta, ToolCallReady
from streamsvc.provider_errors import UpstreamInvalid
from streamsvc.providers.tool_draft import Draft

MAX_CALLS = 128
"""The maximum number of calls in one answer: as many as a request of OpenAI's API may have tools."""

_LATEST = -1
"""The position of a piece that is alone in its chunk: it belongs to the latest call."""

MAX_DATA_BYTES = 4_194_304
"""The maximum size of all provider data in one answer, as JSON."""


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


class ToolCallJoiner:
    """Joins the pieces of an answer's calls, and emits them as drafts.

    Args:
        emit: gets a `ToolCallBegun` and `ToolCallArguments` for each call.
    """

    __slots__ = ("_data_bytes", "_drafts", "_emit", "_row")

    def __init__(self, emit: Callable[[Delta], None]) -> None:
        self._emit = emit
        self._drafts: list[Draft] = []
        self._row: list[Draft] = []  # of the latest chunk, by position
        self._data_bytes = 0

    def take(self, pieces: Sequence[CallPiece]) -> None:
        """Take the pieces of one chunk, in order.

        Raises:
            UpstreamInvalid: more than the maximum of calls or of provider data, or arguments that are neither a string
                nor an object.
        """
        has_indices = len({piece.index for piece in pieces}) == len(pieces)
        row: list[Draft] = []
        for position, piece in enumerate(pieces, 0 if len(pieces) > 1 else _LATEST):
            draft = self._at(piece, position, has_indices=has_indices)
            if draft is None or self._begins_another(piece, draft, row):
                draft = self._begin(piece)
            row.append(draft)
            self._add(draft, piece)
        if len(row) > 1 or not set(row) <= set(self._row):
            self._row = row

    def whole(self, *, may_be_cut: bool) -> tuple[ToolCallReady, ...]:
        """Return the whole calls.

        Args:
            may_be_cut: whether the answer ended early; then calls that may be incomplete are left out.

        Raises:
            UpstreamInvalid: the arguments of a call are not a JSON object, or it has no name.
        """
        calls = (draft.whole(may_be_cut=may_be_cut) for draft in self._drafts)
        return tuple(call for call in calls if call is not None)

    def _at(self, piece: CallPiece, position: int, *, has_indices: bool) -> Draft | None:
        """Return the draft that a piece belongs to by its id, its index or its position."""
        if same_id := [it for it in self._drafts if piece.id and it.upstream_id == piece.id]:
            return next((it for it in same_id if it.upstream_index == piece.index), same_id[-1])
        same_index = [it for it in self._drafts if it.upstream_index == piece.index]
        if piece.index is not None and (has_indices or len(same_index) <= 1):
            return same_index[-1] if same_index else None
        return self._row[position] if -len(self._row) <= position < len(self._row) else None

    @staticmethod
    def _begins_another(piece: CallPiece, draft: Draft, row: Sequence[Draft]) -> bool:
        """Return whether a piece begins another call, not the one that it belongs to by its index or position.

        Args:
            piece: the piece.
            draft: the draft of that call.
            row: the drafts that the chunk's pieces before this one belong to.
        """
        if piece.id and draft.upstream_id not in {"", piece.id}:
            return True
        if not piece.name and draft.is_named_again and draft.is_closed and piece.arguments:
            piece.name = draft.name  # it came ahead of the arguments
            return True
        if not piece.name or not draft.name:
            return False
        if piece.name != draft.name:
            return True
        if piece.id and piece.id == draft.upstream_id:
            return piece.index != draft.upstream_index and draft.is_closed
        return draft in row or (draft.is_closed and bool(piece.arguments))

    def _begin(self, piece: CallPiece) -> Draft:
        if len(self._drafts) == MAX_CALLS:
            raise UpstreamInvalid
        is_taken = any(draft.id == piece.id for draft in self._drafts)
        call_id = new_call_id() if is_taken or not piece.id else piece.id
        draft = Draft(len(self._drafts), call_id, self._emit)
        draft.upstream_index = piece.index
        self._drafts.append(draft)
        return draft

    def _add(self, draft: Draft, piece: CallPiece) -> None:
        """Add a piece to its draft."""
        draft.is_named_again = bool(piece.name and draft.name)
        draft.upstream_id = (
            draft.upstream_id or piece.id or ""
        )  # viewers keep the id that they have
        if piece.provider_data:
            self._data_bytes += len(msgspec.json.encode(piece.provider_data))
            if self._data_bytes > MAX_DATA_BYTES:
                raise UpstreamInvalid
            draft.provider_data = {**draft.provider_data, **piece.provider_data}
        if piece.name and not draft.name:
            draft.begin(piece.name)
        draft.write(piece.arguments)


def new_call_id() -> str:
    """Return an id for a call whose server gives none: unique, because clients use it throughout a chat."""
    return f"call_{os.urandom(12).hex()}"
