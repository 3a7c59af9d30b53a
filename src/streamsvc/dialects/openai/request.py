"""Parses the body of OpenAI's chat completions; `fields` says what it may contain."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from streamsvc.config.provider_settings import ProviderSettings
from streamsvc.dialects.invalid import quoted
from streamsvc.dialects.json_body import Body, convert, decode
from streamsvc.dialects.openai.fields import BODY, STREAM_OPTIONS, RequestBody
from streamsvc.dialects.openai.messages import each, message_of, tool_of
from streamsvc.dialects.request import RequestBuilder, RequestFields, SharedFields
from streamsvc.errors import InvalidField, ModelNotFound
from streamsvc.messages import GenerationRequest
from streamsvc.principals import ANONYMOUS, Principal

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
        entries: the provider entries, by name.
    """

    def __init__(self, builder: RequestBuilder, entries: Mapping[str, ProviderSettings]) -> None:
        self._builder = builder
        self._entries = entries
        self._open_entries = {name for name in entries if entries[name].allow_extra_body}

    def parse(self, raw: Body, caller: Principal = ANONYMOUS) -> ChatCompletionRequest:
        """Parse a body.

        Args:
            raw: the body.
            caller: who sends it.

        Raises:
            RequestError: names the field.
        """
        asked, unknown = BODY.split(decode(raw, dict[str, Any]))
        body = convert(_shaped(asked), RequestBody)
        entry, model = self.model(body.model, caller)
        for name in unknown if entry not in self._open_entries else ():
            raise BODY.unsupported(name)
        if body.max_tokens and body.max_completion_tokens:
            sentence = "Give either 'max_tokens' or 'max_completion_tokens', not both."
            raise InvalidField(sentence, field="max_tokens")
        fields = {name: getattr(body, name) for name in SharedFields.__struct_fields__}
        fields["messages"] = body.messages or []
        fields["max_tokens"] = body.max_completion_tokens or body.max_tokens
        generation = self._builder.build(
            RequestFields(
                **fields, provider=entry, grace_seconds=body.grace_seconds, extra_body=unknown
            ),
            model=model,
        )
        return ChatCompletionRequest(generation, body.stream, body.stream_options.include_usage)

    def model(self, name: str, caller: Principal = ANONYMOUS) -> tuple[str, str]:
        """Return the provider entry that *name* means, and the model that replaces the entry's own, or "".

        Args:
            name: the model, as the client names it.
            caller: who asks; entries that it may not use do not exist for it.

        Raises:
            InvalidField: it cannot be the name of a model.
            ModelNotFound: no such entry.
        """
        visible = caller.visible(self._entries)
        if name in visible:
            return name, ""
        entry, _, model = name.partition("/")
        if not name:
            raise InvalidField("A 'model' is required.", field="model")
        if entry not in visible:
            raise ModelNotFound(visible)
        if not _MODEL.fullmatch(model):
            raise InvalidField(f"Invalid 'model': {quoted(name)}.", field="model")
        return entry, model


def _shaped(asked: dict[str, Any]) -> dict[str, Any]:
    """Return a body whose messages, tools and options are in the shared shapes."""
    if isinstance(options := asked.get("stream_options"), dict):
        asked["stream_options"] = STREAM_OPTIONS.asked(options, "stream_options.")
    shapes = {"messages": message_of, "tools": tool_of}
    return asked | {name: each(asked[name], name, shapes[name]) for name in shapes if name in asked}
