"""What clients ask for, checked: the native body and query into orders.

Everything that is wrong with them is said here, with the name of the field at fault. The other wire
formats come here in the form of a `CreateBody`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request

from streamsvc.engine.generation import Order
from streamsvc.errors import InvalidField, MalformedRequest, RequestTooLarge
from streamsvc.messages import Message, Prompt
from streamsvc.settings import GenerationSettings, LimitSettings
from streamsvc.web.requests import header

_FIELD = re.compile(r"`\$\.?([^`]*)`")
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")

_Body = TypeVar("_Body")

_Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_StopSequence = Annotated[str, Meta(min_length=1, max_length=256)]


class MessageBody(msgspec.Struct, forbid_unknown_fields=True):
    """One turn, as clients send it."""

    role: Literal["system", "user", "assistant"]
    content: str


class CreateBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/generations`."""

    prompt: str | None = None
    messages: list[MessageBody] | None = None
    system: str = ""
    provider: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    stop: _StopSequence | Annotated[list[_StopSequence], Meta(max_length=4)] = []
    seed: _Int32 | None = None
    grace_seconds: Annotated[float, Meta(ge=0)] | None = None
    metadata: Annotated[
        dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
        Meta(max_length=16),
    ] = {}
    fault: str = ""


class OrderReader:
    """Reads orders within the configured bounds.

    Args:
        default_provider: the entry that is asked where the client names none.
        limits: sizes.
        generations: the bound on grace.
    """

    def __init__(
        self, *, default_provider: str, limits: LimitSettings, generations: GenerationSettings
    ) -> None:
        self._default_provider = default_provider
        self._limits = limits
        self._max_grace_seconds = generations.max_grace_seconds

    def from_query(self, query: Mapping[str, str]) -> Order:
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

    async def from_body(self, request: Request) -> Order:
        """Read the JSON body of a POST.

        Raises:
            RequestError: names the field.
        """
        return self.order(await self.read(request, CreateBody))

    async def read(self, request: Request, kind: type[_Body]) -> _Body:
        """Read a JSON body.

        Raises:
            RequestError: names the field.
        """
        raw = await self._read(request)
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError as exc:
            raise _invalid(str(exc)) from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise MalformedRequest("The body is not JSON in UTF-8.") from exc

    def convert(self, value: object, kind: type[_Body]) -> _Body:
        """Turn JSON that has been looked at into what it should be.

        Raises:
            InvalidField: it is not.
        """
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as exc:
            raise _invalid(str(exc)) from exc

    async def _read(self, request: Request) -> bytes:
        bound = self._limits.max_body_bytes
        length = header(request, b"content-length") or "0"
        if length.isdecimal() and int(length) > bound:
            raise _too_large(bound)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > bound:
                raise _too_large(bound)
        return bytes(body)

    def order(self, body: CreateBody, *, model: str = "") -> Order:
        """Check what no type tells, and make the order.

        Args:
            body: what is asked.
            model: in the place of that of the provider entry, if not empty.

        Raises:
            RequestError: names the field.
        """
        if body.grace_seconds is not None and body.grace_seconds > self._max_grace_seconds:
            raise InvalidField(f"At most {self._max_grace_seconds:g}.", field="grace_seconds")
        prompt = _prompt(body)
        chars = len(prompt.system) + sum(len(turn.content) for turn in prompt.messages)
        if chars > self._limits.max_prompt_chars:
            raise RequestTooLarge(
                f"The input is longer than {self._limits.max_prompt_chars} characters.",
                field="prompt" if body.messages is None else "messages",
            )
        return Order(
            prompt=msgspec.structs.replace(prompt, model=model),
            provider=self._default_provider if body.provider is None else body.provider,
            grace_seconds=body.grace_seconds,
            metadata=body.metadata,
        )


def _too_large(bound: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {bound} bytes.")


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
        system="\n\n".join(text for text in (body.system, *system) if text),
        temperature=body.temperature,
        max_tokens=body.max_tokens,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop),
        seed=body.seed,
        fault=body.fault,
    )


def _conversation(messages: list[MessageBody]) -> tuple[list[str], tuple[Message, ...]]:
    """Part the system texts from the turns."""
    system: list[str] = []
    turns: list[Message] = []
    for at, message in enumerate(messages):
        if not message.content.strip():
            raise InvalidField("The content is empty.", field=f"messages[{at}].content")
        if message.role == "system":
            system.append(message.content)
        else:
            turns.append(Message(message.role, message.content))
    if not turns:
        raise InvalidField("There is no message of a user.", field="messages")
    return system, tuple(turns)


def _invalid(text: str) -> InvalidField:
    """Turn msgspec's sentence, which names types and path but no values, into ours."""
    what, _, _ = text.partition(" - at ")
    path = match[1] if (match := _FIELD.search(text)) and " - at " in text else ""
    if unknown := _UNKNOWN_FIELD.search(what):
        path = f"{path}.{unknown[1]}" if path else unknown[1]
        return InvalidField("Unknown field.", field=path)
    if what.startswith("Invalid enum value"):  # there is one field of the kind
        return InvalidField("Accepted: system, user, assistant.", field=path)
    return InvalidField(f"{what.replace('`', '')}.", field=path or "body")
