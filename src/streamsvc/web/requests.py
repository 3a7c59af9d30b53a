"""What clients send besides a body, checked: cursors, keys, parameters, and what they accept."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import msgspec
from starlette.requests import Request

from streamsvc.dialects.invalid import quoted
from streamsvc.errors import InvalidField, PrefetchRefused, RequestError

CURSOR_PARAMETERS = ("last_event_id", "lastEventId")
"""Where a cursor may be in an address; the second is what the EventSource polyfill calls it."""

CREATE_PARAMETERS = frozenset({"end", "format", "key"})
EVENTS_PARAMETERS = frozenset({"end", "format", *CURSOR_PARAMETERS})
STREAM_PARAMETERS = EVENTS_PARAMETERS | {"prompt", "provider", "fault", "key"}
MAX_KEY_CHARS = 255

MAX_REMEMBERED_CHARS = 256
"""How long an `Accept` may be to be remembered with what it comes to."""

EVENT_STREAM, JSON, PLAIN = "text/event-stream", "application/json", "text/plain"

_Format = TypeVar("_Format")

_PURPOSES = frozenset({b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"})
_AHEAD = re.compile(rb"prefetch|prerender|preview", re.IGNORECASE)

_END = re.compile(r"[A-Za-z0-9_-]{1,64}")
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


def refuse_prefetch(request: Request) -> None:
    """Refuse a browser that asks ahead of its user (WICG nav-speculation, `Sec-Purpose`).

    Raises:
        PrefetchRefused: it does.
    """
    for field, value in request.scope["headers"]:
        if field in _PURPOSES and _AHEAD.search(value):
            raise PrefetchRefused


def has_cursor(request: Request) -> bool:
    """Tell whether the client says that it comes back, with an id of ours or not."""
    return bool(_cursor_text(request))


def cursor_of(request: Request) -> Cursor | None:
    """Return the client's cursor: `Last-Event-ID`, else that of the address; None if it is not ours."""
    match = _CURSOR.fullmatch(_cursor_text(request))
    if match is None:
        return None
    return Cursor(match[1], int(match[2]) if match[2] else None)


def _cursor_text(request: Request) -> str:
    places = (_parameter(request, name) for name in CURSOR_PARAMETERS)
    return header(request, b"last-event-id") or next(filter(None, places), "")


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
        raise InvalidField(
            f"The {source!r} is longer than {MAX_KEY_CHARS} characters.", field=source
        )
    return key


@contextmanager
def named_as_given(request: Request, names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Have refusals name a field as the client gave it.

    Args:
        request: says where the key of the request is.
        names: what the API that was asked calls the engine's fields.
    """
    known = {} if header(request, b"idempotency-key") else {"Idempotency-Key": "key"}
    known.update(names or {})
    try:
        yield
    except RequestError as exc:
        if exc.field is not None and (name := known.get(exc.field)):
            exc.message = exc.message.replace(repr(exc.field), repr(name))
            exc.field = name
        raise


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
            sentence = f"Unknown query parameter {quoted(name)}; accepted: {accepted}."
            raise InvalidField(sentence, field=name)
        if name in seen:
            raise InvalidField(f"The query parameter {name!r} is given twice.", field=name)
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
        raise InvalidField(
            f"Unknown 'format' {quoted(name)}; accepted: {accepted}.", field="format"
        )
    return formats[name]


def end_of(request: Request) -> str:
    """Return `?end=`, the word with which the last line of a plain text is to begin; empty: no such line.

    Raises:
        InvalidField: it may not be one.
    """
    end = _parameter(request, "end")
    if end is None:
        return ""
    if not _END.fullmatch(end):
        raise InvalidField("The 'end' is 1 to 64 letters, digits, '-' or '_'.", field="end")
    return end


def _quality(parameters: list[str]) -> float:
    weights = (parameter[2:] for parameter in parameters if parameter.startswith("q="))
    try:
        return float(next(weights, "1"))
    except ValueError:
        return 0.0
