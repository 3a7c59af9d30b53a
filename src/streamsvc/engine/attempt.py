"""One call to one provider, within its deadlines."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

import anyio
from typing_extensions import override

from streamsvc.config.settings import ProviderSettings
from streamsvc.engine.entries import Lane
from streamsvc.errors import (
    EmptyAnswer,
    ProviderContentFiltered,
    ProviderTimedOut,
    ProviderUnavailable,
    UpstreamCut,
)
from streamsvc.eventloop import Timer, clock, timers
from streamsvc.messages import Prompt
from streamsvc.providers.base import Delta, Finish

_TICK_SECONDS = 0.001
"""How exact timers are (libuv counts milliseconds): a timer that fires early is set again, and not in a loop."""


async def attempt(
    lane: Lane,
    prompt: Prompt,
    *,
    first_token_at: float,
    end: float,
    on_first_token: Callable[[], None],
    say: Callable[[Delta], None],
) -> Finish:
    """Ask a provider, and say what it says.

    Headers, comments and role chunks are no tokens: the adapters give none for them.

    Args:
        lane: the provider.
        prompt: what is asked.
        first_token_at: until when the first token has to be there, on the event loop's clock.
        end: until when the answer has to be whole.
        on_first_token: called before the first delta is said.
        say: is given each delta, in order.

    Raises:
        ProviderError: it failed, or broke off, or missed a deadline. The call is closed by then. One
            that breaks after a long silence has missed that deadline. An answer that is whole when a
            deadline passes is an answer, and no failure; one that ends with nothing in it is one.
    """
    scope = anyio.CancelScope()
    listener = _Listener(scope, lane.section, first_token_at, end, on_first_token, say)
    finish: Finish | None = None
    with listener, scope:
        try:
            provider = await lane.provider()
            finish = await provider.generate(prompt, listener.hear)
        except ProviderContentFiltered as exc:
            # Refused before or within an answer, it is the same to everybody: an end, and no failure
            # that another provider should be asked to route around.
            is_refused = not listener.has_heard
            return Finish(reason="content_filter", provider_reason=exc.code, is_refused=is_refused)
        except (ProviderUnavailable, UpstreamCut) as exc:
            if listener.was_silent:
                raise ProviderTimedOut(listener.silence) from exc
            raise
    finish = finish or listener.finish
    if finish is None:
        raise ProviderTimedOut("total" if clock()() >= end else listener.silence)
    if finish.reason == "stop" and not listener.has_heard and not prompt.stop:
        raise EmptyAnswer
    return finish


class _Listener(AbstractContextManager["_Listener"]):
    """Hears what a provider says, passes it on, and cancels the call when a deadline passes.

    A word costs a look at the clock. One timer for the call is set for the deadline as it was, and
    when it fires, for the deadline as it is by then. Held while the call runs.

    Attributes:
        finish: how the answer ends, where it is whole unless more is said.
        has_heard: whether there was a word.
    """

    __slots__ = (
        "_call_at",
        "_end",
        "_first_token_at",
        "_heard_at",
        "_now",
        "_on_first_token",
        "_say",
        "_scope",
        "_section",
        "_timer",
        "finish",
        "has_heard",
    )

    _timer: Timer

    def __init__(
        self,
        scope: anyio.CancelScope,
        section: ProviderSettings,
        first_token_at: float,
        end: float,
        on_first_token: Callable[[], None],
        say: Callable[[Delta], None],
    ) -> None:
        self._scope = scope
        self._section = section
        self._first_token_at = first_token_at
        self._end = end
        self._on_first_token = on_first_token
        self._say = say
        self._now = clock()
        self._call_at = timers()
        self.finish: Finish | None = None
        self.has_heard = False
        self._heard_at = self._now()

    @override
    def __enter__(self) -> Self:
        self._timer = self._call_at(self._due, self._look)
        return self

    @override
    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()

    @property
    def silence(self) -> str:
        """The deadline of the silence now: `first_token` or `idle`."""
        return "idle" if self.has_heard else "first_token"

    @property
    def was_silent(self) -> bool:
        """Whether the silence now is a large part of what it may be."""
        section = self._section
        least = section.idle_silence if self.has_heard else section.first_token_silence
        return self._now() - self._heard_at >= least

    def hear(self, delta: Delta | Finish) -> None:
        """Take the next word, or how the answer ends if there is none."""
        if isinstance(delta, Finish):
            self.finish = delta
            return
        self.finish = None
        is_first = not self.has_heard
        if is_first:
            self.has_heard = True
            self._on_first_token()
        self._say(delta)
        self._heard_at = self._now()
        if is_first:  # the only time that the deadline may come nearer
            self._timer.cancel()
            self._timer = self._call_at(self._due, self._look)

    @property
    def _due(self) -> float:
        """When the call has to be given up, as things are."""
        idle_at = self._heard_at + self._section.idle_bound
        return min(idle_at if self.has_heard else self._first_token_at, self._end)

    def _look(self) -> None:
        """Give the call up, or wait for the deadline that a word has moved."""
        now, due = self._now(), self._due
        if now < due:
            self._timer = self._call_at(max(due, now + _TICK_SECONDS), self._look)
        else:
            self._scope.cancel()
