"""One call to one provider, within its deadlines."""

import math
from collections.abc import Callable

import anyio

from streamsvc.clock import clock
from streamsvc.engine.lanes import Lane
from streamsvc.errors import ProviderContentFiltered, ProviderTimedOut
from streamsvc.messages import Prompt
from streamsvc.providers.base import Delta, Finish


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
        ProviderError: it failed, or broke off, or missed a deadline. The call is closed by then.
    """
    now = clock()
    pace = anyio.CancelScope(deadline=min(first_token_at, end))
    listener = _Listener(pace, lane.section.idle_bound, end, on_first_token, say)
    with pace:
        try:
            provider = await lane.provider()
            return await provider.generate(prompt, listener.hear)
        except ProviderContentFiltered as exc:
            # Refused before or within an answer, it is the same to everybody: an end, and no failure
            # that another provider should be asked to route around.
            return Finish(reason="content_filter", provider_reason=exc.code)
    if now() >= end:
        raise ProviderTimedOut("total")
    raise ProviderTimedOut("idle" if listener.has_heard else "first_token")


class _Listener:
    """Hears what a provider says, passes it on, and gives it time for the next word.

    Attributes:
        has_heard: whether there was a word.
    """

    __slots__ = (
        "_end",
        "_idle_seconds",
        "_move_at",
        "_now",
        "_on_first_token",
        "_pace",
        "_say",
        "has_heard",
    )

    def __init__(
        self,
        pace: anyio.CancelScope,
        idle_seconds: float,
        end: float,
        on_first_token: Callable[[], None],
        say: Callable[[Delta], None],
    ) -> None:
        self.has_heard = False
        self._pace = pace
        self._idle_seconds = idle_seconds
        self._end = end
        self._on_first_token = on_first_token
        self._say = say
        self._now = clock()
        self._move_at = -math.inf

    def hear(self, delta: Delta) -> None:
        """Take the next word."""
        if not self.has_heard:
            self.has_heard = True
            self._on_first_token()
        self._say(delta)
        if (at := self._now()) >= self._move_at:
            # To move the deadline of a scope costs more than all else that is done here, so it is moved
            # now and then, and is so much longer.
            slack_seconds = min(self._idle_seconds / 16, 1.0)
            self._pace.deadline = min(at + self._idle_seconds + slack_seconds, self._end)
            self._move_at = at + slack_seconds
