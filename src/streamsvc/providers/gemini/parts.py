"""The parts of an answer of Gemini, out and back in.

Gemini signs parts, and needs each signature back in the part that had it: a function call, or a text, often an empty
one at the end (ai.google.dev/gemini-api/docs/thought-signatures). A message has one text and a list of calls. The
stamp of the provider data keeps what that loses, if it loses anything: where the text is cut, which pieces are
signed, and how texts and calls alternate.

    {"google": {"thought_signature": "…"},
     "streamsvc": {"kind": "gemini", "model": "…", "parts": [[12], "call", [0, true]]}}

is a text of 12 characters, a call, and an empty text with the signature. In the data of a call, the stamp holds the id
from Gemini: no other id goes back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from streamsvc.messages import ProviderData, ToolCall
from streamsvc.providers.provider_data import STAMP, field, own, stamped

KIND = "gemini"
"""The kind of the adapter, in stamps."""

_VENDOR = "google"
_SIGNATURE = "thought_signature"
"""The names that Google's own OpenAI-compatible API gives to a signature in `extra_content`."""

_CALL = "call"

MOST_PARTS = 256
"""How many parts are noted; of an answer with more, only the last signature of its text is kept."""

Part = dict[str, Any]
"""A part of a content, as the API has it (google-genai, `types.Part`)."""


class AnswerParts:
    """Notes the parts of an answer while it arrives.

    Args:
        model: the model that was asked.
        keep: gets the provider data of the answer whenever it changes.
    """

    __slots__ = ("_keep", "_model", "_parts", "_rest", "_signature")

    def __init__(self, model: str, keep: Callable[[ProviderData], None]) -> None:
        self._model = model
        self._keep = keep
        self._parts: list[tuple[int, str] | str] = []  # of texts: characters and signature
        self._rest = 0  # characters of the text since the last of them
        self._signature = ""

    def take_text(self, text: str, signature: str = "") -> None:
        """Note a piece of the answer's text; a signature makes it a part of its own."""
        if signature:
            self._end_text()
            self._add((len(text), signature))
            self._signature = signature
            self._tell()
        else:
            is_first = not self._rest
            self._rest += len(text)
            if is_first and self._parts:
                self._tell()

    def take_call(self, call_id: str | None, signature: str) -> ProviderData:
        """Note a function call, and return its provider data."""
        self._end_text()
        self._add(_CALL)
        self._tell()
        signed = {_VENDOR: {_SIGNATURE: signature}} if signature else {}
        notes = {"id": call_id} if call_id else {}
        return stamped(signed, KIND, self._model, **notes) if signed or notes else {}

    def _end_text(self) -> None:
        if self._rest:
            self._add((self._rest, ""))
            self._rest = 0

    def _add(self, part: tuple[int, str] | str) -> None:
        if len(self._parts) <= MOST_PARTS:  # one more than are noted
            self._parts.append(part)

    @property
    def _is_plain(self) -> bool:
        """Whether the parts are one text, if any, and then the calls."""
        texts = [place for place, part in enumerate(self._parts) if part != _CALL]
        return texts in ([], [0]) and not (self._rest and self._parts)

    def _tell(self) -> None:
        signed = {_VENDOR: {_SIGNATURE: self._signature}} if self._signature else {}
        notes = {}
        if not self._is_plain and len(self._parts) <= MOST_PARTS:
            notes = {"parts": list(map(self._note, self._parts))}
        if signed or notes:
            self._keep(stamped(signed, KIND, self._model, **notes))

    def _note(self, part: tuple[int, str] | str) -> Any:
        match part:
            case (length, ""):
                return [length]
            case (length, signature):
                return [length, True if signature == self._signature else signature]
            case call:
                return call


def call_part(call: ToolCall, arguments: Mapping[str, Any], model: str) -> Part:
    """Return the part of an earlier call, for a request to *model*."""
    data = own(call.provider_data, KIND, model)
    function = {"args": arguments, "name": call.name}
    if call_id := call_id_of(call, model):
        function = {"id": call_id, **function}
    return _signed({"functionCall": function}, field(data, _VENDOR, _SIGNATURE))


def call_id_of(call: ToolCall, model: str) -> str:
    """Return the id that Gemini gave a call, or nothing: it knows no other ids."""
    call_id = field(own(call.provider_data, KIND, model), STAMP, "id")
    return call_id if isinstance(call_id, str) else ""


def answer_parts(text: str, calls: Sequence[Part], data: ProviderData, model: str) -> list[Part]:
    """Return the parts of an answer of the assistant.

    Args:
        text: the words; may be empty.
        calls: the parts of its calls.
        data: the provider data of the message.
        model: the model that is asked now.
    """
    mine = own(data, KIND, model)
    signature = field(mine, _VENDOR, _SIGNATURE)
    noted = field(mine, STAMP, "parts")
    if isinstance(noted, list):
        try:
            return list(_noted_parts(noted, text, calls, signature))
        except ValueError:
            pass  # a client changed the message: the signature still goes back, the cuts do not
    first = _signed({"text": text}, signature)
    return [first, *calls] if text or len(first) > 1 or not calls else [*calls]


def _noted_parts(
    noted: list[Any], text: str, calls: Sequence[Part], signature: object
) -> Iterator[Part]:
    """Yield the parts as noted, then the rest of the text.

    Raises:
        ValueError: the notes do not fit the message.
    """
    at = used = 0
    for note in noted:
        match note:
            case "call" if used < len(calls):
                yield calls[used]
                used += 1
            case [int(length)] | [int(length), _] if 0 <= length <= len(text) - at:
                mine = note[1] if len(note) > 1 else None
                yield _signed({"text": text[at : at + length]}, signature if mine is True else mine)
                at += length
            case _:
                raise ValueError(note)
    if used < len(calls):
        raise ValueError(noted)
    if at < len(text):
        yield {"text": text[at:]}


def _signed(part: Part, signature: object) -> Part:
    """Return a part with its signature, if there is one."""
    if isinstance(signature, str) and signature:
        return {**part, "thoughtSignature": signature}
    return part
