"""What clients of every API ask for, in one form: checked, and turned into a `GenerationRequest`.

Types check their own fields; what they cannot check is checked here, and a refusal names the field.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streamsvc.config.settings import GenerationSettings, LimitSettings
from streamsvc.errors import InvalidField, RequestTooLarge
from streamsvc.messages import (
    AssistantMessage,
    GenerationRequest,
    Message,
    Prompt,
    UserMessage,
    texts_of,
)

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


_MESSAGES: Mapping[str, type[UserMessage | AssistantMessage]] = {
    "user": UserMessage,
    "assistant": AssistantMessage,
}


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """One message of the conversation, as clients send it.

    Attributes:
        role: who wrote it.
        content: a string; a turn whose content is blank, null or an empty list has no text, and is left out.
    """

    role: Literal["system", "user", "assistant"]
    content: str | list[Any] | None = None


class RequestFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Everything a client can ask for: the body of `POST /v1/generations`, and what other APIs are turned into.

    `docs/wire.md` explains each field.
    """

    prompt: str | None = None
    messages: list[Turn] | None = None
    system: str = ""
    provider: str | None = None
    temperature: Temperature | None = None
    max_tokens: TokenCount | None = None
    stop: StopSequences = []
    seed: Seed | None = None
    grace_seconds: GraceSeconds | None = None
    metadata: Metadata = {}
    fault: str = ""


class RequestBuilder:
    """Makes requests within the configured limits.

    Args:
        default_provider: the entry to use if the client does not name one.
        limits: sizes.
        generations: the limit on the grace period.
    """

    def __init__(
        self, *, default_provider: str, limits: LimitSettings, generations: GenerationSettings
    ) -> None:
        self._default_provider = default_provider
        self._limits = limits
        self._max_grace_seconds = generations.max_grace_seconds

    def build(self, fields: RequestFields, *, model: str = "") -> GenerationRequest:
        """Check what no type can check, and make the request.

        Args:
            fields: what the client asks for.
            model: replaces the model of the provider entry, if not empty.

        Raises:
            InvalidField: names the field.
            RequestTooLarge: the input is longer than `max_prompt_chars`.
        """
        if fields.grace_seconds is not None and fields.grace_seconds > self._max_grace_seconds:
            raise InvalidField(
                f"The field 'grace_seconds' must be at most {self._max_grace_seconds:g}.",
                field="grace_seconds",
            )
        prompt = _prompt(fields)
        chars = sum(map(len, texts_of(prompt)))
        if chars > self._limits.max_prompt_chars:
            raise RequestTooLarge(
                f"The input is longer than {self._limits.max_prompt_chars} characters"
                " (limits.max_prompt_chars).",
                field="prompt" if fields.messages is None else "messages",
            )
        return GenerationRequest(
            prompt=msgspec.structs.replace(prompt, model=model),
            provider=self._default_provider if fields.provider is None else fields.provider,
            grace_seconds=fields.grace_seconds,
            metadata=fields.metadata,
        )


def _prompt(fields: RequestFields) -> Prompt:
    if fields.prompt is not None and fields.messages is not None:
        raise InvalidField("Give either prompt or messages, not both.", field="messages")
    if fields.messages is not None:
        system, turns = _conversation(fields.messages)
    elif fields.prompt is not None:
        if not fields.prompt.strip():
            raise InvalidField("The prompt is empty.", field="prompt")
        system, turns = [], (UserMessage(fields.prompt),)
    else:
        raise InvalidField("Give a prompt or messages.", field="prompt")
    return Prompt(
        messages=turns,
        system="\n\n".join(text for text in (fields.system, *system) if text.strip()),
        temperature=fields.temperature,
        max_tokens=fields.max_tokens,
        stop=(fields.stop,) if isinstance(fields.stop, str) else tuple(fields.stop),
        seed=fields.seed,
        fault=fields.fault,
    )


def _conversation(messages: list[Turn]) -> tuple[list[str], tuple[Message, ...]]:
    """Separate the system prompts from the turns, and leave out turns without text.

    Some clients send such turns for content that is not text, or because other servers require one.
    """
    system: list[str] = []
    turns: list[Message] = []
    blank = ""
    for at, message in enumerate(messages):
        content = message.content or ""
        field = f"messages[{at}].content"
        if not isinstance(content, str):
            raise InvalidField(f"Invalid {field!r}: it must be a string.", field=field)
        if not content.strip():
            blank = field if message.role == "user" else blank
        elif message.role == "system":
            system.append(content)
        else:
            turns.append(_MESSAGES[message.role](content))
    if not any(isinstance(turn, UserMessage) for turn in turns):
        sentence = "At least one user message with text is required in 'messages'."
        raise InvalidField(
            "The content is empty." if blank else sentence, field=blank or "messages"
        )
    return system, tuple(turns)
