"""One tool call while the model writes it: the part that viewers see, and the whole call at the end."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from streamsvc.events import Delta, ToolCallArguments, ToolCallBegun, ToolCallReady
from streamsvc.provider_errors import UpstreamInvalid
from streamsvc.providers.base import SurrogateJoiner

MOST_HELD_CHARS = 16_384
"""How much of a call may arrive before viewers can see any of it. What they see is bounded by the log."""

_MARKS = re.compile(r'\\(?:.|$)|["{}]', re.DOTALL)
"""Braces, and the quotes and escapes by which a string hides its braces."""


class Draft:
    """A call that is being written.

    Viewers learn of a call when its name is known. They get its arguments once these begin with a brace; other text is
    held back, because it may stand for an empty object (`_object_text`).

    Args:
        index: the call's number in the answer, from 0.
        call_id: the id that viewers see.
        emit: gets a `ToolCallBegun` and `ToolCallArguments`.

    Attributes:
        name: the tool's; empty until it is known.
        provider_data: what the provider wants back, by vendor.
        upstream_id: the server's id, if it has come.
        upstream_index: the server's index, if it gives one.
        is_named_again: whether the latest piece repeated the name.
    """

    __slots__ = (
        "_arguments",
        "_braces",
        "_chars",
        "_emit",
        "_held",
        "_is_object",
        "_joiner",
        "_scanned",
        "_texts",
        "id",
        "index",
        "is_named_again",
        "name",
        "provider_data",
        "upstream_id",
        "upstream_index",
    )

    def __init__(self, index: int, call_id: str, emit: Callable[[Delta], None]) -> None:
        self.index = index
        self.id = call_id
        self.name = ""
        self.provider_data: Mapping[str, Any] = {}
        self.upstream_id = ""
        self.upstream_index: int | None = None
        self.is_named_again = False
        self._emit = emit
        self._texts: list[str] = []  # what viewers have, in pieces: there may be many
        self._chars = 0
        self._held = ""
        self._is_object = False
        self._joiner: SurrogateJoiner | None = None
        self._braces = _Braces()
        self._scanned = 0
        self._arguments: str | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the arguments so far are an object with its closing brace."""
        for text in self._texts[self._scanned :]:
            self._braces.take(text)
        self._scanned = len(self._texts)
        return self._braces.is_closed

    def begin(self, name: str) -> None:
        """Take the tool's name."""
        self.name = name
        self._emit(ToolCallBegun(index=self.index, id=self.id, name=name))
        self._show()

    def write(self, arguments: object) -> None:
        """Take a piece of the arguments: a string, the whole object, or nothing.

        Raises:
            UpstreamInvalid: it is something else, or too long to be held back.
        """
        if self._repeats(arguments):
            return
        text = _text(arguments)
        if self._joiner is not None or not text.isascii():
            self._joiner = self._joiner or SurrogateJoiner()
            text = self._joiner.feed(text)
        if text:
            self._arguments = None
            self._held += text
            self._show()

    def whole(self, *, may_be_cut: bool) -> ToolCallReady | None:
        """Return the whole call; None if the answer ended early and the call may be incomplete.

        Args:
            may_be_cut: whether the answer ended early.

        Raises:
            UpstreamInvalid: the arguments are not a JSON object although the answer was not cut, or the name is
                missing.
        """
        if may_be_cut and not self._texts and not self._held.strip():
            return None
        if self._arguments is None:
            self._arguments = _object_text("".join(self._texts) + self._held)
        if self.name and self._arguments:
            return ToolCallReady(
                index=self.index,
                id=self.id,
                name=self.name,
                arguments=self._arguments,
                provider_data=self.provider_data,
            )
        if may_be_cut:
            return None
        raise UpstreamInvalid

    def _show(self) -> None:
        """Emit the arguments that have arrived, or hold them back.

        Raises:
            UpstreamInvalid: too much is held back.
        """
        self._is_object = self._is_object or self._held.lstrip().startswith("{")
        if self.name and self._is_object and self._held:
            text, self._held = self._held, ""
            self._texts.append(text)
            self._chars += len(text)
            self._emit(ToolCallArguments(self.index, text))
        elif len(self._held) > MOST_HELD_CHARS:
            raise UpstreamInvalid

    def _repeats(self, arguments: object) -> bool:
        """Return whether a piece repeats the whole arguments, as the last piece of some servers does."""
        match arguments:
            case str():
                return (
                    len(arguments) == self._chars
                    and self.is_closed
                    and arguments == "".join(self._texts)
                )
            case dict():
                return self.is_closed and _value("".join(self._texts)) == arguments
            case _:
                return False


class _Braces:
    """Finds the end of a JSON object that arrives in pieces; looks at each character once."""

    __slots__ = ("_carry", "_depth", "_is_text", "is_closed")

    def __init__(self) -> None:
        self.is_closed = False
        self._depth = 0
        self._is_text = False
        self._carry = ""  # a backslash at the end of a piece

    def take(self, piece: str) -> None:
        """Take the next piece."""
        piece, self._carry = self._carry + piece, ""
        for match in _MARKS.finditer(piece):
            mark = match[0]
            if mark == '"':
                self._is_text = not self._is_text
            elif mark == "\\":
                self._carry = mark
            elif mark in "{}" and not self._is_text:
                self._depth += 1 if mark == "{" else -1
                self.is_closed = self.is_closed or self._depth == 0


def _text(arguments: object) -> str:
    """Return arguments as text.

    Raises:
        UpstreamInvalid: they are neither a string nor an object.
    """
    match arguments:
        case None | []:  # PHP writes an empty object as a list
            return ""
        case str():
            return arguments
        case dict():
            return json.dumps(arguments, ensure_ascii=False)
        case _:
            raise UpstreamInvalid


def _object_text(text: str) -> str:
    """Return the JSON object in a text, as text; empty if there is no object.

    No text, null and an empty list stand for an empty object: models and servers write them for tools without
    parameters. Some servers encode twice, so the object may be within a JSON string.
    """
    value = _value(text)
    if isinstance(value, str):
        text, value = value, _value(value)
    if not text.strip() or value is None or value == []:
        return "{}"
    return text if isinstance(value, dict) else ""


def _value(text: str) -> object:
    """Return the value of a JSON text, or False, which is never a call's arguments, if it is not JSON."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return value


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which Python takes for JSON."""
    raise ValueError(constant)
