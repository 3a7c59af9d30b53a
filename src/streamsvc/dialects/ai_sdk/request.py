"""Parses the body that the AI SDK's `useChat` sends: its messages become turns.

The fields are those of the package `ai`, `src/ui/http-chat-transport.ts`, and the parameters of the native API, which a
page adds with the `body` of its transport.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from streamsvc.config.settings import AISDKSettings, GenerationSettings
from streamsvc.dialects.ai_sdk.context import Context
from streamsvc.dialects.ai_sdk.history import History
from streamsvc.dialects.ai_sdk.replay import earlier_steps
from streamsvc.dialects.ai_sdk.shapes import UIMessage
from streamsvc.dialects.json_body import Body, decode
from streamsvc.dialects.request import (
    GraceSeconds,
    RequestBuilder,
    RequestFields,
    SharedFields,
)
from streamsvc.errors import RequestError
from streamsvc.messages import GenerationRequest
from streamsvc.principals import ANONYMOUS, Principal

ChatId = Annotated[str, Meta(min_length=1, max_length=255)]
MessageId = Annotated[str, Meta(max_length=255)]


class UIMessageBody(SharedFields, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /api/chat`: what `useChat` sends, and the parameters of the native API.

    Attributes:
        id: of the chat.
        messages: the conversation so far.
        trigger: whether the last message is new, or is to be answered once more.
        messageId: the message that the answer replaces, or continues.
    """

    id: ChatId
    messages: list[UIMessage]  # type: ignore[assignment]  # the AI SDK's messages in place of OpenAI's
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    messageId: MessageId | None = None  # noqa: N815  # the AI SDK's name
    system: str = ""
    provider: str | None = None
    extra_body: dict[str, Any] | None = None
    grace_seconds: GraceSeconds | None = None


_PARAMETERS = tuple(name for name in SharedFields.__struct_fields__ if name != "messages")


class ChatRequest(NamedTuple):
    """What a page asks for.

    Attributes:
        chat: the chat's id.
        generation: the answer it wants.
        context: what the answer's stream depends on.
    """

    chat: str
    generation: GenerationRequest
    context: Context


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

    def parse(
        self, raw: Body, caller: Principal = ANONYMOUS, *, may_come_back: bool
    ) -> ChatRequest:
        """Parse a body.

        Args:
            raw: the body.
            caller: who asks.
            may_come_back: whether a client of this kind can resume; if not, leaving stops the answer.

        Raises:
            RequestError: names the field.
        """
        body = decode(raw, UIMessageBody)
        grace_seconds = self._grace_seconds if may_come_back else 0.0
        generation = self._generation(body, caller, grace_seconds)
        return ChatRequest(body.id, generation, _context(body))

    def _generation(
        self, body: UIMessageBody, caller: Principal, usual_grace_seconds: float
    ) -> GenerationRequest:
        history = History(body.messages)
        grace_seconds = body.grace_seconds
        fields = RequestFields(
            messages=history.turns,
            system=body.system,
            provider=body.provider,
            extra_body=body.extra_body,
            grace_seconds=usual_grace_seconds if grace_seconds is None else grace_seconds,
            **{name: getattr(body, name) for name in _PARAMETERS},
        )
        try:
            return self._builder.build(fields, caller, places=history.places)
        except RequestError as exc:
            raise history.named(exc) from exc


def _context(body: UIMessageBody) -> Context:
    parts = chain.from_iterable(message.parts or () for message in body.messages)
    call_ids = frozenset(part.tool_call_id for part in parts if part.is_tool)
    message = _continued(body)
    if message is None:
        return Context(call_ids=call_ids)
    return Context(message.id, earlier_steps(message), call_ids)


def _continued(body: UIMessageBody) -> UIMessage | None:
    """Return the message that the answer adds a step to, as the hook does; None if it is a message of its own.

    That is the message that the request names, if it is the assistant's, or else the last one, if it is.
    """
    answers: Sequence[UIMessage] = [
        message
        for at, message in enumerate(body.messages, 1)
        if message.role == "assistant"
        and message.id
        and (message.id == body.messageId or at == len(body.messages))
    ]
    return answers[0] if answers and body.trigger == "submit-message" else None
