"""The body that the AI SDK's `useChat` sends, read: its messages into turns.

The fields are those of the package `ai`, `src/ui/http-chat-transport.ts` and `src/ui/ui-messages.ts`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from streamsvc.config.settings import AISDKSettings, GenerationSettings
from streamsvc.engine.generation import GenerationRequest
from streamsvc.errors import InvalidField
from streamsvc.web.bodies import JsonBodies
from streamsvc.web.orders import CreateBody, GenerationRequestReader, MessageBody
from streamsvc.web.requests import quoted

_SILENT_PARTS = ("reasoning", "step-start", "source-url", "source-document", "data-")
"""Parts of messages that are no words of the conversation; a model is not told of them."""

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
    messageId: str | None = None  # noqa: N815  # its name there
    system: str = ""
    provider: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    grace_seconds: Annotated[float, Meta(ge=0)] | None = None
    fault: str = ""


class UIMessageReader:
    """Reads bodies.

    Args:
        bodies: reads their JSON.
        orders: the bounds that hold for every request.
        settings: the grace of a client that may come back, where it asks for none.
        generations: its bound.
    """

    def __init__(
        self,
        bodies: JsonBodies,
        orders: GenerationRequestReader,
        settings: AISDKSettings,
        generations: GenerationSettings,
    ) -> None:
        self._bodies = bodies
        self._orders = orders
        self._grace_seconds = min(settings.grace_seconds, generations.max_grace_seconds)

    async def read(self, request: Request, *, may_come_back: bool) -> tuple[str, GenerationRequest]:
        """Return the chat's id, and what is asked.

        Args:
            request: has the body.
            may_come_back: whether a client of this kind can resume; else leaving is a stop.

        Raises:
            RequestError: names the field.
        """
        body = await self._bodies.read(request, _Body)
        usual_grace_seconds = self._grace_seconds if may_come_back else 0.0
        order = self._orders.order(
            CreateBody(
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
        return body.id, order


def _turn(at: int, message: _Message) -> MessageBody:
    """Put the words of a message together."""
    parts = message.parts or []
    for number, part in enumerate(parts):
        if part.type != "text" and not part.type.startswith(_SILENT_PARTS):
            raise InvalidField(
                f"Parts of the type {quoted(part.type)} are not supported.",
                field=f"messages[{at}].parts[{number}]",
            )
    words = (part.text or "" for part in parts if part.type == "text")
    return MessageBody(message.role, "".join(words))
