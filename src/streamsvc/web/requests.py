"""The head of a request, read once per request: everything that a client says besides the body."""

import re
from collections.abc import Mapping

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request

from streamsvc.dialects.invalid import quoted
from streamsvc.engine.ids import ID_PATTERN, check_owner
from streamsvc.errors import InvalidField, NavigationRefused, PrefetchRefused, RequestError
from streamsvc.principals import ANONYMOUS, Principal
from streamsvc.tracecontext import RequestTrace
from streamsvc.web.request_trace import trace_of

CURSOR_PARAMETERS = ("last_event_id", "lastEventId")
"""Query parameters that may contain a cursor; the second one is the EventSource polyfill's."""

CREATE_PARAMETERS = frozenset({"end", "format", "key"})
EVENTS_PARAMETERS = frozenset({"end", "format", *CURSOR_PARAMETERS})
STREAM_PARAMETERS = EVENTS_PARAMETERS | {"prompt", "provider", "fault", "script", "key"}
TICKET_PARAMETERS = EVENTS_PARAMETERS | {"ticket"}
MAX_KEY_CHARS = 255

_FIELDS = frozenset({
    *(b"accept", b"content-encoding", b"content-length", b"content-type", b"host"),
    *(b"idempotency-key", b"last-event-id", b"origin", b"sec-fetch-dest", b"sec-fetch-site"),
    b"user-agent",
})  # fmt: skip
_PURPOSES = frozenset({b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"})
_AHEAD = re.compile(rb"prefetch|prerender|preview", re.IGNORECASE)
_CURSOR = re.compile(rf"({ID_PATTERN})\.(?:(\d{{1,15}})|gone)", re.ASCII)
_NO_PARAMETERS = QueryParams("")


class Cursor(msgspec.Struct, frozen=True):
    """The last event that a client has seen.

    Attributes:
        generation: its generation.
        seq: the record; None for the id of a `done` that said `not_resumable`.
    """

    generation: str
    seq: int | None


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a request's head. If a field occurs twice, the first one counts.

    Attributes:
        parameters: of the query, decoded.
        has_cursor: whether the client is resuming, whether or not its cursor is valid.
        cursor: from `Last-Event-ID`, else from the query; None if it is missing or was not issued here.
        has_cursor_field: whether it is from `Last-Event-ID`, which is in no access log, as a query is.
        accept: `Accept`; empty if missing, like the other fields that are not optional.
        host: `Host`.
        user_agent: `User-Agent`.
        origin: of the page, as the browser sent it.
        fetch_site: `Sec-Fetch-Site` (Fetch Metadata, section 2.3).
        fetch_dest: `Sec-Fetch-Dest`.
        content_type: of the body.
        content_encoding: of the body.
        content_length: of the body, not validated.
        key_field: `Idempotency-Key`.
        is_prefetch: whether it is a browser's prefetch (WICG nav-speculation, `Sec-Purpose`).
        trace: of the request; None: it is not traced.
        principal: who makes the request, as `access` found out.
    """

    parameters: QueryParams
    has_cursor: bool
    cursor: Cursor | None
    has_cursor_field: bool
    accept: str
    host: str
    user_agent: str
    origin: str | None
    fetch_site: str | None
    fetch_dest: str | None
    content_type: str
    content_encoding: str
    content_length: str
    key_field: str
    is_prefetch: bool
    trace: RequestTrace | None = None
    principal: Principal = ANONYMOUS

    @property
    def cut_at(self) -> str:
        """The cursor of a WebKit that resumes, for `sse.preamble`; "" for any other client.

        Chromium calls itself WebKit, too, and names its own version in addition.
        """
        is_webkit = "AppleWebKit/" in self.user_agent and "Chrome/" not in self.user_agent
        if not is_webkit or self.cursor is None or self.cursor.seq is None:
            return ""
        return f"{self.cursor.generation}.{self.cursor.seq}"

    def check_own(self, generation: str) -> None:
        """Answer for a generation of another principal as for one that does not exist.

        Raises:
            GenerationNotFound: it is one of another principal.
        """
        check_owner(generation, self.principal.name)

    def key(self) -> str | None:
        """Return the idempotency key: the header, else `?key=`.

        Raises:
            InvalidField: it is longer than 255 characters.
        """
        key = self.key_field or self.parameters.get("key") or None
        if key and len(key) > MAX_KEY_CHARS:
            source = "Idempotency-Key" if self.key_field else "key"
            raise InvalidField(
                f"The {source!r} is longer than {MAX_KEY_CHARS} characters.", field=source
            )
        return key

    def check_parameters(self, known: frozenset[str]) -> None:
        """Refuse query parameters that are unknown or given twice.

        Raises:
            InvalidField: names the parameter.
        """
        seen = set()
        for name, _ in self.parameters.multi_items():
            if name not in known:
                accepted = ", ".join(sorted(known)) or "none"
                sentence = f"Unknown query parameter {quoted(name)}; accepted: {accepted}."
                raise InvalidField(sentence, field=name)
            if name in seen:
                raise InvalidField(f"The query parameter {name!r} is given twice.", field=name)
            seen.add(name)

    def refuse_prefetch(self) -> None:
        """Refuse a browser's prefetch.

        Raises:
            PrefetchRefused: it is one.
        """
        if self.is_prefetch:
            raise PrefetchRefused

    def refuse_navigation(self) -> None:
        """Refuse what is not a request of a script: a link that is opened, an image, a preview of a link.

        A browser sends `Sec-Fetch-Dest: empty` for an `EventSource` and for `fetch` (Fetch, section 2.2.5). What has no
        such header, and would take a page, is an older browser or a program that looks at links.

        Raises:
            NavigationRefused: it is one.
        """
        is_script = self.fetch_dest is None or self.fetch_dest == "empty"
        if not is_script or "text/html" in self.accept.lower():
            raise NavigationRefused

    def rename_field(self, refusal: RequestError, names: Mapping[str, str] | None = None) -> None:
        """Make a refusal name its field the way the client did.

        Args:
            refusal: of the request.
            names: what the client's API calls the engine's fields.
        """
        known = {} if self.key_field else {"Idempotency-Key": "key"}
        known.update(names or {})
        if refusal.field is not None and (name := known.get(refusal.field)):
            refusal.message = refusal.message.replace(repr(refusal.field), repr(name))
            refusal.field = name


def read_head(request: Request, principal: Principal = ANONYMOUS) -> RequestHead:
    """Read the head of a request: one loop over its fields, and the query only if there is one.

    Args:
        request: the request.
        principal: who makes it.
    """
    fields: dict[bytes, str] = {}
    is_prefetch = False
    for name, value in request.scope["headers"]:
        if name in _FIELDS and name not in fields:
            fields[name] = str(value, "latin-1")
        elif name in _PURPOSES:
            is_prefetch = is_prefetch or _AHEAD.search(value) is not None
    parameters = request.query_params if request.scope["query_string"] else _NO_PARAMETERS
    field = fields.get(b"last-event-id")
    cursor = field or _cursor_parameter(parameters)
    return RequestHead(
        parameters=parameters,
        has_cursor=bool(cursor),
        cursor=_cursor(cursor),
        has_cursor_field=bool(field),
        accept=fields.get(b"accept", ""),
        host=fields.get(b"host", ""),
        user_agent=fields.get(b"user-agent", ""),
        origin=fields.get(b"origin"),
        fetch_site=fields.get(b"sec-fetch-site"),
        fetch_dest=fields.get(b"sec-fetch-dest"),
        content_type=fields.get(b"content-type", ""),
        content_encoding=fields.get(b"content-encoding", ""),
        content_length=fields.get(b"content-length", ""),
        key_field=fields.get(b"idempotency-key", ""),
        is_prefetch=is_prefetch,
        trace=trace_of(request.scope),
        principal=principal,
    )


def _cursor_parameter(parameters: QueryParams) -> str:
    given = (parameters.get(name) for name in CURSOR_PARAMETERS) if parameters else ()
    return next(filter(None, given), "")


def _cursor(text: str) -> Cursor | None:
    if not text or (match := _CURSOR.fullmatch(text)) is None:
        return None
    return Cursor(match[1], int(match[2]) if match[2] else None)
