"""Parses the body that the AI SDK's `useChat` sends: its messages become turns.

The fields are those of the package `ai`, `src/ui/http-chat-transport.ts` and `src/ui/ui-messages.ts`.
"""

from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from streamsvc.config.settings import AISDKSettings, GenerationSettings
from streamsvc.dialects.invalid import quoted
from streamsvc.dialects.json_body import Body, decode
from streamsvc.dialects.request import (
    GraceSeconds,
    RequestBuilder,
    RequestFields,
    Temperature,
    TokenCount,
)
from streamsvc.dialects.shapes import Turn
from streamsvc.errors import InvalidField
from streamsvc.messages import GenerationRequest

_SILENT_PARTS = ("reasoning", "step-start", "source-url", "source-document", "data-")
"""Message parts that are not part of the conversation; the model does not get them."""

ChatId = Annotated[str, Meta(min_length=1, max_length=255)]


class _Part(msgspec.Struct):
    type: str
    text: str | None = ""


class _Message(msgspec.Struct):
    role: Literal["system", "user", "assistant"]
    parts: list[_Part] | None = None


class _Body(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    id: ChatId
    messages: list[_Message]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    messageId: str | None = None  # noqa: N815  # the AI SDK's name
    system: str = ""
    provider: str | None = None
    temperature: Temperature | None = None
    max_tokens: TokenCount | None = None
    grace_seconds: GraceSeconds | None = None
    fault: str = ""


class ChatRequest(NamedTuple):
    """What a page asks for.

    Attributes:
        chat: the chat's id.
        generation: the answer it wants.
    """

    chat: str
    generation: GenerationRequest


class UIMessageParser:
    """Parses bodies of `POST /api/chat`.

    Args:
        builder: applies the limits on every request.
        settings: the grace period of a client that may come back, if it does not set one.
        generations: the limit on that period.
    """

    def __init__(
        self, builder: RequestBuilder, settings: AISDKSettings, generations: GenerationSettings
    ) -> None:
        self._builder = builder
        self._grace_seconds = min(settings.grace_seconds, generations.max_grace_seconds)

    def parse(self, raw: Body, *, may_come_back: bool) -> ChatRequest:
        """Parse a body.

        Args:
            raw: the body.
            may_come_back: whether a client of this kind can resume; if not, leaving stops the answer.

        Raises:
            RequestError: names the field.
        """
        body = decode(raw, _Body)
        usual_grace_seconds = self._grace_seconds if may_come_back else 0.0
        generation = self._builder.build(
            RequestFields(
                messages=[_turn(at, message) for at, message in enumerate(body.messages)],
                system=body.system,
                provider=body.provider,
                temperature=body.temperature,
                max_tokens=body.max_tokens,
                grace_seconds=usual_grace_seconds
                if body.grace_seconds is None
                else body.grace_seconds,
                fault=body.fault,
            )
        )
        return ChatRequest(body.id, generation)


def _turn(at: int, message: _Message) -> Turn:
    """Join the text parts of a message."""
    parts = message.parts or []
    for number, part in enumerate(parts):
        if part.type != "text" and not part.type.startswith(_SILENT_PARTS):
            raise InvalidField(
                f"Parts of type {quoted(part.type)} are not supported.",
                field=f"messages[{at}].parts[{number}]",
            )
    words = (part.text or "" for part in parts if part.type == "text")
    return Turn(message.role, "".join(words))
