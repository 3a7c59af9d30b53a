"""JSON bodies: read within their bound and decoded, or refused in a sentence that says what is wrong.

A sentence names the line and column of broken JSON, or the field: many clients show nothing else.
"""

import re
from contextlib import suppress
from difflib import get_close_matches
from typing import TypeVar

import msgspec
from starlette.requests import Request

from streamsvc.config.settings import LimitSettings
from streamsvc.errors import InvalidField, MalformedRequest, RequestTooLarge, UnsupportedEncoding
from streamsvc.web.requests import header, quoted

_Body = TypeVar("_Body")

_PATH = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")
_NAMED_FIELD = re.compile(r"(?P<what>unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)
_ANY_KEY = "`$[...]"
_EXPECTED = re.compile(r"`([^`]*)`")
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_BYTE = re.compile(r"(?P<what>.*) \(byte (?P<at>\d+)\)")
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,50}/[\w.+-]{1,50}", re.ASCII)
_GZIP = b"\x1f\x8b"

_ESCAPE = re.compile(
    rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<lone>\\u[dD][89a-fA-F]..)|\\.", re.DOTALL
)
"""An escape in a JSON string; `lone` is half of a surrogate pair (RFC 8259, section 8.2)."""

_CHOICES = {
    "role": "system, user, assistant",
    "trigger": "submit-message, regenerate-message",
}
"""What the fields accept that take one of a few words."""

_ELSEWHERE = {
    "max_completion_tokens": "here it is 'max_tokens'",
    "model": "here it is 'provider', the name of a provider entry",
    "stream": "the header 'Accept: text/event-stream' asks for a stream",
}
"""Fields of other APIs, and what they are here."""


class JsonBodies:
    """Reads the JSON bodies of requests.

    Args:
        limits: the largest body.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self._max_bytes = limits.max_body_bytes

    async def read(self, request: Request, kind: type[_Body]) -> _Body:
        """Read a body.

        Raises:
            RequestTooLarge: it has more than `max_body_bytes`.
            UnsupportedEncoding: it is compressed.
            MalformedRequest: it is not JSON; says where.
            InvalidField: it is not of this kind; names the field.
        """
        raw = await self._read(request)
        try:
            return _decoded(raw, kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            if raw.startswith(_GZIP):
                raise UnsupportedEncoding from exc
            raise MalformedRequest(f"{_fault(raw, str(exc))}{_came_as(request)}.") from exc

    async def _read(self, request: Request) -> bytes:
        if (header(request, b"content-encoding") or "identity").strip().lower() != "identity":
            raise UnsupportedEncoding
        length = header(request, b"content-length") or "0"
        if length.isdecimal() and int(length) > self._max_bytes:
            raise _too_large(self._max_bytes)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_bytes:
                raise _too_large(self._max_bytes)
        return bytes(body)


def convert(value: object, kind: type[_Body]) -> _Body:
    """Turn JSON that has been looked at into what it should be.

    Raises:
        InvalidField: it is not; names the field.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise _invalid(str(exc), kind) from exc
    except RecursionError as exc:
        raise _too_deep() from exc


def unknown_field(path: str, known: tuple[str, ...], *, sentence: str) -> InvalidField:
    """Return the refusal of a field that there is not.

    Args:
        path: the field.
        known: the fields that there are, of which one may be meant.
        sentence: begins the sentence, before the name.
    """
    hint = _ELSEWHERE.get(path, "")
    if hint or (near := nearest(path, known)) is None:
        return InvalidField(f"{sentence} {quoted(path)}{hint and '; '}{hint}.", field=path)
    return InvalidField(f"{sentence} {quoted(path)}; did you mean {quoted(near)}?", field=path)


def nearest(name: str, known: tuple[str, ...]) -> str | None:
    """Return the known name that is most like another one, if there is one that is like it."""
    return next(iter(get_close_matches(name[:100], known, n=1, cutoff=0.75)), None)


