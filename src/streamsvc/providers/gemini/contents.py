"""The turns of a conversation, in the form and order that Gemini requires.

Source: google-genai, `types.Content`, `types.Part`, `types.FunctionCall` and `types.FunctionResponse`, in the API's
own spelling; ai.google.dev/gemini-api/docs/function-calling.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, assert_never

from streamsvc.messages import (
    AssistantMessage,
    Content,
    FilePart,
    ImagePart,
    Message,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    inline_data,
    parts_of,
)
from streamsvc.messages import Part as MessagePart
from streamsvc.provider_errors import ProviderRefused
from streamsvc.providers.gemini.models import demands_signatures
from streamsvc.providers.gemini.parts import Part, answer_parts, call_id_of, call_part

Turn = dict[str, Any]
"""A turn of the conversation."""


def contents(messages: Sequence[Message], model: str, *, missing_signature: str = "") -> list[Turn]:
    """Return the turns of a conversation.

    Args:
        messages: oldest first.
        model: the model that is called; only its own signatures and ids are sent.
        missing_signature: replaces the signature of a step whose calls have none, if the model requires one; empty: nothing.

    Raises:
        ProviderRefused: the arguments of a call are not a JSON object.
    """
    history = _History(model)
    for message in messages:
        match message:
            case UserMessage(content=content):
                history.turns.append({"parts": _user_parts(content), "role": "user"})
            case AssistantMessage():
                history.add_answer(message)
            case ToolMessage():
                history.add_result(message)
            case other:
                assert_never(other)
    if missing_signature and demands_signatures(model):
        for turn in history.turns:
            _sign_first_call(turn["parts"], missing_signature)
    return history.turns


class _History:
    """Arranges turns as the API requires.

    Calls must follow a turn of the user or of results, so an answer in two messages becomes one turn. The results of
    a step are one turn directly after its calls, in the order of the calls, which identifies them if ids are missing.
    """

    def __init__(self, model: str) -> None:
        self.turns: list[Turn] = []
        self._model = model
        self._step_at = -1  # the turn of the latest answer
        self._calls: dict[str, ToolCall] = {}  # of that answer, by our id
        self._results: list[Part] | None = None
        self._ranks: list[int] = []  # of the results: the place of the call of each

    def add_answer(self, message: AssistantMessage) -> None:
        """Add an answer of the model."""
        calls = [call_part(it, _object(it.arguments), self._model) for it in message.tool_calls]
        text = message.content or message.refusal
        parts = answer_parts(text, calls, message.provider_data, self._model)
        if calls and self.turns and self.turns[-1]["role"] == "model":
            self.turns[-1]["parts"] += parts
        else:
            self._calls = {}
            self.turns.append({"parts": parts, "role": "model"})
        self._step_at = len(self.turns) - 1
        self._calls |= {call.id: call for call in message.tool_calls}
        self._results = None

    def add_result(self, message: ToolMessage) -> None:
        """Add the result of a call to the turn of results of its step."""
        if self._results is None:
            self._results, self._ranks = [], []
            self.turns.insert(self._step_at + 1, {"parts": self._results, "role": "user"})
        call = self._calls.get(message.tool_call_id)
        call_id = call_id_of(call, self._model) if call else ""
        rank = [*self._calls, message.tool_call_id].index(message.tool_call_id)
        place = bisect_right(self._ranks, rank)
        self._ranks.insert(place, rank)
        self._results.insert(place, _result_part(message, call_id))


def _result_part(message: ToolMessage, call_id: str) -> Part:
    """Return the part of a result (`types.FunctionResponse`), whose `response` has to be an object."""
    try:
        value = _json(message.content)
    except ValueError:
        value = message.content
    response = value if isinstance(value, dict) else {"result": value}
    function = {"name": message.name, "response": response}
    return {"functionResponse": {"id": call_id, **function} if call_id else function}


def _user_parts(content: Content) -> list[Part]:
    return [_user_part(part) for part in parts_of(content)]


def _user_part(part: MessagePart) -> Part:
    """Return a part of a user's message. The `detail` of an image has no counterpart."""
    match part:
        case TextPart(text=text):
            return {"text": text}
        case ImagePart(url=url) | FilePart(url=url):
            if data := inline_data(url):
                return {"inlineData": {"mimeType": data[0], "data": data[1]}}
            return {"fileData": {"fileUri": url}}
        case other:
            assert_never(other)


def _sign_first_call(parts: list[Part], signature: str) -> None:
    """Sign the first call of a step unless it is signed; the other calls need no signature."""
    for part in parts:
        if "functionCall" in part:
            part.setdefault("thoughtSignature", signature)
            return


def _object(arguments: str) -> dict[str, Any]:
    """Return the arguments of a call.

    Raises:
        ProviderRefused: they are not a JSON object.
    """
    try:
        value = _json(arguments)
    except ValueError as exc:
        raise ProviderRefused from exc
    if not isinstance(value, dict):
        raise ProviderRefused
    return value


def _json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, or contains a number that a float cannot represent, such as 1e999.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_number)
    except RecursionError as exc:
        raise ValueError from exc


def _number(digits: str) -> float:
    value = float(digits)
    return value if abs(value) != float("inf") else _refuse(digits)


def _refuse(digits: str) -> float:
    raise ValueError(digits)
