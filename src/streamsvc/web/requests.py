"""What clients send besides a body, checked: cursors, keys, parameters, and whose pages they are."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

import msgspec
from starlette.requests import Request

from streamsvc.errors import InvalidField, OriginRefused

STREAM_PARAMETERS = frozenset({"prompt", "provider", "fault", "format", "key", "last_event_id"})
EVENTS_PARAMETERS = frozenset({"format", "last_event_id"})
MAX_KEY_CHARS = 255
MAX_REMEMBERED_CHARS = 256
"""How long an `Accept` may be to be remembered with what it comes to."""

EVENT_STREAM, JSON, PLAIN = "text/event-stream", "application/json", "text/plain"

_Format = TypeVar("_Format")

_CURSOR = re.compile(r"(gen_[a-z2-7]{32})\.(?:(\d{1,12})|gone)", re.ASCII)


class Cursor(msgspec.Struct, frozen=True):
    """What a client has seen last: an id of ours.

    Attributes:
        generation: its generation.
        seq: the record; None for the id of a `done` that said `not_resumable`.
    """

    generation: str
    seq: int | None


def header(request: Request, name: bytes) -> str | None:
    """Return a header field by its name in lower case: one loop, where Starlette's mapping is four calls."""
    for field, value in request.scope["headers"]:
        if field == name:
            return str(value, "latin-1")
    return None


def has_cursor(request: Request) -> bool:
    """Tell whether the client says that it comes back, with an id of ours or not."""
    return bool(_cursor_text(request))


def cursor_of(request: Request) -> Cursor | None:
    """Return the client's cursor: `Last-Event-ID`, else `?last_event_id=`; None if it is not ours."""
    match = _CURSOR.fullmatch(_cursor_text(request))
    if match is None:
        return None
    return Cursor(match[1], int(match[2]) if match[2] else None)


def _cursor_text(request: Request) -> str:
    return header(request, b"last-event-id") or _parameter(request, "last_event_id") or ""


def _parameter(request: Request, name: str) -> str | None:
    """Return a query parameter; most requests have none, and are not parsed for one."""
    return request.query_params.get(name) if request.scope["query_string"] else None


def key_of(request: Request) -> str | None:
    """Return the idempotency key: the header, else `?key=`.

    Raises:
        InvalidField: it is longer than 255 characters.
    """
    field = header(request, b"idempotency-key")
    key = field or _parameter(request, "key") or None
    if key and len(key) > MAX_KEY_CHARS:
        source = "Idempotency-Key" if field else "key"
        raise InvalidField(f"At most {MAX_KEY_CHARS} characters.", field=source)
    return key


def check_parameters(request: Request, known: frozenset[str]) -> None:
    """Refuse query parameters that are unknown or given twice.

    Raises:
        InvalidField: names the parameter.
    """
    if not request.scope["query_string"]:
        return
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            accepted = ", ".join(sorted(known)) or "none"
            raise InvalidField(f"Unknown query parameter; accepted: {accepted}.", field=name)
        if name in seen:
            raise InvalidField("The query parameter is given twice.", field=name)
        seen.add(name)


def prefers(request: Request, wanted: str, other: str) -> bool:
    """Tell whether `Accept` prefers one media type to another (RFC 9110, section 12.5.1).

    Of two that are equally welcome, the first; where neither is named, the other.
    """
    accept = header(request, b"accept") or ""
    weigh = _prefers if len(accept) <= MAX_REMEMBERED_CHARS else _prefers.__wrapped__
    return weigh(accept, wanted, other)


@lru_cache(maxsize=256)  # a client always sends the same
def _prefers(accept: str, wanted: str, other: str) -> bool:
    places = {wanted: (0.0, 0), other: (0.0, 0)}
    for place, media_range in enumerate(accept.split(",")):
        name, *parameters = (part.strip().lower() for part in media_range.split(";"))
        if name in places:
            places[name] = max(places[name], (_quality(parameters), -place))
    return places[wanted][0] > 0 and places[wanted] > places[other]


def format_of(request: Request, formats: Mapping[str, _Format], *, usual: str) -> _Format:
    """Return what `?format=` names; else `plain` where `Accept` prefers that, or the usual one.

    Raises:
        InvalidField: there is no format of that name.
    """
    # A library that takes anything names JSON first, and plain text behind it.
    name = _parameter(request, "format")
    if name is None:
        is_plain = prefers(request, PLAIN, EVENT_STREAM) and prefers(request, PLAIN, JSON)
        name = "plain" if is_plain else usual
    if name not in formats:
        accepted = ", ".join(sorted(formats))
        raise InvalidField(f"Unknown format; accepted: {accepted}.", field="format")
    return formats[name]


def _quality(parameters: list[str]) -> float:
    weights = (parameter[2:] for parameter in parameters if parameter.startswith("q="))
    try:
        return float(next(weights, "1"))
    except ValueError:
        return 0.0


class Origins:
    """Which pages may create: those of the service's own origin, and those that are configured.

    A browser tells the origin of a page with its requests, and withholds the answer from a page that
    may not read it; but by then the answer would be in the making, and paid for.

    Args:
        allowed: origins as browsers write them; `*` is any.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = frozenset(allowed)

    def check(self, request: Request) -> None:
        """Let a request pass that may create.

        Raises:
            OriginRefused: it comes from a page of another origin.
        """
        origin, site = header(request, b"origin"), header(request, b"sec-fetch-site")
        if "*" in self._allowed or origin in self._allowed or site == "same-origin":
            return
        if origin is None:
            # No page, or one that asks without wanting to read, as an image does. An address that a
            # person follows is none of these.
            is_page = site in {"cross-site", "same-site"}
            is_own = not is_page or header(request, b"sec-fetch-dest") == "document"
        else:
            is_own = origin.partition("://")[2] == header(request, b"host")
        if not is_own:
            raise OriginRefused
