"""Turns the messages of a request into the conversation that every provider gets, and checks them in order.

An error names the message. Messages without content are left out: some clients send them for content that is not
text, or because other servers require one.
"""

from collections.abc import Sequence
from typing import NamedTuple

from streamsvc.dialects.invalid import quoted, refused
from streamsvc.dialects.json_body import Body, decode
from streamsvc.dialects.media import Media
from streamsvc.dialects.shapes import (
    FileShape,
    ImageShape,
    PartShape,
    RefusalShape,
    TextShape,
    ToolCallShape,
    Turn,
)
from streamsvc.dialects.tools import check_name
from streamsvc.errors import InvalidField, RequestError
from streamsvc.messages import (
    AssistantMessage,
    Content,
    Message,
    Part,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    words_of,
)

_ONLY_ASSISTANT = ("refusal", "tool_calls", "provider_data")


class Conversation(NamedTuple):
    """A checked conversation.

    Attributes:
        system: the texts of the system messages.
        messages: the turns, oldest first.
    """

    system: tuple[str, ...]
    messages: tuple[Message, ...]


def conversation_of(
    turns: Sequence[Turn], media: Media, places: Sequence[str] = ()
) -> Conversation:
    """Turn the messages of a request into a conversation.

    Args:
        turns: the messages, as the client sent them.
        media: checks images and files.
        places: the path of each message in the client's body, for errors; empty: `messages[0]`, …

    Raises:
        InvalidField: names the field.
        RequestTooLarge: an image or a file is too large, or there are too many.
    """
    reader = _Reader(media)
    for at, turn in enumerate(turns):
        reader.read(turn, places[at] if places else f"messages[{at}]")
    return reader.conversation()


