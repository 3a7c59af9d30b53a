"""How the fake provider fails on purpose: each fault by name, as a change to its answer.

A fault is a pure function from a call to its steps. It does not wait and has no clock; the provider plays the
steps at their pace. `restart` and the faults that end in `_once` depend on the number of the call: the next call
for the same answer succeeds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

import msgspec

from streamsvc.config.provider_settings import FaultName
from streamsvc.provider_errors import (
    ContextLengthExceeded,
    ProviderAuthFailed,
    ProviderContentFiltered,
    ProviderError,
    ProviderModelNotFound,
    ProviderRateLimited,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from streamsvc.providers.base import Finish
from streamsvc.providers.fake.quirks import quirky
from streamsvc.providers.fake.steps import Silence, Step, is_token
from streamsvc.providers.openai.quirks import QUIRKS, Style

RETRY_AFTER_SECONDS = 1.0
"""The `Retry-After` of a rate limit that has one."""

REWORDED = "In other words: "
"""The beginning of the second answer of `restart`."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call to the fake provider, as a fault sees it.

    Attributes:
        number: the number of the call for the same answer, from 1.
        answer: returns the steps of a complete answer that begins with the given text.
        after_words: the number of words after which an answer breaks; a shorter one breaks before its end.
        seconds: how long silences and outages last.
        age_seconds: how long the provider has been open.
    """

    number: int
    answer: Callable[[str], Iterable[Step]]
    after_words: int
    seconds: float
    age_seconds: float


Fault = Callable[[Call], Iterable[Step]]


def play(name: FaultName, call: Call) -> Iterable[Step]:
    """Return the steps of a call with the fault *name*."""
    return FAULTS[name](call)


def _well(call: Call) -> Iterable[Step]:
    return call.answer("")


def _reworded(call: Call) -> Iterable[Step]:
    return call.answer(REWORDED)


def _refused(error: Callable[[], ProviderError]) -> Fault:
    """Fail before the first token."""
    return lambda _call: (error(),)


def _broken(breach: Callable[[], ProviderError | Silence]) -> Fault:
    """Break in the middle of the answer."""
    return lambda call: chain(_beginning(call), (breach(),))


def _once(fault: Fault, then: Fault = _well) -> Fault:
    """Break only on the first call for an answer."""
    return lambda call: (fault if call.number == 1 else then)(call)


def _silent(_call: Call) -> Iterable[Step]:
    return (Silence(),)


def _slow(call: Call) -> Iterable[Step]:
    return chain((Silence(call.seconds),), _well(call))


def _held_back(call: Call) -> Iterable[Step]:
    """Emit the beginning, then end as a content filter does."""
    finish = Finish(reason="content_filter", provider_reason="content_filter")
    return chain(_beginning(call), (finish,))


def _flapping(call: Call) -> Iterable[Step]:
    is_down = call.age_seconds // call.seconds % 2 == 0
    return (ProviderUnavailable(),) if is_down else _well(call)


def _quirky(style: Style) -> Fault:
    """Write tool calls as a server with a quirk does."""
    return lambda call: quirky(_well(call), style)


def _beginning(call: Call) -> Iterator[Step]:
    """Yield what comes before the break: all the reasoning, and the first words of the answer, or pieces of its calls."""
    tokens = 0
    for step in _well(call):
        if isinstance(step, Finish):
            return
        yield step
        tokens += is_token(step)
        if tokens == call.after_words:
            return


def _rate_limited_for_a_while() -> ProviderError:
    error = ProviderRateLimited()
    error.retry_after_seconds = RETRY_AFTER_SECONDS
    return error


def _reset() -> ProviderError:
    error = ProviderUnavailable()
    error.__cause__ = ConnectionResetError()  # shown as the cause in the log
    return error


FAULTS: Mapping[FaultName, Fault] = {
    "none": _well,
    "rate_limit_once": _once(_refused(_rate_limited_for_a_while)),
    "rate_limit": _refused(ProviderRateLimited),
    "error_once": _once(_refused(ProviderUnavailable)),
    "unavailable": _refused(ProviderUnavailable),
    "reset": _refused(_reset),
    "silent": _silent,
    "slow": _slow,
    "cut_once": _once(_broken(UpstreamCut)),
    "cut": _broken(UpstreamCut),
    "restart": _once(_broken(UpstreamCut), then=_reworded),
    "stall": _broken(Silence),
    "garbage": _broken(UpstreamInvalid),
    "context_length": _refused(ContextLengthExceeded),
    "prompt_blocked": _refused(ProviderContentFiltered),
    "content_filter": _held_back,
    "auth": _refused(ProviderAuthFailed),
    "model_not_found": _refused(ProviderModelNotFound),
    "flapping": _flapping,
    **{name: _quirky(style) for name, style in QUIRKS.items()},
}
"""What each fault does. A test checks that the table is complete."""
