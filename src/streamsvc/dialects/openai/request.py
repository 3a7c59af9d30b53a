"""The body of OpenAI's chat completions: what is supported, what is harmless, what is refused by name.

The fields are those of openai-python, `types/chat/completion_create_params.py`. A null
field counts as not given.
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streamsvc.dialects.invalid import quoted, unknown_field
from streamsvc.dialects.json_body import Body, convert, decode
from streamsvc.dialects.request import RequestBuilder, RequestFields, Seed, Turn
from streamsvc.errors import InvalidField, ModelNotFound
from streamsvc.messages import GenerationRequest

_StopSequence = Annotated[str, Meta(min_length=1, max_length=256)]
_Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class _Body(msgspec.Struct, kw_only=True):
    model: str = ""
    messages: list[dict[str, Any]] = []
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    stop: _StopSequence | Annotated[list[_StopSequence], Meta(max_length=4)] = []
    seed: Seed | None = None
    metadata: Annotated[
        dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
        Meta(max_length=16),
    ] = {}
    grace_seconds: Annotated[float, Meta(ge=0)] = 0.0
    fault: str = ""


class Fields(msgspec.Struct, frozen=True):
    """The fields of an object that clients send.

    Attributes:
        known: what is supported.
        ignored: what can be left out without changing the answer.
        neutral: values that ask for nothing, by field; some clients always send them. Any other value is refused.
    """

    known: Collection[str]
    ignored: Collection[str] = ()
    neutral: Mapping[str, tuple[Any, ...]] = {}

    def asked(self, given: Mapping[str, Any], path: str = "") -> dict[str, Any]:
        """Return the fields that ask for something.

        Raises:
            InvalidField: one asks for something that is not supported.
        """
        asked = {}
        for name, value in given.items():
            if name in self.known and value is not None:
                asked[name] = value
            elif not (value is None or name in self.ignored or value in self.neutral.get(name, ())):
                raise self._refusal(name, path)
        return asked

    def _refusal(self, name: str, path: str) -> InvalidField:
        accepted = [json.dumps(value) for value in self.neutral.get(name, ()) if value]
        if not accepted:
            known = () if path else tuple(self.known)
            return unknown_field(f"{path}{name}", known, sentence="Unsupported parameter:")
        sentence = f"Unsupported parameter: {quoted(path + name)}; accepted: {', '.join(accepted)}."
        return InvalidField(sentence, field=f"{path}{name}")


BODY = Fields(
    known=_Body.__struct_fields__,
    ignored=(
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "user",
    ),
    neutral={
        "frequency_penalty": (0,),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "logit_bias": ({},),
        "logprobs": (False,),
        "modalities": (["text"],),
        "n": (1,),
        "presence_penalty": (0,),
        "response_format": ({"type": "text"},),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_logprobs": (0,),
        "top_p": (1,),
        "verbosity": ("medium",),
    },
)
STREAM_OPTIONS = Fields(known=("include_usage",), neutral={"include_obfuscation": (False,)})
MESSAGE = Fields(
    known=("role", "content"),
    ignored=("reasoning_content",),  # our own output, sent back
    neutral={"annotations": ([],), "tool_calls": ([],)},
)
PART = Fields(known=("type", "text"), ignored=("prompt_cache_breakpoint",))

ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
}

_MODEL = re.compile(r"(?=.{1,256}$)(?:(?!\.+(?:/|$))[\w.:@+~-]+(?:/(?!$)|$))+", re.ASCII)
"""The name of a model becomes part of a path in some APIs, so it must not lead elsewhere."""


class ChatCompletionRequest(msgspec.Struct, frozen=True):
    """What a client asks for.

    Attributes:
        generation: the answer it wants.
        stream: whether it wants it word by word.
        include_usage: whether the stream ends with the usage.
    """

    generation: GenerationRequest
    stream: bool
    include_usage: bool


class ChatCompletionParser:
    """Parses bodies of `POST /v1/chat/completions`.

    Args:
        builder: applies the bounds that hold for every request.
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
        body = convert(asked, _Body)
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
        raise _refused(f"{path}.content", "give a text, or a list of text parts")
    return Turn(ROLES[role], content)


def _part(part: object, path: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise _refused(path, "only parts of the type 'text' are supported")
    text = PART.asked(part, f"{path}.").get("text", "" if "text" in part else None)
    if not isinstance(text, str):
        raise _refused(f"{path}.text", "give a text")
    return text


def _refused(path: str, why: str) -> InvalidField:
    return InvalidField(f"Invalid {path!r}; {why}.", field=path)
