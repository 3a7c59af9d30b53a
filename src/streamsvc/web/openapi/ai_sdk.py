"""The operations of the AI SDK's `useChat`."""

from collections.abc import Mapping

from streamsvc.web.openapi import errors
from streamsvc.web.openapi.operation import TEXT, Answer, Body, Operation, events, payload

_EXAMPLE = """\
data: {"type":"start","messageId":"gen_cpnzhjd76rdyqdjg7zjvnyhiw4tmoj75"}

data: {"type":"start-step"}

data: {"type":"text-start","id":"1"}

data: {"type":"text-delta","id":"1","delta":"Words "}

data: {"type":"text-end","id":"1"}

data: {"type":"finish-step"}

data: {"type":"finish","finishReason":"stop"}

data: [DONE]

"""
_EVENTS = events(
    payload("UIMessageChunk"), {"const": "[DONE]", "description": "The end."}, example=_EXAMPLE
)
_STREAM = Answer(
    "The answer as it is written: a UI message stream, or with `format=plain` (or if `Accept` prefers it) its text alone.",
    {**_EVENTS, **TEXT},
    ("X-Generation-Id", "x-vercel-ai-ui-message-stream"),
)
_PART = {"type": "text", "text": "Why stream?"}
_MESSAGE = {"id": "message-1", "role": "user", "parts": [_PART]}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/api/chat"): Operation(
        id="chat",
        tag="ai-sdk",
        summary="Answer the messages of a chat.",
        description="An answer that is still running in that chat is stopped.",
        parameters=("ui_format", "key", "Idempotency-Key"),
        body=Body("UIMessageBody", {"first": {"id": "chat-1", "messages": [_MESSAGE]}}),
        answers={200: _STREAM},
        errors=errors.OF_BODY,
        shape="text",
    ),
    ("GET", "/api/chat/{id}/stream"): Operation(
        id="resumeChat",
        tag="ai-sdk",
        summary="Stream the latest answer of a chat from its start.",
        parameters=("chat", "ui_format"),
        answers={200: _STREAM, 204: Answer("The chat is idle.")},
        errors=errors.OF_WATCHING,
        refusals=(*errors.OF_PATH, errors.GONE),
        shape="text",
    ),
    ("POST", "/api/chat/{id}/stop"): Operation(
        id="stopChat",
        tag="ai-sdk",
        summary="Stop the latest answer of a chat at once.",
        parameters=("chat",),
        answers={204: Answer("Nothing is running in that chat.")},
        errors=errors.OF_STOPPING,
        refusals=errors.OF_PATH,
        shape="text",
    ),
}
