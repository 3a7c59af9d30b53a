"""What clients of every API ask for, in one form: checked, and turned into a `GenerationRequest`.

Types check their own fields; what they cannot check is checked here, and a refusal names the field.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from streamsvc.config.settings import GenerationSettings, LimitSettings
from streamsvc.dialects.content import Conversation, conversation_of
from streamsvc.dialects.invalid import refused
from streamsvc.dialects.media import Media
from streamsvc.dialects.shapes import Choice, Format, Prediction, Tools, Turn
from streamsvc.dialects.tools import choice_of, format_of, tools_of
from streamsvc.errors import InvalidField, RequestTooLarge
from streamsvc.messages import (
    GenerationRequest,
    Prompt,
    ReasoningEffort,
    UserMessage,
    Verbosity,
    texts_of,
)
from streamsvc.principals import ANONYMOUS, Principal
from streamsvc.script import Script

_StopSequence = Annotated[str, Meta(min_length=1, max_length=256)]

Temperature = Annotated[float, Meta(ge=0, le=2)]
TokenCount = Annotated[int, Meta(ge=1, le=2**31 - 1)]
StopSequences = _StopSequence | Annotated[list[_StopSequence], Meta(max_length=4)]
GraceSeconds = Annotated[float, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""64 bits, as in OpenAI's API; an adapter whose API takes fewer bits reduces it."""

Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]


_Fraction = Annotated[float, Meta(ge=0, le=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Word = Annotated[str, Meta(max_length=512)]
_Bias = dict[str, Annotated[float, Meta(ge=-100, le=100)]]


class SharedFields(msgspec.Struct, kw_only=True):
    """The fields that the native API and OpenAI's have in common, by OpenAI's names and in its shapes."""

    messages: list[Turn] | None = None
    temperature: Temperature | None = None
    top_p: _Fraction | None = None
    top_k: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    min_p: _Fraction | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    logit_bias: _Bias | None = None
    max_tokens: TokenCount | None = None
    stop: StopSequences | None = None
    seed: Seed | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    reasoning_effort: ReasoningEffort | None = None
    verbosity: Verbosity | None = None
    response_format: Format | None = None
    prediction: Prediction | None = None
    tools: Tools | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    user: _Word | None = None
    safety_identifier: _Word | None = None
    prompt_cache_key: _Word | None = None
    prompt_cache_retention: _Word | None = None
    service_tier: _Word | None = None
    store: bool | None = None
    metadata: Metadata = {}
    fault: str = ""
    script: Script | None = None


class RequestFields(SharedFields, forbid_unknown_fields=True, kw_only=True):
    """Everything a client can ask for: the body of `POST /v1/generations`, and what other APIs are turned into.

    `docs/reference/http.md` explains each field.
    """

    prompt: str | None = None
    system: str = ""
    provider: str | None = None
    extra_body: dict[str, Any] | None = None
    grace_seconds: GraceSeconds | None = None


_CONVERTED = frozenset({
    *("messages", "system", "stop", "top_logprobs", "response_format", "prediction"),
    *("tools", "tool_choice", "parallel_tool_calls"),
})  # fmt: skip
_SAME = tuple(
    name
    for name in RequestFields.__struct_fields__
    if name in Prompt.__struct_fields__ and name not in _CONVERTED
)
"""The fields that a `Prompt` has in the same form."""

_same = attrgetter(*_SAME)


class RequestBuilder:
    """Makes requests within the configured limits.

    Args:
        default_provider: the entry to use if the client does not name one, and may use it.
        models: the model of each entry.
        limits: sizes.
        generations: the limit on the grace period.
    """

    def __init__(
        self,
        *,
        default_provider: str,
        models: Mapping[str, str],
        limits: LimitSettings,
        generations: GenerationSettings,
    ) -> None:
        self._default_provider = default_provider
        self._models = models
        self._limits = limits
        self._max_grace_seconds = generations.max_grace_seconds

    def build(
        self,
        fields: RequestFields,
        caller: Principal = ANONYMOUS,
        *,
        model: str = "",
        places: Sequence[str] = (),
    ) -> GenerationRequest:
        """Check what no type can check, and make the request.

        Args:
            fields: what the client asks for.
            caller: who asks.
            model: replaces the model of the provider entry, if not empty.
            places: what each of the messages is called in the client's body, for sentences; empty: `messages[0]`, …

        Raises:
            InvalidField: names the field.
            RequestTooLarge: the input is longer than `max_prompt_chars`, or an image or a file is too large.
        """
        if fields.grace_seconds is not None and fields.grace_seconds > self._max_grace_seconds:
            raise InvalidField(
                f"The field 'grace_seconds' must be at most {self._max_grace_seconds:g}.",
                field="grace_seconds",
            )
        prompt = _prompt(fields, model, Media(self._limits), places)
        chars = sum(map(len, texts_of(prompt)))
        if chars > self._limits.max_prompt_chars:
            raise RequestTooLarge(
                f"The input is longer than {self._limits.max_prompt_chars} characters"
                " (limits.max_prompt_chars).",
                field="prompt" if fields.messages is None else "messages",
            )
        return GenerationRequest(
            prompt=prompt,
            provider=caller.entry(self._default_provider, self._models)
            if fields.provider is None
            else fields.provider,
            is_usual=fields.provider is None,
            grace_seconds=fields.grace_seconds,
            metadata=fields.metadata,
        )


def _prompt(fields: RequestFields, model: str, media: Media, places: Sequence[str]) -> Prompt:
    conversation = _conversation(fields, media, places)
    system = (fields.system, *conversation.system)
    tools = tools_of(fields.tools)
    same = zip(_SAME, _same(fields), strict=True)
    return Prompt(
        messages=conversation.messages,
        system="\n\n".join(text for text in system if text.strip()),
        stop=(fields.stop,) if isinstance(fields.stop, str) else tuple(fields.stop or ()),
        top_logprobs=_top_logprobs(fields),
        response_format=format_of(fields.response_format),
        prediction=_prediction(fields.prediction),
        tools=tools,
        tool_choice=choice_of(fields.tool_choice, tools),
        parallel_tool_calls=fields.parallel_tool_calls if tools else None,
        model=model,
        **{name: value for name, value in same if value is not None},
    )


def _conversation(fields: RequestFields, media: Media, places: Sequence[str]) -> Conversation:
    if fields.prompt is not None and fields.messages is not None:
        raise InvalidField("Give either prompt or messages, not both.", field="messages")
    if fields.messages is not None:
        return conversation_of(fields.messages, media, places)
    if fields.prompt is None:
        raise InvalidField("Give a prompt or messages.", field="prompt")
    if not fields.prompt.strip():
        raise InvalidField("The prompt is empty.", field="prompt")
    return Conversation((), (UserMessage(fields.prompt),))


def _top_logprobs(fields: RequestFields) -> int | None:
    if fields.logprobs:
        return fields.top_logprobs
    if fields.top_logprobs:
        raise refused("top_logprobs", "it needs 'logprobs': true")
    return None


def _prediction(prediction: Prediction | None) -> str:
    if prediction is None:
        return ""
    content = prediction.content
    return content if isinstance(content, str) else "".join(part.text for part in content)
