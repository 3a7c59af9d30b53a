"""Function calls in Gemini's chunks (google-genai, `types.FunctionCall`), as pieces for the `ToolCallJoiner`.

A call arrives whole, in one part. Vertex can also send its arguments value by value (`partialArgs`) if a request sets
`streamFunctionCallArguments`. The Gemini API does not have that field, so it is not sent, but a gateway may stream
arguments anyway.
"""

import json
from collections.abc import Mapping
from typing import Any

from streamsvc.provider_errors import UpstreamInvalid
from streamsvc.providers import lenient
from streamsvc.providers.base import whole
from streamsvc.providers.gemini.arguments import StreamedArguments
from streamsvc.providers.gemini.parts import AnswerParts
from streamsvc.providers.tool_calls import CallPiece


class CallReader:
    """Reads the calls of an answer.

    Args:
        parts: notes each call.
    """

    def __init__(self, parts: AnswerParts) -> None:
        self._parts = parts
        self._count = 0
        self._open: StreamedArguments | None = None  # of the latest call, if more of it follows

    def take(self, function_call: object, signature: str) -> list[CallPiece]:
        """Return the pieces of a `functionCall`; a value that is not an object is skipped.

        Raises:
            UpstreamInvalid: its arguments cannot be read.
        """
        if not isinstance(function_call, Mapping):
            return []
        if self._open is not None and not function_call.get("name"):
            return self._go_on(self._open, function_call)
        if not function_call:
            return []
        return [*self._end(), self._begin(function_call, signature)]

    def _begin(self, function_call: Mapping[str, Any], signature: str) -> CallPiece:
        """Return the first piece of a call, or all of it."""
        call_id = lenient.word(function_call.get("id"))
        self._count += 1
        piece = CallPiece(
            index=self._count - 1,
            id=call_id,
            name=lenient.word(function_call.get("name")),
            arguments=_text(function_call.get("args")),
            provider_data=self._parts.take_call(call_id, signature),
        )
        if function_call.get("willContinue") or function_call.get("partialArgs"):
            self._open = StreamedArguments()
            rest = self._go_on(self._open, function_call)
            piece.arguments = "{" + "".join(it.arguments for it in rest)
        return piece

    def _go_on(
        self, arguments: StreamedArguments, function_call: Mapping[str, Any]
    ) -> list[CallPiece]:
        """Take more of the arguments; return the rest of the call if that was all.

        Until the rest arrives, the arguments are not JSON, so an answer that breaks off here does not contain the call.
        """
        arguments.take(function_call.get("partialArgs"))
        return [] if function_call.get("willContinue") else self._end()

    def _end(self) -> list[CallPiece]:
        """Return the rest of the call that was open, if one was."""
        if self._open is None:
            return []
        rest = self._open.text().removeprefix("{")
        self._open = None
        return [CallPiece(index=self._count - 1, arguments=rest)]


def _text(arguments: object) -> str:
    """Return the arguments of a call as text; some gateways send text.

    Raises:
        UpstreamInvalid: they are neither text nor an object.
    """
    match arguments:
        case None:
            return ""
        case str():
            return whole(arguments)
        case dict():
            return whole(json.dumps(arguments, ensure_ascii=False))
        case _:
            raise UpstreamInvalid
