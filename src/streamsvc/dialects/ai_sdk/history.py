"""The messages of a page become turns: one UI message may be several.

A message of the assistant is split at its `step-start` parts. Each step is one turn of the assistant, followed by
the results of its tool calls.
"""

from collections.abc import Iterator, Sequence

import msgspec

from streamsvc.dialects.ai_sdk.context import id_of_model
from streamsvc.dialects.ai_sdk.shapes import DENIED, UIMessage, UIPart
from streamsvc.dialects.invalid import quoted, refused
from streamsvc.dialects.json_body import Body, decode
from streamsvc.dialects.shapes import (
    FileData,
    FileShape,
    FunctionCallShape,
    ImageAddress,
    ImageShape,
    JsonObject,
    PartShape,
    TextShape,
    ToolCallShape,
    Turn,
)
from streamsvc.errors import InvalidField, RequestError, RequestTooLarge

_DRAFT = "input-streaming"
_STATES = (
    _DRAFT,
    "input-available",
    "approval-requested",
    "approval-responded",
    "output-available",
    "output-error",
    "output-denied",
)


class History:
    """The turns of a conversation, and what each of their fields is called in the page's body.

    Args:
        messages: the page's.

    Attributes:
        turns: oldest first.
        places: the name of each turn; `named` replaces it.

    Raises:
        InvalidField: a part is of an unknown type or state, or the last step has a call without an output.
    """

    def __init__(self, messages: Sequence[UIMessage]) -> None:
        self.turns: list[Turn] = []
        self.places: list[str] = []
        self._names: dict[str, str] = {}
        for at, message in enumerate(messages):
            place = f"messages[{at}]"
            if message.role == "assistant":
                self._read_answer(message, place, is_last=at == len(messages) - 1)
            else:
                self._read_question(message, place)

    def named(self, error: RequestError) -> RequestError:
        """Return an error about a turn as one about the page's message."""
        theirs = error.field or ""
        known = [name for name in self._names if theirs.startswith(name)]
        if not known or not isinstance(error, InvalidField | RequestTooLarge):
            return error
        name = max(known, key=len)
        field = self._names[name] + theirs.removeprefix(name)
        return type(error)(error.message.replace(theirs, field), field=field)

    def _add(self, turn: Turn, place: str) -> str:
        """Add a turn; return its name."""
        name = f"turns[{len(self.turns)}]"
        self.turns.append(turn)
        self.places.append(name)
        self._names |= {name: place, f"{name}.content": f"{place}.parts"}
        return name

    def _read_question(self, message: UIMessage, place: str) -> None:
        """Read a message of the user, or the system's."""
        content: list[PartShape] = []
        places: list[str] = []
        for part, field in _parts(message, place):
            shape = _content(part, field)
            if shape is not None:
                content.append(shape)
                places.append(field)
        words = [part.text for part in content if isinstance(part, TextShape)]
        is_text = len(words) == len(content)
        name = self._add(Turn(message.role, "".join(words) if is_text else content), place)
        for at, field in enumerate(places):
            self._names |= {
                f"{name}.content[{at}]": field,
                f"{name}.content[{at}].image_url.url": f"{field}.url",
                f"{name}.content[{at}].file.file_data": f"{field}.url",
            }

    def _read_answer(self, message: UIMessage, place: str, *, is_last: bool) -> None:
        steps = list(_steps(message, place))
        for at, step in enumerate(steps):
            self._read_step(step, place, is_last=is_last and at == len(steps) - 1)

    def _read_step(self, step: Sequence[tuple[UIPart, str]], place: str, *, is_last: bool) -> None:
        """Read one step: what the model said, the calls that have a result, and the results."""
        words: list[str] = []
        data: JsonObject = {}
        calls: list[tuple[UIPart, str, str]] = []
        for part, field in step:
            if part.is_tool:
                result = _result(part, field)
                if result is not None:
                    calls.append((part, field, result))
                elif is_last and part.state != _DRAFT and not part.provider_executed:
                    raise refused(field, f"the call {quoted(part.tool_call_id)} has no output yet")
            elif part.type in ("text", "reasoning"):
                words.append((part.text or "") if part.type == "text" else "")
                data |= part.provider_metadata or {}
            elif part.type != "file" and not part.is_silent:
                raise _unsupported(part, field)
        shapes = [_call(part, field) for part, field, _ in calls]
        name = self._add(
            Turn(
                "assistant", "".join(words), tool_calls=shapes or None, provider_data=data or None
            ),
            place,
        )
        for at, (part, field, result) in enumerate(calls):
            call = f"{name}.tool_calls[{at}]"
            tool = "toolName" if part.type == "dynamic-tool" else "type"
            self._names |= {
                call: field,
                f"{call}.id": f"{field}.toolCallId",
                f"{call}.function.name": f"{field}.{tool}",
                f"{call}.function.arguments": f"{field}.input",
            }
            self._add(Turn("tool", result, tool_call_id=id_of_model(part.tool_call_id)), field)


