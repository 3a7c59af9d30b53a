"""The tables of `docs/reference/errors.md`, from the error tree and the forms of OpenAI's errors."""

from collections.abc import Sequence
from http import HTTPStatus

from streamsvc.dialects.openai.errors import CODES, INTERRUPTED, STATUSES, STOPPED
from streamsvc.engine import ending
from streamsvc.errors import ConfigError, CursorLost, RequestError, StreamsvcError
from streamsvc.events import PublicError
from streamsvc.provider_errors import ProviderError, ProviderTimedOut
from streamsvc.server import refusal as of_server
from streamsvc.web.openapi.errors import ALWAYS, BEFORE, GONE, OF_PATH, Refusal, refusal_of
from support.error_classes import classes
from support.reference.markdown import table

_NOT_DOCUMENTED = (
    Refusal(of_server.NOT_A_PROXY.status, of_server.NOT_A_PROXY.code, "`CONNECT` is for proxies."),
    Refusal(405, "method_not_allowed", "The path does not have this method."),
)
"""What no operation of the OpenAPI document answers."""

ONLY_OPENAI: Sequence[PublicError] = (STOPPED, INTERRUPTED)
"""Failures that only OpenAI's clients get as errors."""

_PROVIDER_CLASSES = {kind.code: kind for kind in reversed([*classes(ProviderError)])}
"""By code; of classes with the same code, the one that is higher in the tree."""


def refusals() -> Sequence[Refusal]:
    """Return why a request is refused, by status and code."""
    own = (refusal_of(kind) for kind in classes(RequestError) if kind is not RequestError)
    found: dict[tuple[int, str], Refusal] = {}
    for it in (*own, *BEFORE, *ALWAYS, GONE, *OF_PATH, *_NOT_DOCUMENTED):
        found.setdefault((it.status, it.code), it)
    return [found[key] for key in sorted(found)]


def failures() -> Sequence[PublicError]:
    """Return the errors of a `done`, by code."""
    found: dict[str, PublicError] = {
        code: PublicError(code, str(kind.message), kind.retryable)
        for code, kind in _PROVIDER_CLASSES.items()
        if kind is not ProviderTimedOut
    }
    timed_out = ProviderTimedOut("first_token")
    others: Sequence[PublicError] = (
        ending._DRAINED,
        ending._LOST,
        PublicError(timed_out.code, timed_out.message, timed_out.retryable),
        PublicError(CursorLost.code, CursorLost.message, retryable=True),
        PublicError(StreamsvcError.code, StreamsvcError.message, retryable=True),
    )
    found |= {it.code: it for it in others}
    return [found[code] for code in sorted(found)]


def codes() -> Sequence[str]:
    """Return every code that the page explains."""
    every = [it.code for it in refusals()]
    every += [it.code for it in (*failures(), *ONLY_OPENAI)]
    return [*dict.fromkeys([*every, ConfigError.code])]


def refusal_table() -> str:
    """Return a row for each refusal."""
    rows = ((str(it.status), _link(it.code), it.meaning, _refused(it)) for it in refusals())
    return table(("status", "code", "meaning", "OpenAI's clients get"), rows)


def failure_table() -> str:
    """Return a row for each failure of an answer."""
    rows = ((_link(it.code), _yes(it.retryable), *_fate(it), _failed(it)) for it in failures())
    head = ("code", "`retryable`", "called again", "opens the circuit", "setting to check")
    return table((*head, "OpenAI's clients get"), rows)


def _fate(error: PublicError) -> tuple[str, str, str]:
    """Return what the service makes of the failed call; nothing if no call has failed."""
    kind = _PROVIDER_CLASSES.get(error.code)
    if kind is None:
        return "", "", ""
    setting = f"`{kind.setting}`" if kind.setting else ""
    return _yes(kind.retry_same_provider), _yes(kind.is_outage), setting


def _link(code: str) -> str:
    return f"[`{code}`](#{code})"


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _refused(refusal: Refusal) -> str:
    """Return the status and the code that OpenAI's clients get, if they are others."""
    is_invalid = refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY
    status, code = 400 if is_invalid else refusal.status, CODES.get(refusal.code, refusal.code)
    return "" if (status, code) == (refusal.status, refusal.code) else f"{status} `{code}`"


def _failed(error: PublicError) -> str:
    return f"{STATUSES.get(error.code, 502)} `{CODES.get(error.code, error.code)}`"