class _Reader:
    """Reads the messages in order, and keeps track of the tool calls that have no result yet."""

    def __init__(self, media: Media) -> None:
        self._media = media
        self._system: list[str] = []
        self._messages: list[Message] = []
        self._open: dict[
            str, tuple[str, str]
        ] = {}  # by the id of a call: the tool, the call's path
        self._answered: set[str] = set()
        self._blank = ""

    def read(self, turn: Turn, place: str) -> None:
        _check_fields(turn, place)
        match turn.role:
            case "system" | "developer":
                text, _ = _words(turn, place, refusals=False)
                self._system += [text] if text.strip() else []
            case "user":
                self._read_user(turn, place)
            case "assistant":
                self._read_assistant(turn, place)
            case "tool":
                self._read_result(turn, place)

    def conversation(self) -> Conversation:
        self._check_answered()
        if not any(isinstance(message, UserMessage) for message in self._messages):
            sentence = "At least one user message with text is required in 'messages'."
            raise InvalidField(
                "The content is empty." if self._blank else sentence,
                field=self._blank or "messages",
            )
        return Conversation(tuple(self._system), tuple(self._messages))

    def _read_user(self, turn: Turn, place: str) -> None:
        content = self._content(turn, place)
        if not content or (isinstance(content, str) and not content.strip()):
            self._blank = f"{place}.content"
            return
        self._check_answered()
        self._messages.append(UserMessage(content, turn.name or ""))

    def _read_assistant(self, turn: Turn, place: str) -> None:
        text, refusals = _words(turn, place, refusals=True)
        refusal = turn.refusal or refusals
        calls = self._calls(turn.tool_calls or [], place)
        if not (text.strip() or refusal or calls):
            return
        self._check_answered()
        self._answered.clear()
        self._open = {
            call.id: (call.name, f"{place}.tool_calls[{at}]") for at, call in enumerate(calls)
        }
        self._messages.append(
            AssistantMessage(
                text if text.strip() else "",
                tool_calls=calls,
                refusal=refusal,
                name=turn.name or "",
                provider_data=turn.provider_data or {},
            )
        )

    def _calls(self, shapes: Sequence[ToolCallShape], place: str) -> tuple[ToolCall, ...]:
        calls: dict[str, ToolCall] = {}
        for at, shape in enumerate(shapes):
            field = f"{place}.tool_calls[{at}]"
            if not shape.id:
                raise refused(f"{field}.id", "it is empty")
            if shape.id in calls:
                raise refused(f"{field}.id", "another call of the same message has it")
            calls[shape.id] = ToolCall(
                id=shape.id,
                name=check_name(shape.function.name, f"{field}.function.name"),
                arguments=_arguments(shape.function.arguments, f"{field}.function.arguments"),
                provider_data=shape.provider_data or {},
            )
        return tuple(calls.values())

    def _read_result(self, turn: Turn, place: str) -> None:
        field = f"{place}.tool_call_id"
        call_id = turn.tool_call_id
        if call_id is None:
            raise InvalidField(f"The field {field!r} is missing.", field=field)
        if call_id in self._answered:
            raise refused(field, f"the call {quoted(call_id)} already has a result")
        if call_id not in self._open:
            raise refused(field, f"the assistant message before it has no call {quoted(call_id)}")
        name, _ = self._open.pop(call_id)
        self._answered.add(call_id)
        text, _ = _words(turn, place, refusals=False)
        self._messages.append(ToolMessage(tool_call_id=call_id, name=name, content=text))

    def _check_answered(self) -> None:
        """Refuse a conversation that goes on before each call has its result; no API accepts one."""
        for call_id, (_, place) in self._open.items():
            raise refused(
                place, f"the call {quoted(call_id)} has no result in the messages after it"
            )

    def _content(self, turn: Turn, place: str) -> Content:
        if not isinstance(turn.content, list):
            return turn.content or ""
        shapes = enumerate(turn.content)
        parts = tuple(self._part(part, f"{place}.content[{at}]") for at, part in shapes)
        if all(isinstance(part, TextPart) for part in parts):
            return words_of(parts)
        return tuple(part for part in parts if not isinstance(part, TextPart) or part.text)

    def _part(self, part: PartShape, field: str) -> Part:
        match part:
            case TextShape(text=text):
                return TextPart(text)
            case ImageShape(image_url=address):
                return self._media.image(address, f"{field}.image_url.url")
            case FileShape(file=file):
                return self._media.file(file, f"{field}.file")
            case RefusalShape():
                raise refused(f"{field}.type", "only assistant messages have refusals")


def _check_fields(turn: Turn, place: str) -> None:
    """Refuse fields that belong to another role, unless they are null or empty."""
    if turn.role != "assistant":
        for name in _ONLY_ASSISTANT:
            if getattr(turn, name):
                raise refused(f"{place}.{name}", "only assistant messages have it")
    if turn.role != "tool" and turn.tool_call_id:
        raise refused(f"{place}.tool_call_id", "only tool messages have it")


def _words(turn: Turn, place: str, *, refusals: bool) -> tuple[str, str]:
    """Return the text and the refusal of a message that may contain nothing else; parts are joined by newlines."""
    if not isinstance(turn.content, list):
        return turn.content or "", ""
    words: list[str] = []
    refused_with: list[str] = []
    for at, part in enumerate(turn.content):
        if isinstance(part, TextShape):
            words.append(part.text)
        elif refusals and isinstance(part, RefusalShape):
            refused_with.append(part.refusal)
        else:
            kinds = "'text' and 'refusal'" if refusals else "'text'"
            why = f"{turn.role} messages have only parts of the type {kinds}"
            raise refused(f"{place}.content[{at}].type", why)
    return "\n".join(words), "\n".join(refused_with)


def _arguments(text: str, field: str) -> str:
    """Return the arguments of a call, a JSON object in a string; blank ones are `{}`."""
    if not text.strip():
        return "{}"
    try:
        decode(Body(text.encode(errors="replace")), dict)
    except RequestError as exc:
        raise refused(field, "it must be a JSON object, in a string") from exc
    return text
