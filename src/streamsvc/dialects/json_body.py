"""Decodes JSON bodies, or refuses them with a message that says what is wrong and where.

The message names the line and column of broken JSON, or the field (`invalid`).
"""

import re
from contextlib import suppress
from typing import NamedTuple, TypeVar

import msgspec

from streamsvc.dialects.invalid import invalid_field
from streamsvc.errors import MalformedRequest, RequestTooLarge, UnsupportedEncoding

_Body = TypeVar("_Body")

MAX_MARKS = 500_000
"""How many of the characters that JSON is made of a body may have, in its strings or between them.

They are what decoding costs, and base64 has none of them. The longest input has fewer: 400,000 characters.
"""

_FREE_BYTES = 1_000_000
_MARKS = (b",", b"[", b"{", b'"', b"\\")
_ANY_KEY = "`$[...]"
_BYTE = re.compile(r"(?P<what>.*) \(byte (?P<at>\d+)\)")
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,50}/[\w.+-]{1,50}", re.ASCII)
_GZIP = b"\x1f\x8b"

_ESCAPE = re.compile(
    rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<lone>\\u[dD][89a-fA-F]..)|\\.", re.DOTALL
)
"""An escape in a JSON string; `lone` is half of a surrogate pair (RFC 8259, section 8.2)."""

_HALVES = (rb"\ud", rb"\uD")
"""How the escape of a half begins. Searching for it is much faster than for any escape."""


class Body(NamedTuple):
    """A request's body as the client sent it.

    Attributes:
        raw: its bytes.
        content_type: what the client says they are. It decides nothing, but the message about a body that is not JSON
            repeats it.
    """

    raw: bytes
    content_type: str = ""


def decode(body: Body, kind: type[_Body]) -> _Body:
    """Decode a JSON body.

    Half of a surrogate pair becomes U+FFFD, as in a query string.

    Raises:
        UnsupportedEncoding: it is compressed.
        MalformedRequest: it is not JSON, or is nested too deeply; says where.
        RequestTooLarge: it has so many values that decoding them would hold up other streams.
        InvalidField: it is not of this kind; names the field.
    """
    _refuse_many_values(body.raw)
    try:
        if not body.raw.isascii():
            body.raw.decode()  # msgspec does not look into a value that it leaves as it is (`msgspec.Raw`)
        return _decoded(body.raw, kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        if body.raw.startswith(_GZIP):
            raise UnsupportedEncoding from exc
        sentence = f"{_fault(body.raw, str(exc))}{_came_as(body.content_type)}."
        raise MalformedRequest(sentence) from exc


def _refuse_many_values(raw: bytes) -> None:
    """Refuse a large body that is not large because of images: of 20 MB of `[],`, decoding takes seconds."""
    if len(raw) > _FREE_BYTES and sum(map(raw.count, _MARKS)) > MAX_MARKS:
        raise RequestTooLarge(
            "The body has too many values and escapes; only images and files may make it this large."
        )


def convert(value: object, kind: type[_Body]) -> _Body:
    """Turn decoded JSON into a value of this kind.

    Raises:
        InvalidField: it is not of this kind; names the field.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise invalid_field(str(exc), kind) from exc


def _decoded(raw: bytes, kind: type[_Body]) -> _Body:
    """Decode JSON.

    Raises:
        DecodeError: it is not JSON.
        UnicodeDecodeError: it is not UTF-8.
        RequestError: it is JSON, but not of this kind, or too deep.
    """
    try:
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if not any(half in raw for half in _HALVES):
                raise
            whole = _ESCAPE.sub(lambda escape: rb"\ufffd" if escape["lone"] else escape[0], raw)
            if whole == raw:
                raise
            return msgspec.json.decode(whole, type=kind)
    except msgspec.ValidationError as exc:
        text = str(exc)
        if _ANY_KEY in text:  # msgspec does not name the key of a dict, and so not the field
            text = text.replace(_ANY_KEY, f"`$.{_key_out_of_range(raw)}", 1)
        raise invalid_field(text, kind) from exc
    except RecursionError as exc:
        raise MalformedRequest("The body is nested too deeply.") from exc


def _key_out_of_range(raw: bytes) -> str:
    """Return the key whose value contains a number too large for a float; any other value fits a dict.

    msgspec stops at that number, so what follows may not be JSON at all; then the name is empty.
    """
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        for key, value in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items():
            try:
                msgspec.json.decode(value)
            except msgspec.ValidationError:
                return key
    return ""


def _fault(raw: bytes, text: str) -> str:
    """Say why a body cannot be read, and where; *text* is msgspec's message."""
    try:
        raw.decode()
    except UnicodeDecodeError as exc:
        return f"The body is not UTF-8 at {_place(raw, exc.start)}"
    if not raw.strip():
        return "The body is empty, but must be JSON"
    if (found := _BYTE.fullmatch(text)) is None:
        return f"The body is not JSON: it ends too early, at {_place(raw, len(raw))}"
    why = found["what"].rpartition(": ")[2]
    at = int(found["at"]) - (why == "trailing characters")  # msgspec names the second of them
    if raw[at : at + 1] == b"'":
        why = "strings and names need double quotes"
    return f"The body is not JSON: {why} at {_place(raw, at)}"


def _place(raw: bytes, at: int) -> str:
    """Return line and column of a byte, both from 1; the column in characters."""
    line = raw.count(b"\n", 0, at) + 1
    before = raw[raw.rfind(b"\n", 0, at) + 1 : at]
    return f"line {line}, column {len(before.decode(errors='replace')) + 1}"


def _came_as(content_type: str) -> str:
    """Name the content type of a body that is not JSON, unless it says JSON."""
    media_type = _MEDIA_TYPE.match(content_type)
    if media_type is None or "json" in media_type[0].lower():
        return ""
    return f"; its Content-Type is {media_type[0]}"
