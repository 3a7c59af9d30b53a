"""From an upstream's failure to a `ProviderError`: failures of the connection, statuses, errors in a stream.

An error means the same however it is wrapped and wherever it arrives: as a status, in place of a chunk, as a
body with status 200. So all errors take the same path: `error_body` collects what the error says, `error_words`
knows what that means, and this module weighs the status against it. An upstream's text goes no further: the
result is one of our errors.

Only 400, 413 and 422 can mean that the request is at fault. Any other unknown status is about the entry: its
URL, its key, its bill.

Messages count only where there is no better evidence, because some servers repeat the prompt in them: with
400 and 422, without a status, and with 403, 404 and 429, which have several meanings. One gap remains: a
server that refuses a request with 400, no code, and a message that begins with the prompt.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from typing_extensions import override

from streamsvc.provider_errors import (
    ContextLengthExceeded,
    ProviderAuthFailed,
    ProviderContentFiltered,
    ProviderError,
    ProviderMisconfigured,
    ProviderModelNotFound,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimedOut,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from streamsvc.providers import error_words
from streamsvc.providers.error_body import ErrorBody, parse_body, read_error
from streamsvc.providers.http.errors import (
    BodyCut,
    ConnectFailed,
    ConnectTimedOut,
    LineTooLong,
    NoResponse,
    TransportError,
    UnusableEndpoint,
)

_Kind = type[ProviderError]

_BY_STATUS: Mapping[int, _Kind] = {
    401: ProviderAuthFailed,
    402: ProviderQuotaExhausted,
    408: ProviderUnavailable,  # the server gave up waiting for a request that it had received completely
    409: ProviderUnavailable,  # a lock on the server; OpenAI's SDK retries it, too
    413: ContextLengthExceeded,
    499: ProviderUnavailable,  # nginx saw its connection to the server as a client that had left
    501: ProviderMisconfigured,
    505: ProviderMisconfigured,
    508: ProviderMisconfigured,
    511: ProviderMisconfigured,
}
"""Statuses that mean the same whatever the body says."""

_BY_TRANSPORT_ERROR: Mapping[type[TransportError], Callable[[], ProviderError]] = {
    UnusableEndpoint: ProviderUnavailable,
    ConnectFailed: ProviderUnavailable,
    ConnectTimedOut: lambda: ProviderTimedOut("connect"),
    NoResponse: ProviderUnavailable,
    BodyCut: UpstreamCut,
    LineTooLong: UpstreamInvalid,
}
"""All errors of `providers/http`. A test checks that the table is complete."""

_REFUSED = frozenset((400, 422))
_FIRST_SERVER_ERROR = 500

_ENVELOPES = frozenset(("error", "errors"))
_SENTENCES = frozenset(("detail", "message", "msg", "error_message", "error_msg"))
_ANSWERS = frozenset(("choices", "candidates"))

_SECONDS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_DURATION = re.compile(_SECONDS.pattern + "s")


def error_for_transport(error: TransportError) -> ProviderError:
    """Return the error for a failure of the connection, of HTTP, or of the framing of an event stream."""
    mapped = _BY_TRANSPORT_ERROR[type(error)]()
    mapped.__cause__ = error
    return mapped


class _TransportErrorsMapped(AbstractContextManager[None]):
    @override
    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, TransportError):
            raise error_for_transport(exc) from exc


transport_errors_mapped: AbstractContextManager[None] = _TransportErrorsMapped()
"""Raises what `error_for_transport` makes of an error of `providers/http`; it keeps nothing, so all share it."""


def error_for_answer(status: int, raw: bytes, headers: Mapping[str, str]) -> ProviderError:
    """Return the error for an HTTP response that is not a success.

    Args:
        status: the HTTP status.
        raw: the body, or as much of it as was read.
        headers: they or the body say when to retry: `retry-after-ms` is OpenAI's, `Retry-After` is
            RFC 9110, section 10.2.3, `RetryInfo` is google/rpc/error_details.proto.
    """
    said = read_error(parse_body(raw))
    if status >= _FIRST_SERVER_ERROR and said.status in _REFUSED:
        status = said.status  # the status of the server that the gateway has called
    return _error(status, said, headers)


def error_in_stream(error: object) -> ProviderError:
    """Return the error for an error object in place of a chunk, with or without an envelope."""
    said = read_error(error)
    return _error(said.status, said, {})


def stated_error(body: object) -> ProviderError | None:
    """Return the error that a JSON value contains in place of an answer or a part of one; None if it contains none."""
    if isinstance(body, list):
        body = body[0] if body else None
    return error_in_stream(body) if isinstance(body, dict) and _states_error(body) else None


def error_for_text(raw: bytes) -> ProviderError:
    """Return the error for plain text in place of an answer: what it says, or else that the URL is not the API's."""
    text = raw.strip().decode(errors="replace")
    said = read_error("" if text.startswith("<") else text)
    return (_kind_of_words(said, is_refused=False) or ProviderMisconfigured)()


def raise_stated_error(error: object, payload: bytes) -> None:
    """Raise the error that a chunk contains, if any.

    Args:
        error: the value of its key `error`, if it has one.
        payload: the JSON of the whole chunk, which may say more than that.
    """
    if stated := stated_error(parse_body(payload)):
        raise stated
    if error:
        raise error_in_stream(error)


