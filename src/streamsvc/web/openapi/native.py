"""The operations of the native API."""

from collections.abc import Mapping
from typing import Any

from streamsvc.web.openapi import errors
from streamsvc.web.openapi.operation import TEXT, Answer, Body, Operation, events, json, payload
from streamsvc.web.requests import CREATE_PARAMETERS, EVENTS_PARAMETERS, STREAM_PARAMETERS

_EXAMPLE = """\
retry: 2000
id: gen_cpnzhjd76rdyqdjg7zjvnyhiw4tmoj75.0
event: start
data: {"type":"start","generation":"gen_cpnzhjd76rdyqdjg7zjvnyhiw4tmoj75","provider":"fake","model":"words","created":1795342001}

id: gen_cpnzhjd76rdyqdjg7zjvnyhiw4tmoj75.1
data: {"type":"text","text":"Words "}

id: gen_cpnzhjd76rdyqdjg7zjvnyhiw4tmoj75.2
event: done
data: {"type":"done","status":"completed","finish_reason":"stop","provider_finish_reason":"stop","outcome":"completed","provider":"fake","model":"words","usage":{"input_tokens":1,"output_tokens":1},"error":null}

"""
_EVENTS = events(
    payload("Event", "Gone"),
    example=_EXAMPLE,
    unnamed={"type": "string", "description": "With `format=text`, a piece of the text as it is."},
)

STREAM = Answer(
    "The answer as it is written: events, or with `format=plain` (or if `Accept` prefers it) its text alone."
    " A stream that cannot be resumed is one `done`; at a limit, a stream without events asks to come back later.",
    {**_EVENTS, **TEXT},
    ("Location", "X-Generation-Id"),
)
NOTHING_MORE = Answer("The cursor is at the end of the answer: nothing follows.")
_SNAPSHOT = ("Location", "X-Generation-Id")

_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
_EXAMPLES: Mapping[str, dict[str, Any]] = {
    "prompt": {"prompt": "Why stream?"},
    "conversation": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why stream?"},
        ],
        "max_tokens": 20,
        "metadata": {"page": "help"},
    },
    "tools": {
        "messages": [{"role": "user", "content": "How warm is it in Paris?"}],
        "tools": [_WEATHER],
        "tool_choice": "required",
    },
    "json": {"prompt": "Name a color.", "response_format": {"type": "json_object"}},
}


def query(names: frozenset[str]) -> tuple[str, ...]:
    """Return the names of query parameters in the order of the document."""
    return tuple(sorted(names))


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/generations"): Operation(
        id="createGeneration",
        tag="native",
        summary="Create a generation.",
        description="The answer is the stream if `Accept` prefers `text/event-stream` or `text/plain`, else a snapshot."
        " The body's `Content-Type` is ignored. A request with a cursor resumes instead, and its body is ignored.",
        parameters=(*query(CREATE_PARAMETERS), "Idempotency-Key", "Last-Event-ID"),
        body=Body("GenerationBody", _EXAMPLES),
        answers={
            200: Answer(
                f"{STREAM.meaning} With a cursor and without `Accept`, a snapshot.",
                {**STREAM.content, **json("Snapshot")},
                STREAM.headers,
            ),
            201: Answer(
                "The generation, which has just begun; its stream is at `/v1/generations/{id}/events`.",
                json("Snapshot"),
                _SNAPSHOT,
            ),
            204: NOTHING_MORE,
        },
        errors=(*errors.OF_BODY, *errors.OF_GENERATION),
    ),
    ("GET", "/stream-ai"): Operation(
        id="streamAnswer",
        tag="native",
        summary="Create a generation and stream it, or resume one.",
        description="For an `EventSource`: with a cursor it resumes, and never creates.",
        parameters=(*query(STREAM_PARAMETERS), "Idempotency-Key", "Last-Event-ID"),
        answers={200: STREAM, 204: NOTHING_MORE},
        errors=errors.OF_CREATING_BY_GET,
    ),
    ("GET", "/v1/generations/{id}"): Operation(
        id="readGeneration",
        tag="native",
        summary="Return the answer so far.",
        parameters=("generation",),
        answers={200: Answer("A snapshot.", json("Snapshot"), _SNAPSHOT)},
        errors=errors.OF_GENERATION,
        refusals=errors.OF_PATH,
    ),
    ("GET", "/v1/generations/{id}/events"): Operation(
        id="followGeneration",
        tag="native",
        summary="Stream a generation, from its start or after a cursor.",
        parameters=("generation", *query(EVENTS_PARAMETERS), "Last-Event-ID"),
        answers={200: STREAM, 204: NOTHING_MORE},
        errors=(*errors.OF_GENERATION, *errors.OF_WATCHING),
        refusals=errors.OF_PATH,
    ),
    ("POST", "/v1/generations/{id}/stop"): Operation(
        id="stopGeneration",
        tag="native",
        summary="Stop a generation at once.",
        description="Repeating it changes nothing.",
        parameters=("generation",),
        answers={
            200: Answer("It has ended; a snapshot.", json("Snapshot"), _SNAPSHOT),
            204: Answer("It has ended, and is not kept."),
        },
        errors=(*errors.OF_STOPPING, *errors.OF_GENERATION),
        refusals=errors.OF_PATH,
    ),
}