def _decoded(raw: bytes, kind: type[_Body]) -> _Body:
    """Decode JSON; a lone surrogate becomes U+FFFD, as in a query string.

    Raises:
        DecodeError: it is not JSON.
        UnicodeDecodeError: nor UTF-8.
        RequestError: it is JSON, and not of this kind, or too deep.
    """
    try:
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            whole = _ESCAPE.sub(lambda escape: rb"\ufffd" if escape["lone"] else escape[0], raw)
            if whole == raw:
                raise
            return msgspec.json.decode(whole, type=kind)
    except msgspec.ValidationError as exc:
        text = str(exc)
        if _ANY_KEY in text:  # msgspec names no key of a dict, and so no field
            text = text.replace(_ANY_KEY, f"`$.{_key_out_of_range(raw)}", 1)
        raise _invalid(text, kind) from exc
    except RecursionError as exc:
        raise _too_deep() from exc


def _key_out_of_range(raw: bytes) -> str:
    """Return which value of an object has a number that no float holds: all else is a value of a dict.

    Nothing after that number has been looked at, so it may not be JSON at all; then there is no name.
    """
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        for key, value in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items():
            try:
                msgspec.json.decode(value)
            except msgspec.ValidationError:
                return key
    return ""


def _too_large(bound: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {bound} bytes (limits.max_body_bytes).")


def _too_deep() -> MalformedRequest:
    return MalformedRequest("The body is nested too deeply.")


def _fault(raw: bytes, text: str) -> str:
    """Say why a body cannot be read, and where."""
    try:
        raw.decode()
    except UnicodeDecodeError as exc:
        return f"The body is not UTF-8 at {_place(raw, exc.start)}"
    if not raw.strip():
        return "The body is empty, and has to be JSON"
    if (found := _BYTE.fullmatch(text)) is None:
        return f"The body is not JSON: it ends too early, at {_place(raw, len(raw))}"
    why = found["what"].rpartition(": ")[2]
    at = int(found["at"]) - (why == "trailing characters")  # of which it names the second
    if raw[at : at + 1] == b"'":
        why = "strings and names take double quotes"
    return f"The body is not JSON: {why} at {_place(raw, at)}"


def _place(raw: bytes, at: int) -> str:
    """Return line and column of a byte, both from 1; the column in characters."""
    *lines, last = raw[:at].split(b"\n")
    return f"line {len(lines) + 1}, column {len(last.decode(errors='replace')) + 1}"


def _came_as(request: Request) -> str:
    """Name the Content-Type of a body that is not JSON, where it does not say JSON either."""
    media_type = _MEDIA_TYPE.match(header(request, b"content-type") or "")
    if media_type is None or "json" in media_type[0].lower():
        return ""
    return f"; it came as {media_type[0]}"


def _invalid(text: str, kind: object) -> InvalidField:
    """Turn msgspec's sentence, which names types and path but no values, into ours."""
    found = _PATH.search(text)
    what, path = (text[: found.start()], found[1]) if found else (text, "")
    if named := _NAMED_FIELD.search(what):
        field = f"{path}.{named['name']}" if path else named["name"]
        if named["what"] == "unknown":
            known = () if path else getattr(kind, "__struct_fields__", ())
            return unknown_field(field, known, sentence="Unknown field")
        return InvalidField(f"The field {quoted(field)} is missing.", field=field)
    about = f"Invalid {quoted(path)}" if path else "Invalid body"
    if what.startswith("Invalid enum value"):
        accepted = _CHOICES.get(path.rpartition(".")[2], "one of a few words")
        return InvalidField(f"{about}; accepted: {accepted}.", field=path)
    why = _EXPECTED.sub(_json_types, what)
    return InvalidField(f"{about}: {why[0].lower()}{why[1:]}.", field=path or "body")


def _json_types(types: re.Match[str]) -> str:
    return " or ".join(_TYPES.get(name, name) for name in types[1].split(" | "))
