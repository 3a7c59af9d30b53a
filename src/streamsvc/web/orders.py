"""What clients ask for, checked: the native body and query into orders.

What no type tells is checked here, and refused with the name of the field at fault. The other wire
formats come here in the form of a `CreateBody`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from streamsvc.config.settings import GenerationSettings, LimitSettings
from streamsvc.engine.generation import GenerationRequest
from streamsvc.errors import InvalidField, RequestTooLarge
from streamsvc.messages import Message, Prompt
from streamsvc.web.bodies import JsonBodies

Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""64 bits, as OpenAI has it; an adapter whose API takes fewer reduces it."""

_StopSequence = Annotated[str, Meta(min_length=1, max_length=256)]


class MessageBody(msgspec.Struct, forbid_unknown_fields=True):
    """One turn, as clients send it.

    Attributes:
        role: who says it.
        content: a text; blank, null or an empty list is a turn without words, which is left out.
    """

    role: Literal["system", "user", "assistant"]
    content: str | list[Any] | None = None


class CreateBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/generations`."""

    prompt: str | None = None
    messages: list[MessageBody] | None = None
    system: str = ""
    provider: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    stop: _StopSequence | Annotated[list[_StopSequence], Meta(max_length=4)] = []
    seed: Seed | None = None
    grace_seconds: Annotated[float, Meta(ge=0)] | None = None
    metadata: Annotated[
        dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
        Meta(max_length=16),
    ] = {}
    fault: str = ""


class GenerationRequestReader:
    """Reads orders within the configured bounds.

    Args:
        bodies: reads their JSON.
        default_provider: the entry that is asked where the client names none.
        limits: sizes.
        generations: the bound on grace.
    """

    def __init__(
        self,
        bodies: JsonBodies,
        *,
        default_provider: str,
        limits: LimitSettings,
        generations: GenerationSettings,
    ) -> None:
        self._bodies = bodies
        self._default_provider = default_provider
        self._limits = limits
        self._max_grace_seconds = generations.max_grace_seconds

    def from_query(self, query: Mapping[str, str]) -> GenerationRequest:
        """Read the GET form, `?prompt=…&provider=…`.

        Raises:
            RequestError: names the parameter.
        """
        if "prompt" not in query:
            raise InvalidField("A prompt is required: ?prompt=…", field="prompt")
        return self.order(
            CreateBody(
                prompt=query["prompt"],
                provider=query.get("provider"),
                fault=query.get("fault", ""),
            )
        )

    async def from_body(self, request: Request) -> GenerationRequest:
        """Read the JSON body of a POST.

        Raises:
            RequestError: names the field.
        """
        return self.order(await self._bodies.read(request, CreateBody))

    def order(self, body: CreateBody, *, model: str = "") -> GenerationRequest:
        """Check what no type tells, and make the order.

        Args:
            body: what is asked.
            model: in the place of that of the provider entry, if not empty.

        Raises:
            RequestError: names the field.
        """
        if body.grace_seconds is not None and body.grace_seconds > self._max_grace_seconds:
            raise InvalidField(
                f"The field 'grace_seconds' is at most {self._max_grace_seconds:g}.",
                field="grace_seconds",
            )
        prompt = _prompt(body)
        chars = len(prompt.system) + sum(len(turn.content) for turn in prompt.messages)
        if chars > self._limits.max_prompt_chars:
            raise RequestTooLarge(
                f"The input is longer than {self._limits.max_prompt_chars} characters"
                " (limits.max_prompt_chars).",
                field="prompt" if body.messages is None else "messages",
            )
        return GenerationRequest(
            prompt=msgspec.structs.replace(prompt, model=model),
            provider=self._default_provider if body.provider is None else body.provider,
            grace_seconds=body.grace_seconds,
            metadata=body.metadata,
        )


def _prompt(body: CreateBody) -> Prompt:
    if body.prompt is not None and body.messages is not None:
        raise InvalidField("Give either prompt or messages, not both.", field="messages")
    if body.messages is not None:
        system, turns = _conversation(body.messages)
    elif body.prompt is not None:
        if not body.prompt.strip():
            raise InvalidField("The prompt is empty.", field="prompt")
        system, turns = [], (Message("user", body.prompt),)
    else:
        raise InvalidField("Give a prompt or messages.", field="prompt")
    return Prompt(
        messages=turns,
        system="\n\n".join(text for text in (body.system, *system) if text.strip()),
        temperature=body.temperature,
        max_tokens=body.max_tokens,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop),
        seed=body.seed,
        fault=body.fault,
    )


def _conversation(messages: list[MessageBody]) -> tuple[list[str], tuple[Message, ...]]:
    """Part the system texts from the turns; those without words are left out.

    Some clients send such turns for what they cannot say in text, or to please servers that want one.
    """
    system: list[str] = []
    turns: list[Message] = []
    blank = ""
    for at, message in enumerate(messages):
        content = message.content or ""
        field = f"messages[{at}].content"
        if not isinstance(content, str):
            raise InvalidField(f"Invalid {field!r}: it has to be a text.", field=field)
        if not content.strip():
            blank = field if message.role == "user" else blank
        elif message.role == "system":
            system.append(content)
        else:
            turns.append(Message(message.role, content))
    if not any(turn.role == "user" for turn in turns):
        sentence = "At least one user message with text is required in 'messages'."
        raise InvalidField(
            "The content is empty." if blank else sentence, field=blank or "messages"
        )
    return system, tuple(turns)