def _parts(message: UIMessage, place: str) -> Iterator[tuple[UIPart, str]]:
    """Yield the parts of a message, each with its place in the body."""
    for at, part in enumerate(message.parts or []):
        yield part, f"{place}.parts[{at}]"


def _steps(message: UIMessage, place: str) -> Iterator[list[tuple[UIPart, str]]]:
    """Yield the parts of each step that has any."""
    step: list[tuple[UIPart, str]] = []
    for part, field in _parts(message, place):
        if part.type == "step-start":
            if step:
                yield step
            step = []
        else:
            step.append((part, field))
    if step:
        yield step


def _content(part: UIPart, field: str) -> PartShape | None:
    """Return a part of a user's message; None if the model does not get it.

    Raises:
        InvalidField: it is of an unknown type.
    """
    if part.type == "text":
        return TextShape(part.text or "")
    if part.type == "file":
        if part.media_type.startswith("image") or part.url[:11].lower() == "data:image/":
            return ImageShape(ImageAddress(part.url))
        return FileShape(FileData(filename=part.filename, file_data=part.url))
    if part.is_silent:
        return None
    raise _unsupported(part, field)


def _unsupported(part: UIPart, field: str) -> InvalidField:
    return InvalidField(f"Parts of type {quoted(part.type)} are not supported.", field=field)


def _call(part: UIPart, field: str) -> ToolCallShape:
    given = part.input
    if part.state == "output-error" and not _is_object(given):
        given = part.raw_input  # the model's input was not valid, as the error says
        if not _is_object(given):
            given = msgspec.UNSET
    elif isinstance(given, msgspec.Raw) and not _is_object(given):
        raise refused(f"{field}.input", "the input of a call is an object")
    return ToolCallShape(
        id=id_of_model(part.tool_call_id),
        function=FunctionCallShape(part.tool, json_text(given)),
        provider_data=part.call_provider_metadata or None,
    )


def _result(part: UIPart, field: str) -> str | None:
    """Return the result of a call, as text; None if it has none, or if the provider has run the tool itself.

    Raises:
        InvalidField: it is in an unknown state.
    """
    if part.state not in _STATES:
        accepted = ", ".join(_STATES)
        raise refused(f"{field}.state", f"{quoted(part.state)} is unknown; accepted: {accepted}")
    if part.provider_executed:
        return None
    approval = part.approval
    match part.state:
        case "output-available" if not part.preliminary:
            return _output(part.output)
        case "output-error":
            return part.error_text
        case "output-denied":
            return (approval and approval.reason) or DENIED
        case "approval-responded" if approval and approval.approved is False:
            return approval.reason or DENIED
        case _:
            return None


def _output(output: msgspec.Raw | msgspec.UnsetType) -> str:
    """Return a string as it is, and anything else as JSON."""
    text = json_text(output)
    return decode(Body(text.encode()), str) if text.startswith('"') else text or "null"


def _is_object(value: msgspec.Raw | msgspec.UnsetType) -> bool:
    return json_text(value).startswith("{")


def json_text(value: msgspec.Raw | msgspec.UnsetType) -> str:
    """Return the text of a JSON value; empty if it is missing."""
    return bytes(value).strip().decode() if isinstance(value, msgspec.Raw) else ""