def _states_error(body: Mapping[str, Any]) -> bool:
    named = {name.lower() for name, value in body.items() if value}
    if named & _ENVELOPES or "error" in (body.get("object"), body.get("type")):
        return True
    return not named & _ANSWERS and (bool(named & _SENTENCES) or _names_failure(read_error(body)))


def _names_failure(said: ErrorBody) -> bool:
    """Return whether a value without a message has an error's status, or a code that only errors have."""
    names = error_words.EXACT_CODES.keys() | error_words.LIMIT_CODES.keys()
    return said.status is not None or not names.isdisjoint(said.codes)


def _error(status: int | None, said: ErrorBody, headers: Mapping[str, str]) -> ProviderError:
    patience = _retry_after_seconds(headers, said)
    mapped = _kind(status, said, is_patient=patience is not None)()
    mapped.retry_after_seconds = patience
    return mapped


def _kind(status: int | None, said: ErrorBody, *, is_patient: bool) -> _Kind:
    """Weigh the status against the message; without a status, only the message counts."""
    for code in said.codes:
        if exact := error_words.EXACT_CODES.get(code):
            return exact
    if status is None:
        return _kind_of_words(said, is_refused=False) or ProviderError
    if weigh := _BY_STATUS_AND_WORDS.get(status):
        return weigh(said, is_patient)
    if known := _BY_STATUS.get(status):
        return known
    is_down = status >= _FIRST_SERVER_ERROR or _loose_kind(said) is ProviderUnavailable
    return ProviderUnavailable if is_down else ProviderMisconfigured


def _kind_of_words(said: ErrorBody, *, is_refused: bool) -> _Kind | None:
    if any(code in error_words.LIMIT_CODES for code in said.codes):
        return ProviderRateLimited
    kind = error_words.kind_of_sentence(said.text, is_refused=is_refused)
    return kind or _loose_kind(said)


def _loose_kind(said: ErrorBody) -> _Kind | None:
    loose = error_words.LOOSE_CODES
    return next((loose[code] for code in said.codes if code in loose), None)


def _kind_of_refused(said: ErrorBody, _is_patient: bool) -> _Kind:  # noqa: FBT001
    return _kind_of_words(said, is_refused=True) or ProviderRefused


def _kind_of_forbidden(said: ErrorBody, _is_patient: bool) -> _Kind:  # noqa: FBT001
    if error_words.FILTERED.search(said.text):
        return ProviderContentFiltered
    is_unpaid = error_words.OUT_OF_CREDIT.search(said.text)
    return ProviderQuotaExhausted if is_unpaid else ProviderAuthFailed


def _kind_of_not_found(said: ErrorBody, _is_patient: bool) -> _Kind:  # noqa: FBT001
    """Distinguish an unknown path from an unknown model: both are a 404."""
    if error_words.NO_MODEL.search(said.text):
        return ProviderModelNotFound
    is_path = error_words.NO_SUCH_PATH.fullmatch(said.text)
    return ProviderMisconfigured if is_path else ProviderModelNotFound


def _kind_of_gone(said: ErrorBody, _is_patient: bool) -> _Kind:  # noqa: FBT001
    is_model = error_words.NO_MODEL.search(said.text)
    return ProviderModelNotFound if is_model else ProviderMisconfigured


def _kind_of_limit(said: ErrorBody, is_patient: bool) -> _Kind:  # noqa: FBT001
    """Distinguish a rate limit, where waiting helps, from a limit where it does not."""
    if error_words.TOO_LARGE_FOR_A_LIMIT.search(said.text):
        return ContextLengthExceeded
    is_used_up = error_words.QUOTA_OF_PLAN.search(said.text) and not is_patient
    if is_used_up or error_words.OUT_OF_CREDIT.search(said.text):
        return ProviderQuotaExhausted
    return ProviderRateLimited


_BY_STATUS_AND_WORDS: Mapping[int, Callable[[ErrorBody, bool], _Kind]] = {
    400: _kind_of_refused,
    403: _kind_of_forbidden,
    404: _kind_of_not_found,
    410: _kind_of_gone,
    422: _kind_of_refused,
    429: _kind_of_limit,
}
"""Statuses with several meanings; the second argument is whether the upstream says when to retry."""


def _retry_after_seconds(headers: Mapping[str, str], said: ErrorBody) -> float | None:
    """Return the seconds until a retry, if the upstream gives them in a known format."""
    if found := _SECONDS.fullmatch(headers.get("retry-after-ms", "")):
        return float(found[1]) / 1000
    if (value := headers.get("retry-after")) is not None:
        found = _SECONDS.fullmatch(value)
        return float(found[1]) if found else _seconds_until(value)
    found = _DURATION.fullmatch(said.retry_delay or "")
    return float(found[1]) if found else None


def _seconds_until(date: str) -> float | None:
    """Return the seconds until an HTTP date; None if it has passed, or is not a date."""
    try:
        due = parsedate_to_datetime(date)
        seconds = (due.replace(tzinfo=due.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, LookupError, OverflowError):
        return None
    return seconds if seconds >= 0 else None
