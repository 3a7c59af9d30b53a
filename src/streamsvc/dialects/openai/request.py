"""Parses the body of OpenAI's chat completions; `fields` says what it may contain."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from streamsvc.dialects.invalid import quoted
from streamsvc.dialects.json_body import Body, convert, decode
from streamsvc.dialects.openai.fields import BODY, MESSAGE, PART, STREAM_OPTIONS, RequestBody
from streamsvc.dialects.request import RequestBuilder, RequestFields
from streamsvc.dialects.shapes import Turn
from streamsvc.errors import InvalidField, ModelNotFound
from streamsvc.messages import GenerationRequest

ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
}

_MODEL = re.compile(r"(?=.{1,256}$)(?:(?!\.+(?:/|$))[\w.:@+~-]+(?:/(?!$)|$))+", re.ASCII)
"""In some APIs a model name becomes part of a URL path, so it must not change that path."""


class ChatCompletionRequest(msgspec.Struct, frozen=True):
    """What a client asks for.

    Attributes:
        generation: the answer it wants.
        stream: whether the answer is streamed.
        include_usage: whether the stream ends with the usage.
    """

    generation: GenerationRequest
    stream: bool
    include_usage: bool


class ChatCompletionParser:
    """Parses bodies of `POST /v1/chat/completions`.

    Args:
        builder: applies the limits on every request.
        entries: the names of the provider entries.
    """

    def __init__(self, builder: RequestBuilder, entries: Collection[str]) -> None:
        self._builder = builder
        self._entries = entries

    def parse(self, raw: Body) -> ChatCompletionRequest:
        """Parse a body.

        Raises:
            RequestError: names the field.
        """
        asked = BODY.asked(decode(raw, dict[str, Any]))
        if isinstance(options := asked.get("stream_options"), dict):
            asked["stream_options"] = STREAM_OPTIONS.asked(options, "stream_options.")
        body = convert(asked, RequestBody)
        entry, model = self.model(body.model)
        if body.max_tokens and body.max_completion_tokens:
            sentence = "Give either 'max_tokens' or 'max_completion_tokens', not both."
            raise InvalidField(sentence, field="max_tokens")
        generation = self._builder.build(
            RequestFields(
                messages=[
                    _turn(message, f"messages[{at}]") for at, message in enumerate(body.messages)
                ],
                provider=entry,
                temperature=body.temperature,
                max_tokens=body.max_completion_tokens or body.max_tokens,
                stop=body.stop,
                seed=body.seed,
                grace_seconds=body.grace_seconds,
                metadata=body.metadata,
                fault=body.fault,
            ),
            model=model,
        )
        return ChatCompletionRequest(generation, body.stream, body.stream_options.include_usage)

    def model(self, name: str) -> tuple[str, str]:
        """Return the provider entry that *name* means, and the model that replaces the entry's own, or "".

        Raises:
            InvalidField: it cannot be the name of a model.
            ModelNotFound: no such entry.
        """
        if name in self._entries:
            return name, ""
        entry, _, model = name.partition("/")
        if not name:
            raise InvalidField("A 'model' is required.", field="model")
        if entry not in self._entries:
            raise ModelNotFound(self._entries)
        if not _MODEL.fullmatch(model):
            raise InvalidField(f"Invalid 'model': {quoted(name)}.", field="model")
        return entry, model


def _turn(message: Mapping[str, Any], path: str) -> Turn:
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise _refused(f"{path}.role", f"accepted: {', '.join(ROLES)}")
    content = MESSAGE.asked(message, f"{path}.").get("content")
    if isinstance(content, list):
        content = "\n".join(_part(part, f"{path}.content[{at}]") for at, part in enumerate(content))
    if not isinstance(content, str | None):
        raise _refused(f"{path}.content", "give a string or a list of text parts")
    return Turn(ROLES[role], content)


def _part(part: object, path: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise _refused(path, "only parts of type 'text' are supported")
    text = PART.asked(part, f"{path}.").get("text", "" if "text" in part else None)
    if not isinstance(text, str):
        raise _refused(f"{path}.text", "give a string")
    return text


def _refused(path: str, why: str) -> InvalidField:
    return InvalidField(f"Invalid {path!r}; {why}.", field=path)
