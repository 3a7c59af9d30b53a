"""The body of `POST /chat/completions`, from a prompt.

Source: openai SDK, `types/chat/completion_create_params.py` and the message params beside it. Everything that a
prompt has is sent under its name in that API; `parameters` knows which servers take it.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, assert_never

from streamsvc.config.provider_settings import OpenAISettings
from streamsvc.messages import (
    COMPATIBLE,
    AssistantMessage,
    FilePart,
    ImagePart,
    JsonFormat,
    Message,
    NamedTool,
    Part,
    Prompt,
    ProviderData,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from streamsvc.providers.openai.rare import INNER_STAMP
from streamsvc.providers.openai.thoughts import returned
from streamsvc.providers.provider_data import STAMP, field, own

MAX_ID_CHARS = 40
"""OpenAI refuses longer ids of tool calls, with a 400 that says so."""

_UNNAMED = "answer"
"""The name of a schema without one; the API requires a name."""


class BodyWriter:
    """Writes the bodies of one provider entry.

    Args:
        settings: of the entry.
    """

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._is_openai = settings.is_openais_own

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """Return the body for *prompt*, without `stream_options`.

        Additional fields (`extra_body`) come from the entry and from the request, which takes precedence. They never
        replace a parameter that the prompt has, or a field that the service sends itself
        (`OpenAISettings.own_fields`).
        """
        settings = self._settings
        body: dict[str, Any] = {
            "model": prompt.model or settings.model,
            "messages": [*self._messages(prompt)],
            "stream": True,
        }
        body |= _parameters(prompt, settings.max_tokens_field)
        for name, value in {**settings.extra_body, **prompt.extra_body}.items():
            if name not in settings.own_fields:
                body.setdefault(name, value)
        return body

    def _messages(self, prompt: Prompt) -> Iterator[dict[str, Any]]:
        if prompt.system:
            yield {"role": "system", "content": prompt.system}
        model = prompt.model or self._settings.model
        for message in prompt.messages:
            yield self._message(message, model)

    def _message(self, message: Message, model: str) -> dict[str, Any]:
        match message:
            case UserMessage():
                return {"role": "user", **_user(message)}
            case AssistantMessage():
                return {"role": "assistant", **self._assistant(message, model)}
            case ToolMessage(content=content, tool_call_id=call_id):
                return {"role": "tool", "content": content, "tool_call_id": self._id(call_id)}
            case other:
                assert_never(other)

    def _assistant(self, message: AssistantMessage, model: str) -> dict[str, Any]:
        """Return an earlier turn of the model; its content is null if it only calls tools or refuses."""
        refusal, content = message.refusal, message.content
        if refusal and not self._is_openai:  # compatible servers do not know the field
            refusal, content = "", content or refusal
        fields: dict[str, Any] = {"content": content}
        if not content and (message.tool_calls or refusal):
            fields["content"] = None
        if message.name:
            fields["name"] = message.name
        if refusal:
            fields["refusal"] = refusal
        if message.tool_calls:
            fields["tool_calls"] = [self._call(call, model) for call in message.tool_calls]
            fields |= {} if self._is_openai else returned(message, model)
        return fields | self._extra(message.provider_data, model)

    def _call(self, call: ToolCall, model: str) -> dict[str, Any]:
        function = {"name": call.name, "arguments": call.arguments}
        fields = {"id": self._id(call.id), "type": "function", "function": function}
        return fields | self._extra(call.provider_data, model)

    def _extra(self, data: ProviderData, model: str) -> dict[str, Any]:
        """Return what the provider wants back, as `extra_content`, which is Google's name for it in this API.

        OpenAI's own API refuses the field.
        """
        kept = {} if self._is_openai else own(data, "openai", model)
        extra = {
            vendor: value for vendor, value in kept.items() if vendor not in {STAMP, COMPATIBLE}
        }
        if inner := field(kept, STAMP, INNER_STAMP):  # the upstream is a service like this one
            extra[STAMP] = inner
        return {"extra_content": extra} if extra else {}

    def _id(self, call_id: str) -> str:
        """Return the id of a call. For OpenAI, an id that is too long is replaced, in the call and in its result alike.

        Other servers get it unchanged: some keep data in it.
        """
        if not self._is_openai or len(call_id) <= MAX_ID_CHARS:
            return call_id
        return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:24]}"


def _user(message: UserMessage) -> dict[str, Any]:
    match message.content:
        case str() as words:
            content: object = words
        case (TextPart(text=words),):  # means the same, and some servers accept only text
            content = words
        case parts:
            content = [_part(part) for part in parts]
    return {"content": content, "name": message.name} if message.name else {"content": content}


def _part(part: Part) -> dict[str, Any]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ImagePart(url=url, detail=detail):
            return {"type": "image_url", "image_url": {"url": url, **_given(detail=detail)}}
        case FilePart(url=url, filename=filename):
            return {"type": "file", "file": {**_given(filename=filename), "file_data": url}}
        case other:
            assert_never(other)


def _parameters(prompt: Prompt, max_tokens_field: str) -> dict[str, Any]:
    """Return the fields for the parameters that a prompt has."""
    fields = _given(
        temperature=prompt.temperature,
        stop=[*prompt.stop] or None,
        seed=prompt.seed,
        **{max_tokens_field: prompt.max_tokens},
        top_p=prompt.top_p,
        top_k=prompt.top_k,
        min_p=prompt.min_p,
        frequency_penalty=prompt.frequency_penalty,
        presence_penalty=prompt.presence_penalty,
        repetition_penalty=prompt.repetition_penalty,
        logit_bias={token: _number(bias) for token, bias in prompt.logit_bias.items()} or None,
        logprobs=prompt.logprobs or None,
        top_logprobs=prompt.top_logprobs,
        reasoning_effort=prompt.reasoning_effort,
        verbosity=prompt.verbosity,
        user=prompt.user,
        safety_identifier=prompt.safety_identifier,
        prompt_cache_key=prompt.prompt_cache_key,
        prompt_cache_retention=prompt.prompt_cache_retention,
        service_tier=prompt.service_tier,
        store=prompt.store,
    )
    if prompt.response_format is not None:
        fields["response_format"] = _response_format(prompt.response_format)
    if prompt.prediction:
        fields["prediction"] = {"type": "content", "content": prompt.prediction}
    if prompt.tools:
        fields["tools"] = [{"type": "function", "function": _function(it)} for it in prompt.tools]
    if prompt.tool_choice is not None:
        fields["tool_choice"] = (
            {"type": "function", "function": {"name": prompt.tool_choice.name}}
            if isinstance(prompt.tool_choice, NamedTool)
            else prompt.tool_choice
        )
    return fields | _given(parallel_tool_calls=prompt.parallel_tool_calls)


def _function(tool: Tool) -> dict[str, Any]:
    given = _given(description=tool.description, parameters=tool.parameters, strict=tool.strict)
    return {"name": tool.name, **given}


def _response_format(wanted: JsonFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = {
        "name": wanted.name or _UNNAMED,
        **_given(description=wanted.description),
        "schema": wanted.schema,
        **_given(strict=wanted.strict),
    }
    return {"type": "json_schema", "json_schema": schema}


def _given(**fields: object) -> dict[str, Any]:
    """Return the fields that are neither None nor empty text."""
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _number(bias: float) -> float:
    """Return a whole number as an integer: OpenAI's biases are integers."""
    return int(bias) if bias == int(bias) else bias
