"""What an upstream's error says, whatever it is wrapped in.

Every framework has its own shape: OpenAI's envelope, a string, FastAPI's `detail`, an array of errors, vLLM's
`"object": "error"`, another server's error as JSON in a string. A walk over the first parts of the value finds the
codes and messages in all of them; its steps are limited and it does not recurse.
"""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from streamsvc.providers.wording import bare

_MOST_PARTS = 64
"""How many values are read; the codes and messages of an error are in the first few."""

_MOST_CHARS = 1000
"""How much of a string is read: the message comes first, a copy of the request later."""

_CODES = (
    "code", "errorcode", "error_code", "type", "error_type", "error", "status", "reason", "__type",
)  # fmt: skip
"""Keys of error codes, the most specific first."""

_STATUSES = ("code", "status", "status_code", "statuscode", "error_code")
_TEXTS = (
    "message", "msg", "detail", "error", "error_message", "error_msg", "error_description",
    "title", "status_msg", "raw",
)  # fmt: skip
_WRAPPINGS = (
    "error", "errors", "detail", "details", "message", "innererror", "inner_error", "metadata",
    "base_resp",
)  # fmt: skip

_STATUS = re.compile("[1-5][0-9]{2}")
_ERROR_STATUSES = range(400, 600)
_QUOTATION_MARKS = re.compile("[`'\"*\u2019]")
_ECHO = re.compile(r"""['"]input['"]\s*:""")
"""Where pydantic's errors repeat the input; vLLM puts them into a string."""


class ErrorBody(NamedTuple):
    """What an error says.

    Attributes:
        status: the HTTP status that it contains, 400 to 599, if any.
        codes: its error codes, as `bare` returns them, the innermost first.
        text: its messages in lower case, without quotation marks.
        retry_delay: the `retryDelay` of Google's `RetryInfo`, unchanged.
    """

    status: int | None
    codes: tuple[str, ...]
    text: str
    retry_delay: str | None


def parse_body(raw: bytes) -> object:
    """Return the value of a JSON body, or the text of any other body."""
    text = raw.decode(errors="replace")
    try:
        body: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return body


def read_error(body: object) -> ErrorBody:
    """Collect what an error says: an object, an array or a string, with or without an envelope."""
    statuses: list[int] = []
    codes: list[str] = []
    texts: list[str] = []
    delays: list[str] = []
    parts = deque([body])
    for _ in range(_MOST_PARTS):
        if not parts:
            break
        part = parts.popleft()
        if isinstance(part, list):
            parts.extend(part[:_MOST_PARTS])
        elif isinstance(part, str):
            _take_text(part, texts, parts)
        elif isinstance(part, dict):
            fields = {str(name).lower(): value for name, value in part.items()}
            statuses[:0] = _statuses(fields)
            codes[:0] = _codes(fields)
            delays += (str(fields["retrydelay"]) for _ in range("retrydelay" in fields))
            parts.extend(fields[name] for name in _TEXTS if isinstance(fields.get(name), str))
            parts.extend(
                fields[name] for name in _WRAPPINGS if isinstance(fields.get(name), dict | list)
            )
    said = _QUOTATION_MARKS.sub("", " ".join(texts)[:_MOST_CHARS].lower())
    return ErrorBody(next(iter(statuses), None), tuple(codes), said, next(iter(delays), None))


def _take_text(text: str, texts: list[str], parts: deque[object]) -> None:
    """Take a message, or unpack JSON in a string: the error of a server behind a gateway."""
    if text.lstrip()[:1] in {"{", "["}:
        inner = parse_body(text.encode(errors="replace"))
        if not isinstance(inner, str):
            parts.append(inner)
            return
    texts.append(_ECHO.split(text[:_MOST_CHARS], maxsplit=1)[0])


def _statuses(fields: Mapping[str, Any]) -> Iterator[int]:
    for name in _STATUSES:
        value = fields.get(name)
        if isinstance(value, str) and _STATUS.fullmatch(value):
            value = int(value)
        if type(value) is int and value in _ERROR_STATUSES:
            yield value


def _codes(fields: Mapping[str, Any]) -> Iterator[str]:
    for name in _CODES:
        value = fields.get(name)
        if isinstance(value, str):
            # Amazon puts a namespace and a number sign before the type.
            yield bare(value.rpartition("#")[2])
