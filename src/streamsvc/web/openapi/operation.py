"""What the document says of one operation, and how it says it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streamsvc.errors import RequestError
from streamsvc.web.openapi import errors
from streamsvc.web.openapi.errors import Refusal, Shape
from streamsvc.web.openapi.parameters import PARAMETERS
from streamsvc.web.openapi.schemas import reference

Json = dict[str, Any]


class Body(msgspec.Struct, frozen=True):
    """A JSON body.

    Attributes:
        schema: its name in the document.
        examples: bodies that the fake provider answers, by name.
    """

    schema: str
    examples: Mapping[str, Json]


class Answer(msgspec.Struct, frozen=True):
    """A response that is not an error.

    Attributes:
        meaning: when it is sent, in a sentence.
        content: its media types, each with what it contains.
        headers: the names of its headers, of those in `parameters.HEADERS`.
    """

    meaning: str
    content: Mapping[str, Json] = {}
    headers: Sequence[str] = ()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A method of a path.

    Attributes:
        id: unique; generated clients use it as a name.
        tag: the API that it belongs to.
        summary: one sentence.
        description: the rest.
        parameters: their names in `PARAMETERS`.
        body: if it has one.
        answers: the responses that are not errors, by status.
        errors: the errors that it raises.
        refusals: further reasons for an error.
        shape: how its errors are written.
    """

    id: str
    tag: str
    summary: str
    description: str = ""
    parameters: Sequence[str] = ()
    body: Body | None = None
    answers: Mapping[int, Answer]
    errors: Sequence[type[RequestError]] = ()
    refusals: Sequence[Refusal] = ()
    shape: Shape = "problem"

    def described(self, *errors_of_access: type[RequestError]) -> Json:
        """Return the Operation Object (OpenAPI 3.1, section 4.8.10).

        Args:
            errors_of_access: what those get who may not call it.
        """
        kinds = (*errors_of_access, *self.errors)
        refusals = (*map(errors.refusal_of, kinds), *self.refusals)
        found: Json = {"operationId": self.id, "tags": [self.tag], "summary": self.summary}
        if self.description:
            found["description"] = self.description
        if parameters := [PARAMETERS[name] for name in self.parameters]:
            found["parameters"] = parameters
        if self.body is not None:
            found["requestBody"] = _body(self.body)
        found["responses"] = errors.responses(refusals, self.shape, in_full=self.answers)
        for status, answer in self.answers.items():
            found["responses"][f"{status}"] = _answer(answer, found["responses"].get(f"{status}"))
        found["responses"] = dict(sorted(found["responses"].items()))
        return found


def json(schema: str) -> Mapping[str, Json]:
    """Return the content of a JSON response."""
    return {"application/json": {"schema": reference(schema)}}


def events(*data: Json, example: str, unnamed: Json | None = None) -> Mapping[str, Json]:
    """Return the content of an event stream (HTML, section 9.2).

    OpenAPI 3.1 has no word for the events of a stream; as usual, the schema is that of one event, which 3.2 calls
    `itemSchema`.

    Args:
        data: what the `data` of an event is, as schemas of a string.
        example: a stream.
        unnamed: what the `data` of an event without a name may be as well.
    """
    schema: Json = {
        "description": "One event of the stream; `data` is what an EventSource delivers.",
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "The cursor, for `Last-Event-ID`."},
            "event": {"type": "string", "description": "The name, without one `message`."},
            "data": data[0] if len(data) == 1 else {"anyOf": list(data)},
        },
        "required": ["data"],
    }
    if unnamed is not None:
        named = schema["properties"].pop("data")
        as_it_is = {"event": {"const": "message"}, "data": unnamed}
        schema["anyOf"] = [{"properties": {"data": named}}, {"properties": as_it_is}]
    return {"text/event-stream": {"schema": schema, "example": example}}


def payload(*schemas: str) -> Json:
    """Return the schema of a string that contains JSON of one of these schemas."""
    refs = [reference(name) for name in schemas]
    return {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": refs[0] if len(refs) == 1 else {"anyOf": refs},
    }


TEXT: Mapping[str, Json] = {
    "text/plain": {"schema": {"type": "string"}, "example": "Words arrive."}
}
"""The content of an answer in plain text."""


def _body(body: Body) -> Json:
    examples = {name: {"value": value} for name, value in body.examples.items()}
    content = {"schema": reference(body.schema), "examples": examples}
    return {"required": True, "content": {"application/json": content}}


def _answer(answer: Answer, failure: Json | None) -> Json:
    """Return a response that is not an error, or may also be the one that is given."""
    found: Json = failure or {"description": "", "content": {}}
    found["description"] = "\n".join(filter(None, (answer.meaning, found["description"])))
    found["content"] = {**answer.content, **found["content"]}
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in answer.headers}
    if headers := headers | found.get("headers", {}):
        found["headers"] = headers
    return {name: part for name, part in found.items() if part}
