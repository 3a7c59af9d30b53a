"""What clients send, checked: bodies and queries into orders, ids into cursors.

Everything that is wrong with a request is said here, with the name of the field at fault.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from streamsvc.engine.generation import Order
from streamsvc.errors import InvalidField, MalformedRequest, OriginRefused, RequestTooLarge
from streamsvc.messages import Message, Prompt
from streamsvc.settings import GenerationSettings, LimitSettings

STREAM_PARAMETERS = frozenset({"prompt", "provider", "fault", "format", "key", "last_event_id"})
EVENTS_PARAMETERS = frozenset({"format", "last_event_id"})
MAX_KEY_CHARS = 255

_CURSOR = re.compile(r"(gen_[a-z2-7]{32})\.(?:(\d{1,12})|gone)", re.ASCII)
_FIELD = re.compile(r"`\$\.?([^`]*)`")
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")

_Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_StopSequence = Annotated[str, Meta(min_length=1, max_length=256)]


class _MessageBody(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class _CreateBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    prompt: str | None = None
    messages: list[_MessageBody] | None = None
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


class Cursor(msgspec.Struct, frozen=True):
    """What a client has seen last: an id of ours.

    Attributes:
        generation: its generation.
        seq: the record; None for the id of a `done` that said `not_resumable`.
    """

    generation: str
    seq: int | None


def has_cursor(request: Request) -> bool:
    """Tell whether the client says that it comes back, with an id of ours or not."""
    return bool(_cursor_text(request))


def cursor_of(request: Request) -> Cursor | None:
    """Return the client's cursor: `Last-Event-ID`, else `?last_event_id=`; None if it is not ours."""
    match = _CURSOR.fullmatch(_cursor_text(request))
    if match is None:
        return None
    return Cursor(match[1], int(match[2]) if match[2] else None)


def _cursor_text(request: Request) -> str:
    return request.headers.get("Last-Event-ID") or request.query_params.get("last_event_id", "")


def key_of(request: Request) -> str | None:
    """Return the idempotency key: the header, else `?key=`.

    Raises:
        InvalidField: it is longer than 255 characters.
    """
    header = request.headers.get("Idempotency-Key")
    key = header or request.query_params.get("key") or None
    if key and len(key) > MAX_KEY_CHARS:
        field = "Idempotency-Key" if header else "key"
        raise InvalidField(f"At most {MAX_KEY_CHARS} characters.", field=field)
    return key


def check_parameters(request: Request, known: frozenset[str]) -> None:
    """Refuse query parameters that are unknown or given twice.

    Raises:
        InvalidField: names the parameter.
    """
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            accepted = ", ".join(sorted(known)) or "none"
            raise InvalidField(f"Unknown query parameter; accepted: {accepted}.", field=name)
        if name in seen:
            raise InvalidField("The query parameter is given twice.", field=name)
        seen.add(name)


def wants_stream(request: Request) -> bool:
    """Tell whether `Accept` prefers the stream itself to JSON (RFC 9110, section 12.5.1).

    Of two that are equally welcome, the first; where neither is named, JSON.
    """
    places = {"text/event-stream": (0.0, 0), "application/json": (0.0, 0)}
    for place, media_range in enumerate(request.headers.get("Accept", "").split(",")):
        name, *parameters = (part.strip().lower() for part in media_range.split(";"))
        if name in places:
            places[name] = max(places[name], (_quality(parameters), -place))
    stream, json = places.values()
    return stream[0] > 0 and stream > json


def _quality(parameters: list[str]) -> float:
    weights = (parameter[2:] for parameter in parameters if parameter.startswith("q="))
    try:
        return float(next(weights, "1"))
    except ValueError:
        return 0.0


class Origins:
    """Which pages may create: those of the service's own origin, and those that are configured.

    A browser tells the origin of a page with its requests, and withholds the answer from a page that
    may not read it; but by then the answer would be in the making, and paid for.

    Args:
        allowed: origins as browsers write them; `*` is any.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = frozenset(allowed)

    def check(self, request: Request) -> None:
        """Let a request pass that may create.

        Raises:
            OriginRefused: it comes from a page of another origin.
        """
        headers = request.headers
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        if "*" in self._allowed or origin in self._allowed or site == "same-origin":
            return
        if origin is None:
            # No page, or one that asks without wanting to read, as an image does. An address that a
            # person follows is none of these.
            is_page = site in {"cross-site", "same-site"}
            is_own = not is_page or headers.get("Sec-Fetch-Dest") == "document"
        else:
            is_own = origin.partition("://")[2] == headers.get("Host")
        if not is_own:
            raise OriginRefused


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
        return self._order(
            _CreateBody(
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
        raw = await self._read(request)
        try:
            body = msgspec.json.decode(raw, type=_CreateBody)
        except msgspec.ValidationError as exc:
            raise _invalid(str(exc)) from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise MalformedRequest("The body is not JSON in UTF-8.") from exc
        return self._order(body)

    async def _read(self, request: Request) -> bytes:
        bound = self._limits.max_body_bytes
        too_large = RequestTooLarge(f"The body is larger than {bound} bytes.")
        length = request.headers.get("Content-Length", "0")
        if length.isdecimal() and int(length) > bound:
            raise too_large
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > bound:
                raise too_large
        return bytes(body)

    def _order(self, body: _CreateBody) -> Order:
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
            prompt=prompt,
            provider=self._default_provider if body.provider is None else body.provider,
            grace_seconds=body.grace_seconds,
            metadata=body.metadata,
        )


def _prompt(body: _CreateBody) -> Prompt:
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


def _conversation(messages: list[_MessageBody]) -> tuple[list[str], tuple[Message, ...]]:
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
