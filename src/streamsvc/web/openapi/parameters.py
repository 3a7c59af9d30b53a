"""The parameters of requests: paths, queries and headers."""

from collections.abc import Mapping
from typing import Any

from streamsvc.engine.ids import ID_PATTERN
from streamsvc.web.requests import MAX_KEY_CHARS

Json = dict[str, Any]

_CURSOR = "The id of the last event that the client has seen; an EventSource sends it by itself."
_KEY: Json = {"type": "string", "maxLength": MAX_KEY_CHARS}
_SCRIPT = "#/components/schemas/ScriptStep"


def _parameter(name: str, place: str, schema: Json, meaning: str, **more: object) -> Json:
    return {"name": name, "in": place, "schema": schema, "description": meaning, **more}


def _query(name: str, schema: Json, meaning: str, **more: object) -> Json:
    return _parameter(name, "query", schema, meaning, **more)


def _path(schema: Json, meaning: str, **more: object) -> Json:
    return _parameter("id", "path", schema, meaning, required=True, **more)


PARAMETERS: Mapping[str, Json] = {
    "generation": _path({"type": "string", "pattern": f"^{ID_PATTERN}$"}, "The generation."),
    "chat": _path(
        {"type": "string", "minLength": 1}, "The chat, as the page named it.", example="chat-1"
    ),
    "model_name": _path(
        {"type": "string", "minLength": 1},
        "A provider entry, or `<entry>/<model>`.",
        example="fake",
    ),
    "prompt": _query(
        "prompt",
        {"type": "string"},
        "The question; required without a cursor.",
        example="Why stream?",
    ),
    "provider": _query(
        "provider", {"type": "string"}, "A provider entry; default: the configured one."
    ),
    "fault": _query(
        "fault",
        {"type": "string"},
        "The name of a fault, for entries of kind `fake` with `allow_faults`.",
    ),
    "script": {
        "name": "script",
        "in": "query",
        "description": "What an entry of kind `fake` with `allow_faults` answers, step by step, as JSON.",
        "content": {"application/json": {"schema": {"type": "array", "items": {"$ref": _SCRIPT}}}},
    },
    "format": _query(
        "format",
        {"enum": ["json", "plain", "text"]},
        "How the answer is streamed: events in JSON (the default), its text alone, or events with text as it is.",
    ),
    "ui_format": _query(
        "format",
        {"enum": ["plain", "ui"]},
        "How the answer is streamed: as UI messages (the default), or its text alone.",
    ),
    "end": _query(
        "end",
        {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        "With `format=plain`: begins a last line that says how the answer ended.",
    ),
    "ticket": _query(
        "ticket", {"type": "string"}, "The text of a ticket.", required=True, example="tkt_…"
    ),
    "key": _query("key", _KEY, "As `Idempotency-Key`, which wins."),
    "last_event_id": _query("last_event_id", {"type": "string"}, "As `Last-Event-ID`, which wins."),
    "lastEventId": _query("lastEventId", {"type": "string"}, "As `last_event_id`, which wins."),
    "Idempotency-Key": _parameter(
        "Idempotency-Key",
        "header",
        _KEY,
        "A request with the key of an earlier one gets the answer to that; with another request, it is refused.",
    ),
    "Last-Event-ID": _parameter("Last-Event-ID", "header", {"type": "string"}, _CURSOR),
}
"""By the name that operations use."""

HEADERS: Mapping[str, Json] = {
    "Location": {
        "description": "Where the generation is, or the rest of the stream can be read.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "X-Generation-Id": {
        "description": "The id of the generation.",
        "schema": {"type": "string", "pattern": f"^{ID_PATTERN}$"},
    },
    "Retry-After": {
        "description": "How many seconds to wait before the next attempt; not if waiting does not help.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": '`Bearer`: what a credential is sent with; with `error="invalid_token"` if the one that was sent is not valid (RFC 6750, section 3.1).',
        "schema": {"type": "string"},
    },
    "Accept-Encoding": {
        "description": "`identity`: bodies must not be compressed.",
        "schema": {"type": "string"},
    },
    "X-Should-Retry": {
        "description": "Whether OpenAI's SDKs should retry; it overrides their own rule.",
        "schema": {"enum": ["true", "false"]},
    },
    "x-vercel-ai-ui-message-stream": {
        "description": "The version of the AI SDK's protocol.",
        "schema": {"const": "v1"},
    },
}
"""The headers of responses."""
