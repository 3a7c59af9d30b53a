"""One call to one provider, within its deadlines."""

from bisect import bisect_left
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

import anyio
from typing_extensions import override

from streamsvc.config.provider_settings import ProviderSettings
from streamsvc.engine.entries import ProviderEntry
from streamsvc.eventloop import Timer, clock, now, timers
from streamsvc.events import Delta
from streamsvc.hooks import GAP_BOUNDS, Gaps
from streamsvc.messages import Prompt
from streamsvc.provider_errors import (
    EmptyAnswer,
    ProviderContentFiltered,
    ProviderTimedOut,
    ProviderUnavailable,
    UpstreamCut,
)
from streamsvc.providers.base import Finish

_TICK_SECONDS = 0.001
"""The resolution of timers (libuv counts milliseconds). A timer that fires early is set again for at least this
long, so that it does not fire in a loop."""


class Pace:
    """When the pieces of one call have come.

    Attributes:
        began: when the call began, on the event loop's clock.
        first_at: when the first piece came; None: there is none.
        gaps: between the pieces so far.
    """

    __slots__ = ("began", "first_at", "gaps")

    def __init__(self) -> None:
        self.began = now()
        self.first_at: float | None = None
        self.gaps = Gaps()

    @property
    def pieces(self) -> int:
        """How many have come."""
        return 0 if self.first_at is None else len(self.gaps) + 1


async def attempt(  # noqa: PLR0913  # what a call needs, passed by name
    entry: ProviderEntry,
    prompt: Prompt,
    *,
    first_token_at: float,
    end: float,
    on_first_token: Callable[[], None],
    emit: Callable[[Delta], None],
    pace: Pace,
) -> Finish:
    """Call a provider and emit its deltas.

    Headers, comments and role chunks are not tokens; adapters emit nothing for them.

    Args:
        entry: the provider.
        prompt: the request.
        first_token_at: the deadline for the first token, on the event loop's clock.
        end: the deadline for the whole answer.
        on_first_token: called before the first delta is emitted.
        emit: gets each delta, in order.
        pace: gets the times of the deltas.

    Raises:
        ProviderError: the call failed, broke off or missed a deadline, and has been closed. A call that breaks
            after a long silence has missed the deadline. An answer that is complete when a deadline passes is
            not a failure; an empty answer is one.
    """
    scope = anyio.CancelScope()
    listener = _Listener(
        scope,
        entry.section,
        first_token_at=first_token_at,
        end=end,
        on_first_token=on_first_token,
        emit=emit,
        pace=pace,
    )
    finish: Finish | None = None
    with listener, scope:
        try:
            provider = await entry.provider()
            finish = await provider.generate(prompt, listener.on_delta)
        except ProviderContentFiltered as exc:
            # A content filter ends the answer, whether before or during it: it is not a failure that
            # another provider should route around.
            is_refused = not listener.has_token
            return Finish(reason="content_filter", provider_reason=exc.code, is_refused=is_refused)
        except (ProviderUnavailable, UpstreamCut) as exc:
            if listener.was_silent:
                raise ProviderTimedOut(listener.silence) from exc
            raise
    finish = finish or listener.finish
    if finish is None:
        raise ProviderTimedOut("total" if clock()() >= end else listener.silence)
    if finish.reason == "stop" and not listener.has_token and not prompt.stop:
        raise EmptyAnswer
    return finish


class _Listener(AbstractContextManager["_Listener"]):
    """Passes on a provider's deltas, and cancels the call when a deadline passes; entered for the duration of the call.

    A delta costs one reading of the clock and sets no timer. The call has one timer, never later than any deadline
    can be, whatever comes meanwhile; when it fires early, it is set again.

    Attributes:
        finish: how the answer ends unless another delta follows, if the provider has announced it.
        has_token: whether there was a delta.
    """

    __slots__ = (
        "_call_at",
        "_emit",
        "_end",
        "_first_token_at",
        "_gaps",
        "_last_delta_at",
        "_now",
        "_on_first_token",
        "_pace",
        "_scope",
        "_section",
        "_timer",
        "finish",
        "has_token",
    )

    _timer: Timer

    def __init__(  # noqa: PLR0913  # the arguments of `attempt`
        self,
        scope: anyio.CancelScope,
        section: ProviderSettings,
        *,
        first_token_at: float,
        end: float,
        on_first_token: Callable[[], None],
        emit: Callable[[Delta], None],
        pace: Pace,
    ) -> None:
        self._scope = scope
        self._section = section
        self._first_token_at = first_token_at
        self._end = end
        self._on_first_token = on_first_token
        self._emit = emit
        self._now = clock()
        self._call_at = timers()
        self.finish: Finish | None = None
        self.has_token = False
        self._last_delta_at = self._now()
        self._pace = pace
        self._gaps = pace.gaps.counts

    @override
    def __enter__(self) -> Self:
        self._set_timer(self._last_delta_at)
        return self

    @override
    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        if (first_at := self._pace.first_at) is not None:
            self._pace.gaps.seconds = self._last_delta_at - first_at

    @property
    def silence(self) -> str:
        """The deadline that the current silence would miss: `first_token` or `idle`."""
        return "idle" if self.has_token else "first_token"

    @property
    def was_silent(self) -> bool:
        """Whether the current silence has lasted a large part of its deadline."""
        section = self._section
        least = section.idle_silence if self.has_token else section.first_token_silence
        return self._now() - self._last_delta_at >= least

    def on_delta(self, delta: Delta | Finish) -> None:
        """Take the next delta, or a `Finish`: how the answer ends if no delta follows."""
        if isinstance(delta, Finish):
            self.finish = delta
            return
        self.finish = None
        is_first = not self.has_token
        if is_first:
            self.has_token = True
            self._on_first_token()
        self._emit(delta)
        now = self._now()
        if is_first:
            self._pace.first_at = now
        else:
            self._gaps[bisect_left(GAP_BOUNDS, now - self._last_delta_at)] += 1
        self._last_delta_at = now

    @property
    def _due(self) -> float:
        """When to give up the call, unless another delta comes."""
        idle_at = self._last_delta_at + self._section.idle_bound
        return min(idle_at if self.has_token else self._first_token_at, self._end)

    def _on_timer(self) -> None:
        """Give up the call, or wait again if a delta has moved the deadline."""
        now = self._now()
        if now < self._due:
            self._set_timer(now)
        else:
            self._scope.cancel()

    def _set_timer(self, now: float) -> None:
        """Look at the deadline again when it passes, or when that of a first delta that comes now would."""
        when = min(self._due, now + self._section.idle_bound)
        self._timer = self._call_at(max(when, now + _TICK_SECONDS), self._on_timer)
