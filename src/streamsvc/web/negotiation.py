"""Which format a client asks for, with `Accept` or in the query."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

from streamsvc.dialects.invalid import quoted
from streamsvc.errors import InvalidField
from streamsvc.web.requests import RequestHead

EVENT_STREAM, JSON, PLAIN = "text/event-stream", "application/json", "text/plain"

MAX_REMEMBERED_CHARS = 256
"""The maximum length of an `Accept` value whose result is cached."""

_Format = TypeVar("_Format")

_END = re.compile(r"[A-Za-z0-9_-]{1,64}")


def prefers(head: RequestHead, wanted: str, other: str) -> bool:
    """Return whether `Accept` prefers one media type to another (RFC 9110, section 12.5.1).

    If both are equally acceptable, the first one is preferred; if neither is named, the other.
    """
    accept = head.accept
    weigh = _prefers if len(accept) <= MAX_REMEMBERED_CHARS else _prefers.__wrapped__
    return weigh(accept, wanted, other)


@lru_cache(maxsize=256)  # a client always sends the same value
def _prefers(accept: str, wanted: str, other: str) -> bool:
    places = {wanted: (0.0, 0), other: (0.0, 0)}
    for place, media_range in enumerate(accept.split(",")):
        name, *parameters = (part.strip().lower() for part in media_range.split(";"))
        if name in places:
            places[name] = max(places[name], (_quality(parameters), -place))
    return places[wanted][0] > 0 and places[wanted] > places[other]


def _quality(parameters: list[str]) -> float:
    weights = (parameter[2:] for parameter in parameters if parameter.startswith("q="))
    try:
        return float(next(weights, "1"))
    except ValueError:
        return 0.0


def format_of(head: RequestHead, formats: Mapping[str, _Format], *, usual: str) -> _Format:
    """Return the dialect that `?format=` names; without it, `plain` if `Accept` prefers that, else the usual one.

    Raises:
        InvalidField: there is no format of that name.
    """
    name = head.parameters.get("format")
    if name is None:
        # A library that accepts anything names JSON first, and plain text after it.
        is_plain = prefers(head, PLAIN, EVENT_STREAM) and prefers(head, PLAIN, JSON)
        name = "plain" if is_plain else usual
    if name not in formats:
        accepted = ", ".join(sorted(formats))
        raise InvalidField(
            f"Unknown 'format' {quoted(name)}; accepted: {accepted}.", field="format"
        )
    return formats[name]


def end_of(head: RequestHead) -> str:
    """Return `?end=`, the word that begins the last line of plain text; empty: no such line.

    Raises:
        InvalidField: it is not 1 to 64 letters, digits, `-` or `_`.
    """
    end = head.parameters.get("end")
    if end is None:
        return ""
    if not _END.fullmatch(end):
        raise InvalidField(
            "The 'end' parameter must be 1 to 64 letters, digits, '-' or '_'.", field="end"
        )
    return end
