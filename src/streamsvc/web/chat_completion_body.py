"""The body of OpenAI's chat completions, read: what can be done, what is harmless, what is refused by name.

The fields are those of openai-python, `types/chat/completion_create_params.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from streamsvc.engine.generation import Order
from streamsvc.errors import InvalidField
from streamsvc.web.orders import CreateBody, MessageBody, OrderReader

IGNORED = frozenset(
    {
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "user",
    }
)
"""What may be left out without another answer: it is for the vendor's own books."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
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
    "top_p": (1,),
}
"""What is taken where it asks for nothing, as some clients always send it; any other value is refused."""


class _Part(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    text: str


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["developer", "system", "user", "assistant"]
    content: str | list[_Part]
    name: str | None = None
    refusal: None = None


class _StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


_StopSequence = Annotated[str, Meta(min_length=1, max_length=256)]
_Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class _Body(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    stop: _StopSequence | Annotated[list[_StopSequence], Meta(max_length=4)] | None = None
    seed: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
            Meta(max_length=16),
        ]
        | None
    ) = None
    grace_seconds: Annotated[float, Meta(ge=0)] = 0.0
    fault: str = ""


class Asked(msgspec.Struct, frozen=True):
    """What a client asks for.

    Attributes:
        order: the answer it wants.
        stream: whether word by word.
        include_usage: whether the stream tells the usage.
    """

    order: Order
    stream: bool
    include_usage: bool


class ChatCompletionReader:
    """Reads bodies.

    Args:
        orders: the bounds that hold for every request.
    """

    def __init__(self, orders: OrderReader) -> None:
        self._orders = orders

    async def read(self, request: Request) -> Asked:
        """Read a body.

        Raises:
            RequestError: names the field.
        """
        fields = await self._orders.read(request, dict[str, Any])
        body = self._orders.convert(
            {name: fields[name] for name in fields if _counts(name, fields[name])}, _Body
        )
        provider, _, model = body.model.partition("/")
        options = body.stream_options or _StreamOptions()
        order = self._orders.order(
            CreateBody(
                messages=[_turn(message) for message in body.messages],
                provider=provider,
                temperature=body.temperature,
                max_tokens=body.max_completion_tokens or body.max_tokens,
                stop=body.stop or [],
                seed=body.seed,
                grace_seconds=body.grace_seconds,
                metadata=body.metadata or {},
                fault=body.fault,
            ),
            model=model,
        )
        return Asked(order, bool(body.stream), bool(options.include_usage))


def _counts(name: str, value: object) -> bool:
    """Tell whether a field asks for something.

    Raises:
        InvalidField: for something that cannot be done here.
    """
    if value is None or name in IGNORED:
        return False
    if name in NEUTRAL:
        if value not in NEUTRAL[name]:
            raise InvalidField("This parameter is not supported.", field=name)
        return False
    if name not in _Body.__struct_fields__:
        raise InvalidField("This parameter is not supported.", field=name)
    return True


def _turn(message: _Message) -> MessageBody:
    role = "system" if message.role == "developer" else message.role
    content = message.content
    if not isinstance(content, str):
        content = "".join(part.text for part in content)
    return MessageBody(role, content)
