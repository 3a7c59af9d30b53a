"""The arguments of a function call that arrive value by value (google-genai, `types.PartialArg`).

Each piece names its place by a JSON Path (RFC 9535): names and indexes only, such as `$.stops[0].city`. A string may
come in several pieces.
"""

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from streamsvc.provider_errors import UpstreamInvalid
from streamsvc.providers import lenient
from streamsvc.providers.base import whole

_MOST_STEPS = 64
"""How deep arguments may be nested."""

_STEP = re.compile(
    r"""
    \.?(?P<name>[^.\[\]'"]+)               # .name
    | \[(?P<index>[0-9]{1,6})\]            # [0]
    | \[(?P<quoted>"[^"]*"|'[^']*')\]      # ['name']
    """,
    re.VERBOSE,
)


class StreamedArguments:
    """Puts the arguments of one call together."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        self._growing = ""  # the path of the string that the next piece continues

    def take(self, pieces: object) -> None:
        """Take the pieces of one chunk.

        Raises:
            UpstreamInvalid: one of them has no place or no value.
        """
        for piece in lenient.objects(pieces):
            path = piece.get("jsonPath")
            if not isinstance(path, str):
                raise UpstreamInvalid
            self._put(path, _value(piece), is_more=path == self._growing)
            self._growing = path if piece.get("willContinue") else ""

    def text(self) -> str:
        """Return the whole object, as JSON.

        Raises:
            UpstreamInvalid: a string still lacks its end.
        """
        if self._growing:
            raise UpstreamInvalid
        return whole(json.dumps(self._root, ensure_ascii=False))

    def _put(self, path: str, value: object, *, is_more: bool) -> None:
        steps = _steps(path)
        place: Any = self._root
        for step, next_step in pairwise(steps):
            place = _child(place, step, [] if isinstance(next_step, int) else {})
        before = _child(place, steps[-1], None)
        if is_more:
            if not (isinstance(before, str) and isinstance(value, str)):
                raise UpstreamInvalid
            value = before + value
        place[steps[-1]] = value


def _child(place: Any, step: str | int, default: Any) -> Any:
    """Return what is at a step; put *default* there if there is nothing yet.

    Raises:
        UpstreamInvalid: the step does not lead on from here.
    """
    match place, step:
        case dict(), str():
            return place.setdefault(step, default)
        case list(), int() if step <= len(place):
            if step == len(place):
                place.append(default)
            return place[step]
        case _:
            raise UpstreamInvalid


def _steps(path: str) -> list[str | int]:
    """Return the names and indexes of a path.

    Raises:
        UpstreamInvalid: it is of another kind, leads nowhere or too deep.
    """
    at = int(path.startswith("$"))
    steps: list[str | int] = []
    while at < len(path) and len(steps) <= _MOST_STEPS:
        step = _STEP.match(path, at)
        if step is None:
            break
        at = step.end()
        if step["index"]:
            steps.append(int(step["index"]))
        else:
            steps.append(step["name"] or step["quoted"][1:-1])
    if at < len(path) or not steps or isinstance(steps[0], int):
        raise UpstreamInvalid
    return steps


def _value(piece: Mapping[str, Any]) -> object:
    """Return the value of a piece.

    Raises:
        UpstreamInvalid: it has none.
    """
    for name in ("stringValue", "numberValue", "boolValue"):
        if name in piece:
            return piece[name]
    if "nullValue" in piece:
        return None
    raise UpstreamInvalid
