"""What an upstream means when it refuses: a status, the words of its error object, its patience.

Texts of upstreams are looked at here, and go no further: what comes out is one of our errors.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from streamsvc.errors import (
    ContextLengthExceeded,
    ProviderAuthFailed,
    ProviderContentFiltered,
    ProviderError,
    ProviderModelNotFound,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
)

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: ProviderAuthFailed,
    403: ProviderAuthFailed,
    404: ProviderModelNotFound,
    408: ProviderUnavailable,
    409: ProviderUnavailable,
    429: ProviderRateLimited,
}

_FIRST_SERVER_ERROR = 500
_ERROR_STATUSES = range(400, 600)
_STATUS = re.compile("[45][0-9]{2}")

_BY_CODE: Mapping[str, type[ProviderError]] = {
    "context_length_exceeded": ContextLengthExceeded,
    "content_filter": ProviderContentFiltered,
    "content_policy_violation": ProviderContentFiltered,
    "responsibleaipolicyviolation": ProviderContentFiltered,  # Azure, as an inner code
}
"""Words that say more than the status beside them."""

_BY_CODE_ALONE: Mapping[str, type[ProviderError]] = {
    **_BY_CODE,
    "authentication_error": ProviderAuthFailed,
    "invalid_api_key": ProviderAuthFailed,
    "permission_error": ProviderAuthFailed,
    "model_not_found": ProviderModelNotFound,
    "insufficient_quota": ProviderRateLimited,
    "rate_limit_error": ProviderRateLimited,
    "rate_limit_exceeded": ProviderRateLimited,
    "internal_server_error": ProviderUnavailable,
    "overloaded": ProviderUnavailable,
    "overloaded_error": ProviderUnavailable,
    "server_error": ProviderUnavailable,
    "service_unavailable": ProviderUnavailable,
    "invalid_request_error": ProviderRefused,
}
"""Words that stand in the place of a status, in an error that comes instead of a chunk."""

_BY_WORDS: Mapping[str, type[ProviderError]] = {
    "content_filter": ProviderContentFiltered,
    "content_policy": ProviderContentFiltered,
    "content management policy": ProviderContentFiltered,
    "context_size": ContextLengthExceeded,
    "context_length": ContextLengthExceeded,
    "context length": ContextLengthExceeded,
    "context size": ContextLengthExceeded,
    "context window": ContextLengthExceeded,
    "maximum context": ContextLengthExceeded,
    "input token count": ContextLengthExceeded,
    "prompt is too long": ContextLengthExceeded,
}
"""What the message of a bad request may say in the place of a code."""

_SECONDS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_DURATION = re.compile(_SECONDS.pattern + "s")
_RETRY_INFO = "google.rpc.RetryInfo"


def error_for_status(
    status: int, body: object, headers: Mapping[str, str] | None = None
) -> ProviderError:
    """Return the error for an HTTP answer that is not a success.

    Args:
        status: the HTTP status, or the status an in-stream error object carries.
        body: the error object, as decoded, bare or in its envelope; its words tell a context
            overflow and a content filter from other refusals.
        headers: of the answer, where there is one; they or the body say when to come back.
    """
    error = _error_object(body)
    mapped = _kind(status, error)()
    mapped.retry_after_seconds = _retry_after_seconds(headers or {}, error)
    return mapped


def error_in_stream(body: object) -> ProviderError:
    """Return the error for an error object in the place of a chunk.

    Some servers give it an HTTP status as its code, some a word, some nothing that tells anything.
    """
    error = _error_object(body)
    code = error.get("code")
    if isinstance(code, str) and _STATUS.fullmatch(code):
        code = int(code)
    if type(code) is int and code in _ERROR_STATUSES:
        return error_for_status(code, error)
    kinds = (_BY_CODE_ALONE[word] for word in _codes(error) if word in _BY_CODE_ALONE)
    return next(kinds, ProviderError)()


def _kind(status: int, error: Mapping[str, Any]) -> type[ProviderError]:
    for word in _codes(error):
        if word in _BY_CODE:
            return _BY_CODE[word]
    if status >= _FIRST_SERVER_ERROR:
        return ProviderUnavailable
    if known := _BY_STATUS.get(status):
        return known
    said = " ".join((*_codes(error), str(error.get("message")).lower()))
    kinds = (kind for words, kind in _BY_WORDS.items() if words in said)
    return next(kinds, ProviderRefused)


def _error_object(body: object) -> Mapping[str, Any]:
    """Return what is in the envelope, if there is one; a bare text is the message."""
    match body:
        case [only]:
            return _error_object(only)
        case {"error": dict() | str() as error} | (dict() as error):
            return error if isinstance(error, dict) else {"message": error}
        case str():
            return {"message": body}
        case _:
            return {}


def _codes(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words for programs, the most exact first."""
    for holder in (error.get("innererror"), error):
        if isinstance(holder, dict):
            words = holder.get("code"), holder.get("type")
            yield from (word.lower() for word in words if isinstance(word, str))


def _retry_after_seconds(headers: Mapping[str, str], error: Mapping[str, Any]) -> float | None:
    """Return when the upstream wants to be asked again, if it says so in a way that can be read.

    `retry-after-ms` is OpenAI's; `Retry-After` is RFC 9110, section 10.2.3; the `RetryInfo` in an
    error of Gemini's is google/rpc/error_details.proto.
    """
    if found := _SECONDS.fullmatch(headers.get("retry-after-ms", "")):
        return float(found[1]) / 1000
    if (value := headers.get("retry-after")) is not None:
        found = _SECONDS.fullmatch(value)
        return float(found[1]) if found else _seconds_until(value)
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type")).endswith(_RETRY_INFO):
            found = _DURATION.fullmatch(str(detail.get("retryDelay")))
            return float(found[1]) if found else None
    return None


def _seconds_until(date: str) -> float | None:
    """Return how long it is until an HTTP date; None where it is over, or is no date."""
    try:
        due = parsedate_to_datetime(date)
        seconds = (due.replace(tzinfo=due.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, LookupError, OverflowError):
        return None
    return seconds if seconds >= 0 else None
