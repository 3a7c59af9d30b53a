"""The operations of OpenAI's API."""

from collections.abc import Mapping

from streamsvc.web.openapi import errors
from streamsvc.web.openapi.operation import Answer, Body, Operation, events, json, payload

_EXAMPLE = """\
data: {"id":"gen_cpnzhjd76rdyqdjg7zjvnyhiw4tmoj75","object":"chat.completion.chunk","created":1795342001,"model":"words","choices":[{"index":0,"delta":{"content":"Words "},"logprobs":null,"finish_reason":null}]}

data: [DONE]

"""
_EVENTS = events(
    payload("ChatCompletionChunk", "ErrorBody"),
    {"const": "[DONE]", "description": "The end."},
    example=_EXAMPLE,
)
_ASK = {"model": "fake", "messages": [{"role": "user", "content": "Why stream?"}]}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): Operation(
        id="createChatCompletion",
        tag="openai",
        summary="Answer a conversation, as OpenAI's API does.",
        description="Fields of OpenAI's API that are not listed are refused by name.",
        parameters=("key", "Idempotency-Key"),
        body=Body(
            "ChatCompletionBody",
            {
                "whole": _ASK,
                "streamed": {**_ASK, "stream": True, "stream_options": {"include_usage": True}},
            },
        ),
        answers={
            200: Answer(
                "The answer: as chunks if `stream` is true, else as one object."
                " A stream that fails ends with an error object.",
                {**json("ChatCompletion"), **_EVENTS},
                ("X-Generation-Id",),
            )
        },
        errors=(*errors.OF_BODY, *errors.OF_MODEL),
        refusals=errors.failures(),
        shape="openai",
    ),
    ("GET", "/v1/models"): Operation(
        id="listModels",
        tag="openai",
        summary="List the provider entries that are ready.",
        answers={200: Answer("The entries, as models.", json("Models"))},
        shape="openai",
    ),
    ("GET", "/v1/models/{id}"): Operation(
        id="readModel",
        tag="openai",
        summary="Return one model.",
        parameters=("model_name",),
        answers={200: Answer("The model.", json("Model"))},
        errors=errors.OF_MODEL,
        refusals=errors.OF_PATH,
        shape="openai",
    ),
}
